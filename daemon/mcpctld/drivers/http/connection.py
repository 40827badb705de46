"""One connection to an HTTP server: one exchange at a time, one reader task."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from mcpctld.drivers.http.request import Exchange, Origin
from mcpctld.drivers.http.witness import Witness
from mcpctld.drivers.keepalive import Pace
from mcpctld.drivers.streams import ByteStream, DescriptorStream
from mcpctld.drivers.triostream import TrioStream
from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols import http1
from mcpctld.protocols.content import ContentError, Decoder

__all__ = ["Connection", "Exchange", "Opened"]

DEFAULT_KEEP_ALIVE_S = 90.0
"""How long an idle connection is kept when the server does not say; most servers close it earlier, and we notice."""
UNUSED_KEEP_S = 5.0
"""The same for one that came too late for its request and had none since: servers that want to end wait for those
longer than for others (Node.js a minute, for the request that may be on its way)."""
KEEP_ALIVE_MARGIN_S = 1.0
"""Stop using a connection this long before the server said it would close it: a request takes time to arrive."""
SEND_REST_S = 1.0
CLOSE_BOUND_S = 1.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream to an origin. `absolute_form`: a plain HTTP proxy is in between (RFC 9112 §3.2.2)."""

    stream: trio.abc.Stream
    absolute_form: bool = False
    proxy_authorization: str | None = field(default=None, repr=False)


