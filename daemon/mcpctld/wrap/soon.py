"""Answers that do not come at once become streams, so that a client whose connection breaks can come back for the rest.

One queue and one alarm for all: every call is noted, and most are answered long before their turn comes.
"""

import math
from collections import deque
from typing import Protocol

import trio

from mcpctld.drivers.http.alarm import Alarm

AFTER_S = 0.075
"""Long enough that a quick call is answered in one piece, which is cheaper for both sides."""


class Waiting(Protocol):
    """An exchange without an answer."""

    def stream_now(self) -> None:
        """Begin a stream, unless there is no need to."""


class Soon:
    """Calls `stream_now` of what was noted, when `AFTER_S` has passed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._noted: deque[tuple[float, Waiting]] = deque()
        self._alarm = Alarm(nursery, self._due)

    def note(self, waiting: Waiting, now: float) -> None:
        """A call has come. `now` is trio's time."""
        if not self._noted:
            self._alarm.set(now + AFTER_S)
        self._noted.append((now + AFTER_S, waiting))

    def _due(self) -> float:
        now = trio.current_time()
        while self._noted and self._noted[0][0] <= now:
            self._noted.popleft()[1].stream_now()
        return self._noted[0][0] if self._noted else math.inf
