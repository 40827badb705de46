"""The caller's clock as the protocol needs it: it never goes back, and it knows what time it is."""

import math

from mcpctld.protocols.wireguard.limits import REJECT_AFTER_TIME

_NOISE = 1.0


class Clock:
    """`now` should be of a clock that runs on while the machine sleeps (CLOCK_BOOTTIME, `mach_continuous_time`).

    A step forward is a sleep. Should it step back all the same, nobody knows how much time has passed, and a session
    that seems young may be over for the other side: so it is taken for a sleep that no session outlives. What is less
    than a second is not a step, but calls in another order than their times were read in.
    """

    def __init__(self, now: float, unix_time: float) -> None:
        self._last = now
        self._skew = 0.0
        self._unix = unix_time - now

    def advance(self, now: float) -> float:
        """Our time at the caller's `now`."""
        now += self._skew
        if now < self._last:
            now = self._step_back(now)
        self._last = now
        return now

    def _step_back(self, now: float) -> float:
        after = self._last if self._last - now < _NOISE else self._last + REJECT_AFTER_TIME
        self._skew += after - now
        return after

    def to_caller(self, time: float) -> float:
        """The caller's time at ours, or a hair later: `advance` of it is not before `time`, so that a timer is due."""
        told = time - self._skew
        while told + self._skew < time:
            told = math.nextafter(told, math.inf)
        return told

    @property
    def unix_time(self) -> float:
        """Seconds since 1970, as far as was known at the beginning; steps of that clock do not count."""
        return self._last + self._unix
