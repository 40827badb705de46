"""One connection to an HTTP server: one exchange at a time, one reader task."""

import socket
import struct
import sys
from collections.abc import Callable

import trio

from mcpctld.drivers.http.request import Request, ResponseHandler
from mcpctld.drivers.streams import ByteStream, DescriptorStream, TrioStream
from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols import http1
from mcpctld.protocols.content import ContentError, Decoder

PROVE_AFTER_IDLE_S = 0.2
"""A connection that rested this long may have been closed by the server: worth a system call to be able to prove it."""

KEEP_ALIVE_MARGIN_S = 1.0
"""Stop using a connection this long before the server said it would close it."""

DEFAULT_KEEP_ALIVE_S = 90.0


class Exchange:
    """A request under way, or waiting for a connection: the handle to give it up with."""

    def __init__(self, request: Request, handler: ResponseHandler, deadline: float) -> None:
        self.request = request
        self.handler: ResponseHandler | None = handler
        self.deadline = deadline
        self.connection: Connection | None = None
        self.attempts = 0

    def cancel(self) -> None:
        """Give up: the handler hears nothing more. In HTTP/1.1 that costs the connection (RFC 9112 §9.6)."""
        self.handler = None
        if self.connection is not None:
            self.connection.close()

    def fail(self, error: McpctlError) -> None:
        """Tell the handler, once, that there will be no answer."""
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.on_failure(error)


class Connection:
    """A connection. `run` reads until it ends; between exchanges it is idle and knows until when it may be used."""

    def __init__(
        self,
        nursery: trio.Nursery,
        stream: trio.abc.Stream,
        *,
        on_idle: Callable[["Connection"], None],
        on_lost: Callable[["Connection", Exchange, McpctlError, bool], None],
    ) -> None:
        self._socket = _socket_of(stream)
        self._stream = _byte_stream(nursery, stream)
        self._trio_stream = stream
        self._reader = http1.ResponseReader()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._scope = trio.CancelScope()
        self._exchange: Exchange | None = None
        self._decoder: Decoder | None = None
        self._keep_alive_s = DEFAULT_KEEP_ALIVE_S
        self._acked_before: int | None = None
        self._answering = False
        self.closed = False
        self.used = False
        self.idle_since = trio.current_time()

    def expires(self) -> float:
        """When, in trio's time, an idle connection should no longer be used."""
        return self.idle_since + self._keep_alive_s

    def start(self, exchange: Exchange, encoded: bytes) -> None:
        """Send a request; its handler hears of the answer."""
        rested = trio.current_time() - self.idle_since
        self._acked_before = self._acked() if self.used and rested > PROVE_AFTER_IDLE_S else None
        self._exchange = exchange
        self._answering = False
        exchange.connection = self
        exchange.attempts += 1
        self._reader.expect(exchange.request.method)
        self._stream.write(encoded)

    def close(self) -> None:
        """End the connection; an exchange on it hears of its loss unless it was cancelled."""
        self.closed = True
        self._scope.cancel()

    async def run(self) -> None:
        """Read until the connection ends, and close it."""
        try:
            with self._scope:
                await self._read()
        finally:
            self.closed = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._stream.aclose()
                await trio.aclose_forcefully(self._trio_stream)
            self._lose(Unreachable("the connection was closed"), unprocessed=False)

    async def _read(self) -> None:
        while not self.closed:
            data = await self._stream.receive()
            if data:
                self._reader.receive_data(data)
            else:
                self.closed = True
                self._reader.receive_eof()
            while (event := self._reader.next_event()) is not None:
                self._handle(event)
            exchange = self._exchange
            if exchange is not None and exchange.handler is not None and exchange.handler.full:
                await exchange.handler.wait_room()

    def _handle(self, event: http1.Event) -> None:
        handler = self._exchange.handler if self._exchange else None
        match event:
            case http1.Head():
                self._answering = True
                self._keep_alive_s = http1.keep_alive_timeout(event.headers) or DEFAULT_KEEP_ALIVE_S
                self._start_body(event, handler)
            case http1.Data():
                self._take(event.data, handler)
            case http1.End():
                self._finish(handler, event.keep_alive)
            case http1.Broken():
                self._break(event)

    def _start_body(self, head: http1.Head, handler: ResponseHandler | None) -> None:
        coding = head.headers.get("content-encoding")
        try:
            self._decoder = Decoder(coding, MAX_DECODED) if coding else None
        except ContentError as exc:
            self._lose(PeerError(f"cannot read the answer: {exc}"), unprocessed=False)
            self.close()
            return
        if handler is not None:
            handler.on_head(head)

    def _take(self, data: bytes, handler: ResponseHandler | None) -> None:
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data)
            except ContentError as exc:
                self._lose(PeerError(f"cannot read the answer: {exc}"), unprocessed=False)
                self.close()
                return
        if handler is not None and data:
            handler.on_data(data)

    def _finish(self, handler: ResponseHandler | None, keep_alive: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None
            exchange.handler = None
        self.used = True
        self.idle_since = trio.current_time()
        if not keep_alive:
            self.closed = True
        if handler is not None:
            handler.on_end()
        if not self.closed:
            self._on_idle(self)

    def _break(self, event: http1.Broken) -> None:
        self.closed = True
        if self._exchange is None:
            return
        unprocessed = not event.started and self._unprocessed()
        error = Unreachable if not event.started or "closed" in event.reason else PeerError
        self._lose(error(f"{event.reason}"), unprocessed=unprocessed)

    def _lose(self, error: McpctlError, *, unprocessed: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None
            self._on_lost(self, exchange, error, unprocessed)

    @property
    def answering(self) -> bool:
        """True once a byte of the present answer has arrived."""
        return self._answering

    def _unprocessed(self) -> bool:
        """Whether the server provably never saw the request: its kernel acknowledged not one byte of it."""
        return self._acked_before is not None and self._acked() == self._acked_before

    def _acked(self) -> int | None:
        """Bytes that the peer's kernel has acknowledged: `tcpi_bytes_acked` of struct tcp_info (Linux 4.1)."""
        if sys.platform != "linux" or self._socket is None:
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
            return int(struct.unpack_from("Q", info, 120)[0])
        except (OSError, struct.error):
            return None


MAX_DECODED = 1 << 40
"""Bodies are bounded by whoever takes them, streams are not bounded at all: see `Decoder`."""


def _byte_stream(nursery: trio.Nursery, stream: trio.abc.Stream) -> ByteStream:
    """The fastest way to use `stream`: by its descriptor where it is a plain socket."""
    if isinstance(stream, trio.SocketStream):
        fd = stream.socket.fileno()
        return DescriptorStream(nursery, fd, fd, borrowed=True)
    return TrioStream(nursery, stream)


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """The TCP socket at the bottom, if there is one: the stream itself, or what TLS runs over."""
    bottom = getattr(stream, "transport_stream", stream)
    return bottom.socket if isinstance(bottom, trio.SocketStream) else None
