"""The order in which a client's messages go out, and how many of them may be waiting."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator

import trio

from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key


class Lane:
    """Messages in the order of the client.

    `post` sends one; what must arrive before the next is sent `hold`s the lane until it is `release`d. What must wait
    for something else is set aside, and lets the others pass.
    """

    def __init__(self, post: Callable[[Message | Batch], None]) -> None:
        self._post = post
        self._queue: deque[Message | Batch] = deque()
        self._aside: deque[Message | Batch] = deque()
        self._holder: object | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Message | Batch]:
        return iter((*self._aside, *self._queue))

    def send(self, message: Message | Batch) -> None:
        """Send it, now or when the lane is free."""
        if self._holder is None and not self._queue and not self._closed:
            self._post(message)
        else:
            self._queue.append(message)

    def hold(self, holder: object) -> None:
        """Send nothing more until `holder` lets it; whoever held it before does not matter any more."""
        self._holder = holder

    def release(self, holder: object) -> None:
        """Go on, if it was `holder` for whom the lane was held."""
        if self._holder is holder:
            self._holder = None
            self._go()

    def set_aside(self, message: Message | Batch) -> None:
        """Keep one that came to `post`, while others go on."""
        self._aside.append(message)

    def rejoin(self) -> None:
        """What was set aside goes first now."""
        self._queue.extendleft(reversed(self.take_aside()))
        self._go()

    def take_aside(self) -> list[Message | Batch]:
        """What was set aside, and is not any more."""
        aside = list(self._aside)
        self._aside.clear()
        return aside

    def close(self) -> list[Message | Batch]:
        """Send nothing more, ever; what has not been sent."""
        self._closed = True
        return self.take()

    def take(self) -> list[Message | Batch]:
        """Empty the lane: what has not been sent."""
        queued, self._queue = self._queue, deque()
        return [*self.take_aside(), *queued]

    def forget(self, key: Hashable) -> Message | None:
        """Take out the request with this id (as `id_key`) if it waits here."""
        for queue in (self._aside, self._queue):
            for message in queue:
                if isinstance(message, Batch) or message.kind is not Kind.REQUEST:
                    continue
                if id_key(message.id) == key:
                    queue.remove(message)
                    return message
        return None

    def _go(self) -> None:
        while self._queue and self._holder is None and not self._closed:
            self._post(self._queue.popleft())


class Load:
    """Counts the bytes that the server has not accepted, so that a client cannot fill our memory with them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._lot = trio.lowlevel.ParkingLot()

    def add(self, size: int) -> None:
        """So many bytes were taken from the client."""
        self._size += size

    def remove(self, size: int) -> None:
        """So many were accepted, or given up."""
        self._size -= size
        if self._lot and not self.full:
            self._lot.unpark_all()

    @property
    def full(self) -> bool:
        """True when no more should be taken."""
        return self._size > self._limit

    async def wait_room(self) -> None:
        """Wait until more can be taken."""
        await trio.lowlevel.checkpoint()
        while self.full:
            await self._lot.park()


def parts_of(message: Message | Batch) -> list[Message]:
    """The single messages in it."""
    return message.messages if isinstance(message, Batch) else [message]


def requests_in(message: Message | Batch) -> list[Message]:
    """Those of them that want an answer."""
    if isinstance(message, Batch):
        return [part for part in message.messages if part.kind is Kind.REQUEST]
    return [message] if message.kind is Kind.REQUEST else []


def method_of(message: Message | Batch) -> str:
    """The method, `""` for responses and batches."""
    return "" if isinstance(message, Batch) else message.method


def goes_first(message: Message | Batch) -> bool:
    """Whether what follows must wait until it has arrived.

    `initialize` makes the session. And a server must not see `tools/list` before `notifications/initialized`, nor
    a call go on before the answer that it waits for.
    """
    return method_of(message) == "initialize" or not requests_in(message)
