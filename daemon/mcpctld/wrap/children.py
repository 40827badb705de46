"""How many processes of the server there may be at once: who comes first is served first, and nobody waits for long."""

import contextlib
from collections.abc import AsyncIterator, Callable

import trio

from mcpctld.errors import Conflict

WAIT_S = 10.0
"""A client that is told to come back knows more than one that waits."""


class Busy(Conflict):
    """No process can be had now."""


class Children:
    """Hands out places. `evict` gives one up that nobody needs, if there is one: True when it did."""

    def __init__(self, most: int, evict: Callable[[], bool]) -> None:
        self.most = most
        self._evict = evict
        self._places = trio.CapacityLimiter(most)

    @property
    def running(self) -> int:
        """How many places are taken."""
        return int(self._places.borrowed_tokens)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._places.statistics().tasks_waiting

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return self.running >= self.most

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:  # noqa: ASYNC911  (giving a place back does not wait)
        """Hold a place; raises `Busy` when none becomes free in time."""
        holder = object()
        if self.full:
            self._evict()
        with trio.move_on_after(WAIT_S) as waiting:
            await self._places.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise Busy(
                f"all {self.most} processes of the server are in use; try again later, or raise --max-children"
            )
        try:
            yield
        finally:
            self._places.release_on_behalf_of(holder)
