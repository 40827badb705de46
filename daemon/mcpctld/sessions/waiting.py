"""Messages of a client that wait for a session with the server."""

import math
from collections import deque
from collections.abc import Callable

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.protocols.jsonrpc import Batch, Message, id_key

MAX = 256
"""More, and no more should be taken from the client."""


class Waiting:
    """In their order; each waits for so long at most, and is then handed to `give_up`."""

    def __init__(
        self, nursery: trio.Nursery, patience_s: float, give_up: Callable[[Message | Batch], None]
    ) -> None:
        self._patience_s = patience_s
        self._give_up = give_up
        self._queue: deque[tuple[float, Message | Batch]] = deque()  # until when
        self._alarm = Alarm(nursery, self._expire)
        self._taken = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: Message | Batch, *, patiently: bool = False) -> None:
        """It waits from now on; `patiently` means without a limit."""
        until = math.inf if patiently else trio.current_time() + self._patience_s
        self._queue.append((until, message))
        self._alarm.set(until)

    def take(self) -> list[Message | Batch]:
        """All of it."""
        queue, self._queue = self._queue, deque()
        self._taken.unpark_all()
        return [message for _, message in queue]

    def remove(self, id: bytes) -> bool:
        """Take out a request; whether it was there."""
        key = id_key(id)
        for waiting in tuple(self._queue):
            if isinstance(waiting[1], Message) and id_key(waiting[1].id) == key:
                self._queue.remove(waiting)
                return True
        return False

    @property
    def full(self) -> bool:
        """Whether so much waits that it must not become more."""
        return len(self._queue) > MAX

    async def wait_room(self) -> None:
        """Wait until it is less."""
        await trio.lowlevel.checkpoint()
        while self.full:
            await self._taken.park()

    def _expire(self) -> float:
        """Give up who has waited long enough: when to look again."""
        now = trio.current_time()
        for waiting in [waiting for waiting in self._queue if waiting[0] <= now]:
            self._queue.remove(waiting)
            self._give_up(waiting[1])
        self._taken.unpark_all()
        return min((until for until, _ in self._queue), default=math.inf)
