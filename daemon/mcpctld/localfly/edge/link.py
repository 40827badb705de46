"""A connection to a machine, for one request."""

from collections.abc import Callable

import trio

from mcpctld.localfly.edge.client import CHUNK, Body, nobody
from mcpctld.localfly.edge.replay import MOST_INSTRUCTIONS_BYTES
from mcpctld.protocols import http1
from mcpctld.protocols.http1_server import LAST_CHUNK, encode_chunk


class Lost(Exception):
    """The machine has ended the connection before its answer was complete. The text says how."""


class Link:
    """Sends a request, and reads the answer. `touch` is called when something has come or gone."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.touch: Callable[[], None] = nobody
        self._reader = http1.ResponseReader()

    def expect(self, method: str, *, upgrade: bool) -> None:
        """The request that is about to be sent."""
        self._reader.expect(method, upgrade=upgrade)

    async def send(self, head: bytes, body: Body, *, chunked: bool) -> None:  # noqa: ASYNC910  (a task of its own)
        """Send a request. A machine that does not take it all may have answered already."""
        try:
            await self.stream.send_all(head)
            at = 0
            while piece := await body.take(at):
                at += len(piece)
                await self.stream.send_all(b"".join(encode_chunk(piece)) if chunked else piece)
                self.touch()
            if chunked:
                await self.stream.send_all(LAST_CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def push(self, data: bytes) -> None:
        """Send bytes of another protocol. Raises `Lost`."""
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise Lost("it closed the connection") from exc

    async def next_event(self) -> http1.Event:
        """What comes next of the answer. Raises `Lost`."""
        while (event := self._reader.next_event()) is None:
            try:
                data = await self.stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if data:
                self.touch()
                self._reader.receive_data(bytes(data))
            else:
                self._reader.receive_eof()
        if isinstance(event, http1.Broken):
            raise Lost(event.reason)
        return event  # noqa: ASYNC910  (what has come already needs no wait)

    async def head(self) -> http1.Head:
        """The head of the answer. Raises `Lost`."""
        event = await self.next_event()
        if not isinstance(event, http1.Head):
            raise Lost("the answer does not begin with a head")
        return event

    async def instructions(self) -> bytes:
        """The body of an answer that is not for the client. Raises `Lost`, also for one that is too long."""
        data = b""
        while isinstance(event := await self.next_event(), http1.Data):
            data += event.data
            if len(data) > MOST_INSTRUCTIONS_BYTES:
                raise Lost("the instructions for a replay are too long")
        return data
