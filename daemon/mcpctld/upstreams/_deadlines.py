"""Things to do later: one task for any number of them, and none while there are none."""

import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import trio

from mcpctld.drivers.http.alarm import Alarm

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """Calls what is due. Each key has at most one deadline; a new one replaces the old."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._due: dict[K, tuple[float, Callable[[K], None]]] = {}
        self._alarm = Alarm(nursery, self._call_due)

    def set(self, key: K, seconds: float, action: Callable[[K], None]) -> None:
        """Call `action` with the key after `seconds`; it must neither wait nor raise."""
        when = trio.current_time() + seconds
        self._due[key] = when, action
        self._alarm.set(when)

    def drop(self, key: K) -> None:
        """It is not needed any more. The alarm stays set: that costs less than to look for the next time."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Nothing is needed any more."""
        self._due.clear()

    def _call_due(self) -> float:
        now = trio.current_time()
        for key, due in list(self._due.items()):
            when, action = due
            # An action may have dropped or replaced another one.
            if when <= now and self._due.get(key) is due:
                del self._due[key]
                action(key)
        return min((when for when, _ in self._due.values()), default=math.inf)
