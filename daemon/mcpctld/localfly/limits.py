"""How often something may be asked: token buckets, one for each action and what it is done to. Pure."""

from dataclasses import dataclass

GET_MACHINE = (5.0, 10.0)
DELETE_APP = (100.0 / 60.0, 100.0)
OTHER = (1.0, 3.0)
"""Requests a second, and how many at once (Fly.io, "Machines API", rate limits)."""
MOST_KEPT = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Limits:
    """Counts requests. Times in seconds, of any clock that does not go back."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, action: str, identifier: str, now: float) -> float:
        """0 when it may be done, and is counted; else after how many seconds it may."""
        rate, burst = _rate(action)
        key = (action, identifier)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MOST_KEPT:
                self._forget(now)
            bucket = self._buckets[key] = _Bucket(burst, now)
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / rate
        bucket.tokens -= 1
        return 0.0

    def _forget(self, now: float) -> None:
        """Buckets that are full again say nothing."""
        for (action, identifier), bucket in tuple(self._buckets.items()):
            rate, burst = _rate(action)
            if bucket.tokens + (now - bucket.at) * rate >= burst:
                del self._buckets[action, identifier]


def _rate(action: str) -> tuple[float, float]:
    if action == "get-machine":
        return GET_MACHINE
    return DELETE_APP if action == "delete-app" else OTHER
