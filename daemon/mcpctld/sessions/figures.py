"""How many calls, how long they took, what failed last: kept by every session and by every server."""

import time
from collections import deque
from math import ceil

from mcpctl import shapes
from mcpctld.errors import McpctlError

KEPT = 1024
"""Durations kept for the percentiles."""


class Recorder:
    """Counts calls (JSON-RPC requests of the client). Recording costs under a microsecond; reading sorts."""

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.in_flight = 0
        self.last_error: shapes.LastError | None = None
        self._durations: deque[float] = deque(maxlen=KEPT)

    def begin(self) -> None:
        """A call went out."""
        self.calls += 1
        self.in_flight += 1

    def end(self, seconds: float | None, *, failed: bool = False) -> None:
        """A call was answered, by the server or by us; without `seconds` its duration says nothing."""
        self.in_flight -= 1
        self.errors += failed
        if seconds is not None:
            self._durations.append(seconds)

    def drop(self) -> None:
        """A call was given up by the client."""
        self.in_flight -= 1

    def note(self, error: McpctlError) -> None:
        """Remember what went wrong last."""
        self.last_error = {"at": time.time(), "kind": error.kind, "message": error.message}

    def figures(self) -> shapes.Figures:
        """A snapshot."""
        ordered = sorted(self._durations)
        return {
            "calls": self.calls,
            "errors": self.errors,
            "in_flight": self.in_flight,
            "p50_ms": _percentile(ordered, 0.50),
            "p99_ms": _percentile(ordered, 0.99),
        }


def _percentile(ordered: list[float], share: float) -> float | None:
    """The nearest-rank percentile, in milliseconds."""
    if not ordered:
        return None
    return round(ordered[max(ceil(share * len(ordered)) - 1, 0)] * 1000, 3)
