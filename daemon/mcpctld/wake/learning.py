"""How long a machine takes to wake: from the request to start it to the first answer of its server."""

from collections.abc import Iterable
from math import ceil

KEPT = 32
"""The newest wakes; a machine that was changed is known anew within a few days."""
UNKNOWN_S = 30.0
"""Of a machine that was never woken: `npx` and `uvx` fetch what they run at the first start."""
LONGEST_S = 600.0
"""What took longer is no wake: nobody asked anything of it meanwhile."""


class WakeTimes:
    """Of one machine, in seconds."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._seconds = list(seconds)[-KEPT:]

    def learn(self, seconds: float) -> None:
        """It took so long this time."""
        if 0 <= seconds <= LONGEST_S:
            self._seconds = [*self._seconds, round(seconds, 3)][-KEPT:]

    @property
    def kept(self) -> list[float]:
        """The newest, the oldest of them first."""
        return list(self._seconds)

    @property
    def median_s(self) -> float | None:
        """What it usually takes; None before the first wake."""
        return self._percentile(0.5)

    @property
    def p90_s(self) -> float | None:
        """What nine of ten wakes do not exceed."""
        return self._percentile(0.9)

    @property
    def lead_s(self) -> float:
        """How long ahead of need it is to be started."""
        p90 = self.p90_s
        return UNKNOWN_S if p90 is None else p90

    def _percentile(self, share: float) -> float | None:
        ordered = sorted(self._seconds)
        return ordered[max(ceil(share * len(ordered)) - 1, 0)] if ordered else None
