"""What a run has to show: which failures are expected, and what proves that they are not mcpctl's.

`expected/SHAPE-REVISION[-bridged].toml` lists them:

    [[expected]]
    scenario = "dns-rebinding-protection"
    checks = ["localhost-host-rebinding-rejected"]
    control = "front 2025-11-25"
    why = "supergateway looks at neither Host nor Origin"

In the cell that `control` names, where mcpctl has no part, each of these checks must fail in the same run.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from cells import BY_NAME, Cell
from suite import Outcome

EXPECTED = Path(__file__).parent / "expected"


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Checks of a scenario that fail without mcpctl's doing."""

    scenario: str
    checks: frozenset[str]
    control: Cell
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What is said about one scenario of a run."""

    good: bool
    word: str
    """`ok`, `expected` or `FAILED`."""
    remarks: tuple[str, ...] = ()


Control = Callable[[Cell, str], Outcome]
"""Runs one scenario in a control cell."""


def expectations(cell: Cell) -> tuple[Expected, ...]:
    """The expected failures of a cell. Raises `SystemExit` for a file that says nonsense."""
    file = EXPECTED / f"{cell.name.replace(' ', '-')}.toml"
    if not file.exists():
        return ()
    read = tomllib.loads(file.read_text())
    try:
        return tuple(_expected(**entry) for entry in read.get("expected", ()))
    except (TypeError, KeyError) as exc:
        raise SystemExit(f"{file.name}: {exc}") from exc


def _expected(scenario: str, checks: list[str], control: str, why: str) -> Expected:
    return Expected(scenario, frozenset(checks), BY_NAME[control], why)


def judge(
    scenario: str, outcome: Outcome, expected: tuple[Expected, ...], control: Control
) -> Verdict:
    """Compare what a scenario showed with what was expected of it, and prove that."""
    mine = [entry for entry in expected if entry.scenario == scenario]
    known = frozenset().union(*(entry.checks for entry in mine))
    failed = outcome.problems.keys()
    remarks = [f"{check}: {outcome.problems[check]}" for check in sorted(failed - known)]
    remarks += [f"{check}: it passes now; take it off the list" for check in sorted(known - failed)]
    if remarks:
        return Verdict(False, "FAILED", tuple(remarks))
    if not mine:
        return Verdict(True, "ok")
    return _proven(scenario, mine, control)


def _proven(scenario: str, mine: list[Expected], control: Control) -> Verdict:
    doubts, proofs = [], []
    for entry in mine:
        failing = control(entry.control, scenario).problems.keys()
        doubts += [
            f"{check}: does not fail in '{entry.control.name}'"
            for check in sorted(entry.checks - failing)
        ]
        proofs.append(f"fails in '{entry.control.name}' too: {entry.why}")
    return (
        Verdict(False, "FAILED", tuple(doubts))
        if doubts
        else Verdict(True, "expected", tuple(proofs))
    )


def unknown(expected: tuple[Expected, ...], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Scenarios that are expected to fail and were not run at all."""
    return sorted({entry.scenario for entry in expected} - outcomes.keys())
