"""The figures of a run as Markdown for people and as JSON for programs."""

import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.figures import Figures, Metric, percentile
from benchmarks.targets import OURS, TARGETS, Target

NOISY = "~"


def markdown(figures: Figures, names: Sequence[str], old: Sequence[tuple[str, str]]) -> str:
    """The whole report: figures, targets, a comparison of two builds if asked for, notes."""
    parts = [_heading(), _figures_table(figures, names)]
    if any(name in OURS for name in names):
        parts.append(_targets_table(figures, [name for name in OURS if name in names]))
    for ours, theirs in old:
        parts.append(_paired_table(figures, ours, theirs))
    parts.append(_notes(figures))
    return "\n\n".join(part for part in parts if part) + "\n"


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def as_json(figures: Figures, versions: Mapping[str, str]) -> dict[str, Any]:
    """Everything measured, summed up block by block; seconds, MiB, calls per second."""
    return {
        "machine": machine(),
        "versions": dict(versions),
        "blocks": [
            {
                "round": block.round,
                "contender": block.contender,
                "metric": block.metric.name.lower(),
                "count": len(block.samples),
                **{f"p{p}": percentile(block.samples, p) for p in (50, 95, 99)},
                "least": min(block.samples),
                "most": max(block.samples),
                "foreign_share": round(block.foreign_share, 3),
            }
            for block in figures.blocks
        ],
        "failures": [
            {"round": f.round, "contender": f.contender, "measure": f.measure, "reason": f.reason}
            for f in figures.failures
        ],
    }


def _heading() -> str:
    here = machine()
    return f"{here['date']} UTC, {here['cores']} cores, {here['system']}, Python {here['python']}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is aligned to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float) -> str:
    """Three significant digits, in full: 0.0413, 1.24, 57.1, 1240."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}"


def _figures_table(figures: Figures, names: Sequence[str]) -> str:
    measured = [m for m in Metric if any(figures.of(name, m) for name in names)]
    rows = [[_row_title(m), *(_cell(figures, name, m) for name in names)] for m in measured]
    return table(["", *names], rows)


def _row_title(metric: Metric) -> str:
    shown = ""
    if len(metric.percentiles) > 1:
        shown = " " + " / ".join(f"p{percent}" for percent in metric.percentiles)
    return f"{metric.title}, {metric.unit}{shown}"


def _cell(figures: Figures, name: str, metric: Metric) -> str:
    found = [figures.figure(name, metric, percent) for percent in metric.percentiles]
    values = [number(value * metric.scale) for value in found if value is not None]
    if not values:
        return "-"
    return (NOISY if figures.is_noisy(name, metric) else "") + " / ".join(values)


def _targets_table(figures: Figures, entries: Sequence[str]) -> str:
    rows = [
        [target.title, target.wanted, *(_verdict(figures, target, entry) for entry in entries)]
        for target in TARGETS
    ]
    return table(["target", "wanted", *entries], rows)


def _verdict(figures: Figures, target: Target, entry: str) -> str:
    if entry not in target.entries:
        return ""
    value = target.value(figures, entry)
    if value is None:
        return "not measured"
    return f"{number(value)}{target.unit} {'pass' if target.is_met(value) else 'MISS'}"


def _paired_table(figures: Figures, ours: str, theirs: str) -> str:
    rows = []
    for metric in Metric:
        ratios = figures.paired(ours, theirs, metric)
        if ratios:
            spread = f"{number(min(ratios))} … {number(max(ratios))}"
            before, after = (_cell(figures, name, metric) for name in (theirs, ours))
            middle = number(statistics.median(ratios))
            rows.append([_row_title(metric), before, after, middle, spread])
    return table([f"{ours} / {theirs}", "old", "new", "ratio", "over the rounds"], rows)


def _ends(text: str) -> str:
    """The first and the last line: what failed, and the end of what was said about it."""
    lines = text.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"


def _notes(figures: Figures) -> str:
    lines = [
        f"* {f.contender}, `{f.measure}`, round {f.round}: {_ends(f.reason)}"
        for f in figures.failures
    ]
    noisy = sum(not block.is_quiet for block in figures.blocks)
    if noisy:
        lines.append(
            f"* {noisy} of {len(figures.blocks)} blocks were taken while others used the machine; "
            f"figures that rest on such blocks alone are marked {NOISY}"
        )
    return "\n".join(lines)
