"""Samples in, percentiles out."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.quiet import QUIET_SHARE


class Metric(Enum):
    """Everything that is measured: title, unit, units per base unit, the percentiles shown.

    Samples are in base units: seconds, MiB, calls per second, CPU seconds.
    """

    INITIALIZE = ("spawn → initialize", "ms", 1e3, (50, 95))
    TOOLS_LIST = ("spawn → tools/list", "ms", 1e3, (50, 95))
    COLD_LIST = ("spawn → tools/list, server away", "ms", 1e3, (50, 95))
    CALL_JSON = ("call of 100 B, JSON answer", "µs", 1e6, (50, 99))
    CALL_SSE = ("call of 100 B, SSE answer", "µs", 1e6, (50, 99))
    CALL_100K = ("call of 100 KB", "ms", 1e3, (50,))
    CALL_1M = ("call of 1 MB", "ms", 1e3, (50,))
    IN_FLIGHT = ("64 calls in flight", "calls/s", 1, (50,))
    RATE_1 = ("1 session", "calls/s", 1, (50,))
    RATE_10 = ("10 sessions", "calls/s", 1, (50,))
    RATE_50 = ("50 sessions", "calls/s", 1, (50,))
    PSS_1 = ("PSS of 1 session", "MiB", 1, (50,))
    PSS_10 = ("PSS of 10 sessions", "MiB", 1, (50,))
    PSS_50 = ("PSS of 50 sessions", "MiB", 1, (50,))
    ATTACH_40 = ("40 attaches at once", "s", 1, (50,))
    EXIT = ("stdin EOF → exit", "ms", 1e3, (50, 95))
    IDLE_CPU = ("CPU of 50 idle sessions", "ms/s", 1e3, (50,))

    def __init__(self, title: str, unit: str, scale: float, percentiles: tuple[int, ...]) -> None:
        self.title = title
        self.unit = unit
        self.scale = scale
        self.percentiles = percentiles

    @property
    def more_is_better(self) -> bool:
        """True for rates."""
        return self.unit == "calls/s"


@dataclass(frozen=True, slots=True)
class Block:
    """What one measurement of one contender gave in one round, and how disturbed it was."""

    round: int
    contender: str
    metric: Metric
    samples: list[float]
    foreign_share: float

    @property
    def is_quiet(self) -> bool:
        """Whether the machine was ours while it was taken."""
        return self.foreign_share <= QUIET_SHARE


@dataclass(frozen=True, slots=True)
class Failure:
    """A measurement that a contender did not survive."""

    round: int
    contender: str
    measure: str
    reason: str


@dataclass(slots=True)
class Figures:
    """All blocks of a run."""

    blocks: list[Block] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def of(self, contender: str, metric: Metric) -> list[Block]:
        """The blocks that count: the quiet ones; all of them when there is no quiet one."""
        every = [b for b in self.blocks if b.contender == contender and b.metric is metric]
        return [block for block in every if block.is_quiet] or every

    def figure(self, contender: str, metric: Metric, percent: int = 50) -> float | None:
        """A percentile of all samples in the blocks that count; None without any."""
        samples = [sample for block in self.of(contender, metric) for sample in block.samples]
        return percentile(samples, percent) if samples else None

    def is_noisy(self, contender: str, metric: Metric) -> bool:
        """Whether the figure had to be taken from disturbed blocks."""
        return not all(block.is_quiet for block in self.of(contender, metric))

    def paired(self, ours: str, theirs: str, metric: Metric) -> list[float]:
        """Ours divided by theirs, median by median, for every round that has both."""
        by_round = {
            name: {b.round: statistics.median(b.samples) for b in self.of(name, metric)}
            for name in (ours, theirs)
        }
        common = sorted(by_round[ours].keys() & by_round[theirs].keys())
        return [by_round[ours][number] / by_round[theirs][number] for number in common]


def percentile(samples: Iterable[float], percent: int) -> float:
    """The smallest sample that `percent` in a hundred do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
