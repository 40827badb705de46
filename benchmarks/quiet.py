"""How much of the machine somebody else is using while a measurement runs.

On a shared machine a sample taken while a neighbour compiles says nothing. Each block of samples is
watched: the CPU time of the whole machine minus that of the benchmark's own processes is foreign. A
block with more foreign time than `QUIET_SHARE` of one core is kept, but marked, and not used where
quiet ones exist.
"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes

QUIET_SHARE = 0.15
"""Of one core. An idle desktop or container stays below 0.05."""
TOLERANCE_S = 2 * (os.cpu_count() or 1) / processes.TICKS_PER_SECOND
"""The machine's time is counted in whole ticks for each core, at both ends of a block."""
LOOK_S = 0.15
"""How long a look at the machine takes: fifteen kernel ticks."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU seconds used by others since boot, and when that was."""

    foreign_s: float
    at: float


def snapshot() -> Snapshot:
    """Look at the machine now."""
    return Snapshot(_machine_s() - _own_s(), time.monotonic())


def foreign_share(since: Snapshot) -> float:
    """The share of one core that others have used since then."""
    now = snapshot()
    foreign_s = now.foreign_s - since.foreign_s - TOLERANCE_S
    return max(0.0, foreign_s) / max(now.at - since.at, 1e-9)


def wait_quiet(patience_s: float) -> float:
    """Wait until the machine is quiet, at most so long; how long it took."""
    begun = time.monotonic()
    while time.monotonic() - begun < patience_s:
        before = snapshot()
        time.sleep(LOOK_S)
        if foreign_share(before) <= QUIET_SHARE:
            break
    return time.monotonic() - begun


def _machine_s() -> float:
    """CPU seconds in user, nice, system and stolen time; interrupts belong to nobody."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[place]) for place in (1, 2, 3, 8)) / processes.TICKS_PER_SECOND


def _own_s() -> float:
    """CPU seconds of the benchmark, of what it has reaped, and of all that it has running."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    done = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return done + processes.cpu_seconds(processes.trees(processes.live()))
