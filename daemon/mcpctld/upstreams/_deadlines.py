"""Things to do later: one task for any number of them, and none while there are none."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import trio


class _Due(NamedTuple):
    when: float
    action: Callable[[], None]


class Deadlines:
    """Calls what is due. Each key has at most one deadline; a new one replaces the old."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._due: dict[Hashable, _Due] = {}
        self._sleep: trio.CancelScope | None = None

    def set(self, key: Hashable, seconds: float, action: Callable[[], None]) -> None:
        """Call `action`, which must neither wait nor raise, after `seconds`."""
        when = trio.current_time() + seconds
        self._due[key] = _Due(when, action)
        if self._sleep is None:
            self._sleep = trio.CancelScope(deadline=when)
            self._nursery.start_soon(self._run)
        elif when < self._sleep.deadline:
            self._sleep.deadline = when

    def drop(self, key: Hashable) -> None:
        """It is not needed any more. The task sleeps on: that costs less than to wake it."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Nothing is needed any more."""
        self._due.clear()
        if self._sleep is not None:
            self._sleep.cancel()

    async def _run(self) -> None:
        while self._sleep is not None:
            with self._sleep:
                await trio.sleep_forever()
            self._call_due()
            first = min((due.when for due in self._due.values()), default=None)
            self._sleep = None if first is None else trio.CancelScope(deadline=first)

    def _call_due(self) -> None:
        now = trio.current_time()
        for key, due in list(self._due.items()):
            # An action may have dropped or replaced another one.
            if due.when <= now and self._due.get(key) is due:
                del self._due[key]
                due.action()
