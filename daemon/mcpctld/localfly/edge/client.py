"""A client's connection, and the body of the request that it is sending."""

from collections.abc import Callable

import trio

from mcpctld.localfly.edge.replay import MOST_REPLAYED_BYTES
from mcpctld.protocols import http1_server as http1

MOST_BYTES = 10**15
"""Of a body: it is passed on, not kept."""
ROOM = 256 * 1024
"""Bytes that are read ahead of what a machine has taken."""
MOST_PIPELINED = 64 * 1024
"""Bytes of what comes after the request that are read while it is answered."""
LINGER_S = 3.0
"""How long what still comes is read after the last answer, lest a reset overtake it (RFC 9112 §9.6)."""
CHUNK = 64 * 1024


class Left(Exception):
    """The client has gone."""


def nobody() -> None:
    """Nobody wants to know."""


class Client:
    """A connection that speaks HTTP/1.1. `touch` is called when something has come or gone."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.touch: Callable[[], None] = nobody
        self.reader = http1.RequestReader(http1.Bounds(body=MOST_BYTES))
        self._sending = trio.Lock()
        self._answering = False

    async def next_head(self, bound_s: float) -> http1.Head | http1.Broken | None:
        """The next request; what is wrong with it; None when the client has left, or asks nothing for so long."""
        self._answering = False
        with trio.move_on_after(bound_s):
            while (event := self.reader.next_event()) is None:
                if not await self.receive():
                    return None
            match event:
                case http1.Head() | http1.Broken():
                    return event  # noqa: ASYNC910  (what has come already needs no wait)
                case _:
                    return http1.Broken(505, "HTTP/2 is not spoken here")  # noqa: ASYNC910  (what has come already needs no wait)
        return None

    async def receive(self) -> bool:
        """Take what comes next. False when the client has left."""
        try:
            data = await self.stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # noqa: ASYNC910  (what failed, or ended, has waited)
        self.touch()
        self.reader.receive_data(bytes(data))
        return bool(data)

    async def send(self, data: bytes) -> None:
        """Send all of it, of an answer. Raises `Left`."""
        async with self._sending:
            self._answering = True
            await self._send(data)

    async def proceed(self) -> None:
        """Have the client send the body, unless the answer is under way already (RFC 9110 §10.1.1). Raises `Left`."""
        async with self._sending:
            if not self._answering:
                await self._send(http1.CONTINUE)

    async def _send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise Left from exc
        self.touch()

    async def finish(self) -> None:  # noqa: ASYNC910  (at once where nothing is to be waited for)
        """The last answer is out: close our side, and see the client close its own."""
        try:
            await self.stream.send_eof()
            with trio.move_on_after(LINGER_S):
                while await self.stream.receive_some(CHUNK):
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class Body:
    """The body of a request, which comes while it is being sent on. The beginning is kept, to be sent again."""

    def __init__(self, head: http1.Head) -> None:
        self.ended = False
        self.broken: http1.Broken | None = None
        self._head = head
        self._data = bytearray()
        self._dropped = 0  # bytes before those in `_data`
        self._taken = 0
        self._more = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    @property
    def can_be_replayed(self) -> bool:
        """Whether all of it is here, or will be."""
        longest = max(self._head.content_length or 0, self._dropped + len(self._data))
        return longest <= MOST_REPLAYED_BYTES

    # ------------------------------------------------------------ from the client

    def read(self, reader: http1.RequestReader) -> None:
        """Take what has come already: of most requests, all."""
        while not self.ended and self.broken is None and not self._is_ahead():
            event = reader.next_event()
            if event is None:
                return
            self._note(event)

    async def fill(self, client: Client) -> None:  # noqa: ASYNC910  (at once after what cannot be read)
        """Read the body to its end, then watch the client. Returns when it has left, or sends what cannot be read."""
        if self._head.expects_continue and not (self._data or self.ended):
            await client.proceed()
        while not (self.ended or self.broken):
            if self._is_ahead():
                await self._room.park()
            elif not await client.receive():
                return
            self.read(client.reader)
        if self.ended:
            await _watch(client)

    def _note(self, event: http1.Event) -> None:
        if isinstance(event, http1.Data):
            self._data += event.data
        elif isinstance(event, http1.Broken):
            self.broken = event
        else:
            self.ended = True
        self._more.unpark_all()

    def _is_ahead(self) -> bool:
        """Whether the client is to wait until the machine has taken more."""
        return self._dropped + len(self._data) - self._taken > ROOM

    # ------------------------------------------------------------ to a machine

    async def take(self, at: int) -> bytes:
        """What has come from byte `at` on; empty at the end. From 0 again only if it `can_be_replayed`."""
        await trio.lowlevel.checkpoint()
        while at == self._dropped + len(self._data):
            if self.ended:
                return b""
            await self._more.park()
        start = at - self._dropped
        piece = bytes(self._data[start : start + CHUNK])
        self._take(at + len(piece))
        return piece

    def _take(self, taken: int) -> None:
        self._taken = taken
        if not self.can_be_replayed:  # then keep nothing that was taken
            del self._data[: taken - self._dropped]
            self._dropped = taken
        self._room.unpark_all()


async def _watch(client: Client) -> None:
    """Wait until the client has left. While much comes ahead of its time, it is not watched."""
    while client.reader.buffered <= MOST_PIPELINED:
        if not await client.receive():
            return
    await trio.sleep_forever()
