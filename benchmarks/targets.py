"""What the figures ought to be: ratios within one run, so that the machine's speed cancels out."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figures, Metric

RIVALS = ("mcp-remote", "supergateway", "mcp-proxy")
OURS = ("mcpctl", "mcpctl entry")

Value = Callable[[Figures, str], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise; `value` gives what is held against `limit`, for one way into our daemon."""

    title: str
    value: Value
    limit: float
    at_most: bool
    entries: tuple[str, ...] = OURS
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value <= self.limit if self.at_most else value >= self.limit

    @property
    def wanted(self) -> str:
        """The promise as text."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}{self.unit}"


def rival_figure(
    figures: Figures, metric: Metric, percent: int, rivals: tuple[str, ...]
) -> float | None:
    """The figure of the best of these rivals; None when none of them has one."""
    found = [figures.figure(rival, metric, percent) for rival in rivals]
    known = [value for value in found if value is not None]
    if not known:
        return None
    return max(known) if metric.more_is_better else min(known)


def share_of(metric: Metric, percent: int, rivals: tuple[str, ...] = RIVALS) -> Value:
    """Ours as a share of the best rival's."""

    def value(figures: Figures, entry: str) -> float | None:
        ours = figures.figure(entry, metric, percent)
        theirs = rival_figure(figures, metric, percent, rivals)
        return ours / theirs if ours is not None and theirs else None

    return value


def times_faster(metric: Metric, rivals: tuple[str, ...] = RIVALS) -> Value:
    """How many of our durations fit into the best rival's, by the medians."""

    def value(figures: Figures, entry: str) -> float | None:
        share = share_of(metric, 50, rivals)(figures, entry)
        return 1 / share if share else None

    return value


def pss_of_a_further_session(figures: Figures, entry: str) -> float | None:
    """MiB for each session after the first."""
    first, all_50 = (figures.figure(entry, m) for m in (Metric.PSS_1, Metric.PSS_50))
    return None if first is None or all_50 is None else (all_50 - first) / 49


def idle_cpu(figures: Figures, entry: str) -> float | None:
    """Milliseconds of CPU in a second, used by 50 idle sessions and their daemon."""
    used = figures.figure(entry, Metric.IDLE_CPU)
    return None if used is None else used * Metric.IDLE_CPU.scale


def cold_list(figures: Figures, entry: str) -> float | None:
    """Milliseconds until the tools are listed, in nineteen of twenty starts."""
    took = figures.figure(entry, Metric.COLD_LIST, 95)
    return None if took is None else took * Metric.COLD_LIST.scale


TARGETS = (
    Target(
        "spawn → initialize, console script: times faster than mcp-remote",
        times_faster(Metric.INITIALIZE, ("mcp-remote",)),
        limit=20,
        at_most=False,
        entries=OURS[:1],
        unit="x",
    ),
    Target(
        "spawn → initialize, entry in a client's file: times faster than mcp-remote",
        times_faster(Metric.INITIALIZE, ("mcp-remote",)),
        limit=30,
        at_most=False,
        entries=OURS[1:],
        unit="x",
    ),
    # As a person feels it: at once. On a slow machine it says nothing.
    Target("spawn → tools/list, server away, p95", cold_list, 50, True, unit=" ms"),
    Target("small call, JSON, p50: share of the best", share_of(Metric.CALL_JSON, 50), 0.35, True),
    Target("small call, JSON, p99: share of the best", share_of(Metric.CALL_JSON, 99), 0.15, True),
    Target("small call, SSE, p50: share of the best", share_of(Metric.CALL_SSE, 50), 0.35, True),
    Target("small call, SSE, p99: share of the best", share_of(Metric.CALL_SSE, 99), 0.15, True),
    Target("call of 1 MB: share of the best", share_of(Metric.CALL_1M, 50), 0.5, True),
    Target(
        "64 in flight, calls/s: times the best",
        share_of(Metric.IN_FLIGHT, 50),
        limit=6,
        at_most=False,
        unit="x",
    ),
    Target(
        "PSS of 50 sessions: share of mcp-proxy's",
        share_of(Metric.PSS_50, 50, ("mcp-proxy",)),
        limit=0.05,
        at_most=True,
    ),
    Target("PSS of each further session", pss_of_a_further_session, 0.3, True, unit=" MiB"),
    Target(
        "50 sessions, calls/s: times the best",
        share_of(Metric.RATE_50, 50),
        limit=9,
        at_most=False,
        unit="x",
    ),
    Target(
        "40 attaches at once: times faster than the best",
        times_faster(Metric.ATTACH_40),
        limit=20,
        at_most=False,
        unit="x",
    ),
    # What `top` would show as nothing: less than one kernel tick of 10 ms in 20 s.
    Target("CPU of 50 idle sessions", idle_cpu, 0.5, True, unit=" ms/s"),
)
