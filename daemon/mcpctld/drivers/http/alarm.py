"""One task for many deadlines."""

import math
from collections.abc import Callable

import trio


class Alarm:
    """Calls `due` when the earliest time that was set has come.

    `due` does what is due and returns the next time to look, `inf` for never. A task exists only while a time is set,
    so that rest costs nothing; setting a later time than the present one costs a comparison.
    """

    def __init__(self, nursery: trio.Nursery, due: Callable[[], float]) -> None:
        self._nursery = nursery
        self._due = due
        self._time = math.inf
        self._scope: trio.CancelScope | None = None
        self._running = False

    def set(self, time: float) -> None:
        """Look at `time` (trio's clock) at the latest."""
        if time >= self._time:
            return
        self._time = time
        if self._scope is not None:
            self._scope.deadline = time
        if not self._running:
            self._running = True
            self._nursery.start_soon(self._run)

    async def _run(self) -> None:  # noqa: ASYNC910  (a task of its own)
        while self._time < math.inf:
            with trio.CancelScope(deadline=self._time) as self._scope:
                await trio.sleep_forever()
            self._time = math.inf
            self.set(self._due())  # `due` may have set one, too: the earlier counts
        self._running = False
