"""When there are too many handshakes, and who sends them (whitepaper §5.3)."""

import math

from mcpctld.protocols.wireguard.limits import (
    MAX_SOURCES,
    SOURCE_BURST,
    SOURCE_PER_SECOND,
    UNDER_LOAD_FOR,
)


class _Bucket:
    """A token bucket: `rate` a second, `burst` at once."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, rate: float, burst: float, now: float) -> bool:
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def is_idle(self, now: float) -> bool:
        return now - self._at >= SOURCE_BURST / SOURCE_PER_SECOND


class Load:
    """Says when handshakes come faster than they should be worked on."""

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._bucket = _Bucket(per_second, now)
        self._until = -math.inf

    def note(self, now: float) -> bool:
        """One more has come; whether we are under load, which lasts for a second after the last one too many."""
        if not self._bucket.take(self._per_second, self._per_second, now):
            self._until = now + UNDER_LOAD_FOR
        return now < self._until


class SourceLimits:
    """Bounds what one source may have worked on under load. Only of sources that a cookie has proved."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._swept_at = -math.inf

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, source: str, now: float) -> bool:
        """Whether one more from there is worked on."""
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_SOURCES and not self._sweep(now):
                return False
            bucket = self._buckets[source] = _Bucket(SOURCE_BURST, now)
        return bucket.take(SOURCE_PER_SECOND, SOURCE_BURST, now)

    def _sweep(self, now: float) -> bool:
        """Forget those that are as good as new, once a second at the most; whether there is room."""
        if now - self._swept_at >= 1:
            self._swept_at = now
            self._buckets = {key: one for key, one in self._buckets.items() if not one.is_idle(now)}
        return len(self._buckets) < MAX_SOURCES
