"""The caller's clock as the protocol needs it: it never goes back, and it knows what time it is."""


class Clock:
    """`now` should be of a clock that runs on while the machine sleeps (CLOCK_BOOTTIME, `mach_continuous_time`).

    Should it step back all the same, no time has passed; a step forward is a sleep.
    """

    def __init__(self, now: float, unix_time: float) -> None:
        self._last = now
        self._skew = 0.0
        self._unix = unix_time - now

    def advance(self, now: float) -> float:
        """Our time at the caller's `now`."""
        now += self._skew
        if now < self._last:
            self._skew += self._last - now
            return self._last
        self._last = now
        return now

    def to_caller(self, time: float) -> float:
        """The caller's time at ours."""
        return time - self._skew

    @property
    def unix_time(self) -> float:
        """Seconds since 1970, as far as was known at the beginning; steps of that clock do not count."""
        return self._last + self._unix