class Connection:
    """A connection. `run` reads until it ends; between exchanges it is idle and knows until when it may be used.

    `on_idle` is told when it can take a request, `on_lost` when it ended with an exchange on it: with what went wrong,
    and whether that exchange may be sent again without harm. `ahead`: it was opened for a request that is yet to come.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        origin: Origin,
        opened: Opened,
        *,
        on_idle: Callable[["Connection"], None],
        on_lost: Callable[[Exchange, McpctlError, bool], None],
        ahead: bool = False,
    ) -> None:
        self.origin = origin
        self.opened = opened
        self.closed = False
        self._stream = _byte_stream(nursery, opened.stream)
        self._witness = Witness(opened.stream)
        self._reader = http1.ResponseReader()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._scope = trio.CancelScope()
        self._exchange: Exchange | None = None
        self._decoder: Decoder | None = None
        self._keep_alive_s = DEFAULT_KEEP_ALIVE_S if ahead else UNUSED_KEEP_S
        self._idle_since = trio.current_time()
        self._used = False
        self._acked_before: int | None = None
        self._sent = False

    def expires(self) -> float:
        """When, in trio's time, the connection should no longer be used if it stays idle."""
        return self._idle_since + self._keep_alive_s

    def is_usable(self) -> bool:
        """Whether a request may be sent on it now: it is idle, young enough, and the server has not closed it."""
        return (
            not self.closed
            and trio.current_time() < self.expires()
            and not self._witness.has_news()
        )

    def start(self, exchange: Exchange, head: bytes) -> None:
        """Send a request; its handler hears of the answer. `head` is the one to use on this connection."""
        self._acked_before = self._witness.acked()
        self._exchange = exchange
        exchange.holder = self
        exchange.attempts += 1
        body = exchange.request.body
        self._reader.expect(exchange.request.method)
        if body:
            self._stream.write(head + http1.end_head(body), body)
        else:
            self._stream.write(head + http1.end_head(body))
        self._sent = not self._stream.broken

    def withdraw(self, exchange: Exchange) -> None:
        """The exchange was given up, and its answer cannot be told apart from the next one's: close."""
        self.close()

    def cut(self, why: str) -> bool:
        """End the connection if its exchange is one to be asked for again (`Request.renewable`); whether it did."""
        if self._exchange is None or not self._exchange.request.renewable:
            return False
        self.close()
        self._lose(Unreachable(f"the connection to {self.origin} was cut: {why}"))
        return True

    def set_pace(self, pace: Pace) -> None:
        """How soon a dead path is to be noticed."""
        self._witness.set_pace(pace)

    def close(self) -> None:
        """End the connection; an exchange on it fails, unless it was cancelled."""
        self.closed = True
        self._scope.cancel()

    async def run(self) -> None:  # noqa: ASYNC910  (a task of its own)
        """Read until the connection ends, and close it."""
        try:
            with self._scope:
                await self._read()
        finally:
            self.closed = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_BOUND_S):
                await self._stream.aclose()
                await trio.aclose_forcefully(self.opened.stream)
            self._lose(Unreachable(f"the connection to {self.origin} was given up"))

    # ------------------------------------------------------------ reading

    async def _read(self) -> None:  # noqa: ASYNC910  (a fresh connection is not closed)
        while not self.closed:
            data = await self._stream.receive()
            if data:
                self._reader.receive_data(data)
            else:
                self.closed = True
                self._reader.receive_eof()
            while (event := self._reader.next_event()) is not None:
                if self._decoder is not None and isinstance(event, http1.Data):
                    await self._decode(self._decoder, event.data)
                else:
                    self._handle(event)
            if self._exchange is not None:
                await self._wait_room()
            elif self._stream.buffered and not self.closed:
                await self._send_rest()

    async def _wait_room(self) -> None:  # noqa: ASYNC910  (the hot path: most handlers have room)
        """Let whoever gets the answer catch up."""
        handler = self._exchange.handler if self._exchange is not None else None
        if handler is not None and handler.full:
            await handler.wait_room()

    async def _send_rest(self) -> None:
        """The server answered before it had read all of the request: it may take the rest, or be about to close."""
        with trio.move_on_after(SEND_REST_S):
            await self._stream.wait_sent()
        if self._stream.buffered or self._stream.broken:
            self.closed = True
        else:
            self._on_idle(self)

    def _handle(self, event: http1.Event) -> None:
        match event:
            case http1.Data():
                if self._exchange is not None and self._exchange.handler is not None:
                    self._exchange.handler.on_data(event.data)
            case http1.Head():
                self._begin(event)
            case http1.End():
                self._finish(event)
            case http1.Broken():
                self._break(event)

    def _begin(self, head: http1.Head) -> None:
        self._keep_alive_s = _keep_alive_s(head.headers)
        coding = head.headers.get("content-encoding")
        try:
            self._decoder = Decoder(coding) if coding else None
        except ContentError as exc:
            self._refuse(exc)
            return
        if self._exchange is not None and self._exchange.handler is not None:
            self._exchange.handler.on_head(head)

    async def _decode(self, decoder: Decoder, data: bytes) -> None:  # noqa: ASYNC910  (likewise)
        """Hand on a coded piece of the body, which may be the small beginning of much: with a wait where one is due."""
        try:
            for piece in decoder.decode(data):
                if self._exchange is None or self._exchange.handler is None:
                    return  # noqa: ASYNC910
                self._exchange.handler.on_data(piece)
                await self._wait_room()
        except ContentError as exc:
            self._refuse(exc)

    def _finish(self, end: http1.End) -> None:
        """The answer is complete. The connection is offered first, so that what `on_end` asks next can have it."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        handler, exchange.handler, exchange.holder = exchange.handler, None, None
        error = self._end_decoding()
        self._used = True
        self._idle_since = trio.current_time()
        self.closed = self.closed or not end.keep_alive or not self._reader.is_idle
        if not self.closed and not self._stream.buffered:
            self._on_idle(self)
        if handler is not None and error is not None:
            handler.on_failure(error)
        elif handler is not None:
            handler.on_end()

    def _end_decoding(self) -> PeerError | None:
        decoder, self._decoder = self._decoder, None
        try:
            if decoder is not None:
                decoder.finish()
        except ContentError as exc:
            return PeerError(f"cannot read the answer of {self.origin}: {exc}")
        return None

    # ------------------------------------------------------------ losses

    def _refuse(self, exc: ContentError) -> None:
        """The answer cannot be read, so neither can what follows."""
        self._lose(PeerError(f"cannot read the answer of {self.origin}: {exc}"))
        self.close()

    def _break(self, event: http1.Broken) -> None:
        self.closed = True
        if self._exchange is None:
            return
        if not event.ended:
            self._lose(PeerError(f"cannot read the answer of {self.origin}: {event.reason}"))
        elif event.started:
            self._lose(
                Unreachable(f"{self.origin} closed the connection in the middle of its answer")
            )
        else:
            self._lose_unanswered(self._exchange)

    def _lose_unanswered(self, exchange: Exchange) -> None:
        """Not a byte came back. On a connection in use before, it may have been closed before the request arrived."""
        error = Unreachable(f"{self.origin} closed the connection without an answer")
        arrived = not self._never_arrived()
        exchange.arrived = exchange.arrived or arrived
        harmless = exchange.request.repeatable or not arrived
        if not harmless:
            error = Unreachable(
                f"{error}; the request may have been carried out, so it was not sent again"
            )
        error.unprocessed = not exchange.arrived
        self._lose(error, harmless=harmless and self._used)

    def _never_arrived(self) -> bool:
        """Whether the server provably never saw the request.

        Either the connection was gone before a byte could be written. Or the server closed it, and its FIN, which
        acknowledges whatever had come by then (RFC 9293 §3.4), acknowledged not one byte: a server that has closed its
        side cannot answer, so it does not begin to work on what comes after that. A reset proves nothing: it is taken
        without a look at what it acknowledges, and may follow the reading of a request.
        """
        if not self._sent:
            return True
        before = self._acked_before
        return before is not None and not self._stream.failed and self._witness.acked() == before

    def _lose(self, error: McpctlError, *, harmless: bool = False) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.handler is not None:
            exchange.holder = None
            self._on_lost(exchange, error, harmless)


def _keep_alive_s(headers: http1.Headers) -> float:
    told = http1.keep_alive_timeout(headers)
    return DEFAULT_KEEP_ALIVE_S if told is None else max(told - KEEP_ALIVE_MARGIN_S, told / 2)


def _byte_stream(nursery: trio.Nursery, stream: trio.abc.Stream) -> ByteStream:
    """The fastest way to use `stream`: by its descriptor where it is a plain socket."""
    if isinstance(stream, trio.SocketStream):
        fd = stream.socket.fileno()
        return DescriptorStream(nursery, fd, fd, borrowed=True)
    return TrioStream(nursery, stream)
