"""Which of many objects has to be looked at next: a heap whose stale entries are left until they come up.

A deadline of TCP moves away with almost every packet. That costs nothing here: the entry stays where it is, and is put
further back once its old time has come.
"""

import heapq
import math
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something with a deadline of its own, in seconds; infinite while it waits for nothing."""

    @property
    def deadline(self) -> float:
        """When to look at it."""


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """A set of objects, by their deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        # The entries of each in the heap, the earliest last. A later one is left for when its time comes, so one that
        # swings between two deadlines has two entries, not one more for each swing.
        self._entries: dict[T, list[float]] = {}
        self._count = 0

    def update(self, timed: T) -> None:
        """Its deadline may have changed."""
        deadline = timed.deadline
        entries = self._entries.setdefault(timed, [])
        if deadline < (entries[-1] if entries else math.inf):
            entries.append(deadline)
            self._count += 1
            heapq.heappush(self._heap, (deadline, self._count, timed))

    def discard(self, timed: T) -> None:
        """It is of no interest any more, for good."""
        self._entries.pop(timed, None)

    def next(self) -> float | None:
        """The earliest deadline; None if nothing waits."""
        self._settle()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[T]:
        """Those whose deadline has come. Each must be told to `update` again."""
        found: list[T] = []
        self._settle()
        while self._heap and self._heap[0][0] <= now:
            timed = heapq.heappop(self._heap)[2]
            self._entries[timed].pop()
            found.append(timed)
            self._settle()
        return list(dict.fromkeys(found))

    def _settle(self) -> None:
        """Take entries off the top that stand for nothing, or that come before their time."""
        while self._heap:
            deadline, _, timed = self._heap[0]
            if (entries := self._entries.get(timed)) is None:
                heapq.heappop(self._heap)
            elif timed.deadline > deadline:
                heapq.heappop(self._heap)
                entries.pop()
                self.update(timed)
            else:
                return
