"""Things to do later: one task for any number of them, and none while there are none."""

import math
from collections.abc import Callable, Hashable
from typing import NamedTuple

import trio

from mcpctld.drivers.http.alarm import Alarm


class _Due(NamedTuple):
    when: float
    action: Callable[[], None]


class Deadlines:
    """Calls what is due. Each key has at most one deadline; a new one replaces the old."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._due: dict[Hashable, _Due] = {}
        self._alarm = Alarm(nursery, self._call_due)

    def set(self, key: Hashable, seconds: float, action: Callable[[], None]) -> None:
        """Call `action`, which must neither wait nor raise, after `seconds`."""
        when = trio.current_time() + seconds
        self._due[key] = _Due(when, action)
        self._alarm.set(when)

    def drop(self, key: Hashable) -> None:
        """It is not needed any more. The alarm stays set: that costs less than to look for the next time."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Nothing is needed any more."""
        self._due.clear()

    def _call_due(self) -> float:
        now = trio.current_time()
        for key, due in list(self._due.items()):
            # An action may have dropped or replaced another one.
            if due.when <= now and self._due.get(key) is due:
                del self._due[key]
                due.action()
        return min((due.when for due in self._due.values()), default=math.inf)
