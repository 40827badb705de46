"""One connection of our HTTP server: one request at a time, one reader task, no task per request."""

import enum
import logging
import math
import socket
from collections.abc import Awaitable, Callable

import trio

from mcpctld.drivers.http.server_reply import ServerReply, date_line, encode
from mcpctld.drivers.http.service import Answer, Limits, Request, Service
from mcpctld.drivers.keepalive import Pace, set_pace
from mcpctld.drivers.streams import DescriptorStream
from mcpctld.protocols import http1_server as http1

BODY_STEP = 4 * 1024
"""Bytes of a body that count as progress: at one byte now and then, a body would never end."""
MOST_DRAINED = 64 * 1024
"""The longest body of a refused request that is read, so that the connection can be kept."""
MOST_PIPELINED = 64 * 1024
"""Bytes that are read ahead while an answer is under way. With more the client is not watched until it is sent."""

_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

_log = logging.getLogger("mcpctld.http.server")

OnHttp2 = Callable[[trio.SocketStream, bytes], Awaitable[None]]
"""Serves a connection that speaks HTTP/2 until it ends. It gets what was read of it already."""


class _Phase(enum.Enum):
    IDLE = enum.auto()  # not a byte of a request has come
    HEAD = enum.auto()  # some of a head has
    BODY = enum.auto()  # the head has, the body not
    ANSWER = enum.auto()  # an answer is under way
    ENDING = enum.auto()  # nothing more is answered


class ServerConnection:
    """A connection. `run` serves it until it ends; closing `stream` is up to the caller.

    `watch` is told of each new `deadline`; somebody calls `expire` then. `nursery` holds the writing of what the client
    did not take at once.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        stream: trio.SocketStream,
        service: Service,
        limits: Limits,
        watch: Callable[[float], None],
        on_http2: OnHttp2 | None = None,
    ) -> None:
        self.draining = False
        self._socket = stream.socket
        self._trio_stream = stream
        self._service = service
        self._limits = limits
        self._watch = watch
        self._on_http2 = on_http2
        self._peer = _peer(stream.socket)
        self._local = _local(stream.socket)
        set_pace(stream, Pace(30, 10, 3, silence_s=max(1, round(limits.write_stall_s))))
        fd = stream.socket.fileno()
        self._stream = DescriptorStream(nursery, fd, fd, borrowed=True)
        self._stream.progress = self._wrote_more
        self._outbox = self._stream.outbox
        self._reader = http1.RequestReader(http1.Bounds(head=limits.head, body=limits.body))
        self._scope = trio.CancelScope()
        self._wake: trio.CancelScope | None = None  # of a wait that an answer's end is to end
        self._pumping = False
        self._phase = _Phase.IDLE
        self._read_deadline = math.inf
        self._write_deadline = math.inf
        self._forget_request()
        self._reply: ServerReply | None = None
        self._http2 = b""
        self._settle()

    def _forget_request(self) -> None:
        self._head: http1.Head | None = None
        self._request: Request | None = None
        self._body: bytes | bytearray = b""
        self._step_left = BODY_STEP

    # ------------------------------------------------------------ for the server

    @property
    def deadline(self) -> float:
        """When to `expire`, in trio's time."""
        return min(self._read_deadline, self._write_deadline)

    def expire(self, now: float) -> None:
        """Do what is due for a client that is too slow."""
        if self._write_deadline <= now:
            self.close()
        elif self._read_deadline <= now:
            refused = self._phase is _Phase.BODY and self._request is None
            if self._phase in (_Phase.HEAD, _Phase.BODY) and not refused:
                self._break(408, "the request took too long to arrive")
            else:
                self.close()

    def drain(self) -> None:
        """Close when the answer under way is done; at once if nothing is."""
        self.draining = True
        if self._phase is _Phase.IDLE:
            self.close()

    def turn_away(self) -> None:
        """Answer 503, whatever is asked."""
        self._break(503, "too many connections", ("Retry-After", "1"))

    def close(self) -> None:
        """End the connection; the client of an answer under way counts as gone."""
        self._phase = _Phase.ENDING
        self._scope.cancel()

    async def run(self) -> None:  # noqa: ASYNC910  (a task of its own)
        """Serve until the connection ends."""
        try:
            with self._scope:
                await self._read()
                if self._http2 and self._on_http2 is not None:
                    await self._serve_http2(self._on_http2)
        finally:
            self.close()
            self._read_deadline = self._write_deadline = math.inf
            self._stream.close()
            self._leave()

    async def _serve_http2(self, on_http2: OnHttp2) -> None:  # noqa: ASYNC910  (what failed has waited)
        """Hand the connection over. What goes wrong there ends it, and no other."""
        try:
            await on_http2(self._trio_stream, self._http2)
        except Exception:
            _log.exception("serving HTTP/2 failed")

    def _leave(self) -> None:
        """Tell the handler whose answer is under way that nobody gets it."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        reply.gone = True
        try:
            reply.on_gone()
        except Exception:
            _log.exception("a handler failed when its client had gone")

    # ------------------------------------------------------------ reading

    async def _read(self) -> None:  # noqa: ASYNC910  (a fresh connection has not ended)
        while not self._http2:
            if self._reply is not None and self._reader.buffered:
                data = await self._read_ahead()
            else:
                data = await self._stream.receive()
            if not data:
                if self._reply is None:
                    await self._stream.wait_sent()  # it may have closed its side only
                return
            if self._phase is not _Phase.ENDING:
                self._reader.receive_data(data)
                self._pump()

    async def _read_ahead(self) -> bytes:
        """Read while requests wait that came too early. Handle them when the answer is done, and then read on."""
        while self._reply is not None:
            with trio.CancelScope() as self._wake:
                if self._reader.buffered > MOST_PIPELINED:
                    await trio.sleep_forever()
                return await self._stream.receive()
            self._wake = None
            self._pump()
        return await self._stream.receive()

    def _pump(self) -> None:
        """Handle what has come, up to an answer that is not given at once."""
        self._pumping = True
        while self._reply is None and self._phase is not _Phase.ENDING:
            event = self._reader.next_event()
            if event is None:
                break
            self._handle(event)
        self._pumping = False
        self._settle()

    def _handle(self, event: http1.Event) -> None:
        match event:
            case http1.Head():
                self._begin(event)
            case http1.Data():
                self._add(event.data)
            case http1.End():
                self._complete()
            case http1.Broken():
                self._break(event.status, event.reason)
            case http1.Http2Preface() if self._on_http2 is not None:
                self._http2 = event.data
                self._phase = _Phase.ENDING
                self._read_deadline = math.inf
            case http1.Http2Preface():
                self._break(505, "HTTP/2 is not spoken here")

    def _begin(self, head: http1.Head) -> None:
        """A head has come: look at it, and have the body sent if it is to be."""
        self._head = head
        path, _, query = head.target.partition("?")
        request = Request(head.method, path, query, head.headers, b"", self._peer, self._local)
        try:
            answer = self._service.admit(request)
            if answer is not None:
                self._refuse(head, answer)
                return
        except Exception:
            _log.exception("looking at a request failed")
            self._fail()
            return
        self._request = request
        if head.expects_continue and not self._reader.buffered:
            self.write(http1.CONTINUE)

    def _refuse(self, head: http1.Head, answer: Answer) -> None:
        """Answer without reading the body, but for a short one that surely comes."""
        short = not head.chunked and (head.content_length or 0) <= MOST_DRAINED
        keep_alive = head.keep_alive and not self.draining and short and not head.expects_continue
        self.write(*encode(head, answer.status, answer.headers, answer.body, keep_alive=keep_alive))
        if not keep_alive:
            self._end_writing()

    def _add(self, data: bytes) -> None:
        """A piece of the body. Of many a `bytearray` is made: a list of tiny ones would be many times their size."""
        self._step_left -= len(data)
        if self._step_left <= 0 and self._phase is _Phase.BODY:
            self._step_left = BODY_STEP
            self._await_input(self._limits.body_stall_s)
        if self._request is None:
            return  # it was refused
        if not self._body:
            self._body = data
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data

    def _complete(self) -> None:
        """A request is complete: have it answered, now or later."""
        head, request, body = self._head, self._request, self._body
        self._forget_request()
        self._phase = _Phase.ANSWER
        if request is None or head is None:  # it was refused
            self._reader.next_request()
            return
        request.body = bytes(body)
        self._reply = reply = ServerReply(self, head)
        try:
            self._service.handle(request, reply)
        except Exception:
            _log.exception("handling a request failed")
            self._give_up(reply)

    def _give_up(self, reply: ServerReply) -> None:
        """The handler has failed: say so, if nothing was said yet, and close."""
        if reply.is_done:
            return
        self._reply = None
        reply.gone = True
        if reply.is_fresh:
            self._fail()
        else:
            self.close()

    def _fail(self) -> None:
        self._break(500, "an internal error; the log of the server says more")

    # ------------------------------------------------------------ writing

    @property
    def full(self) -> bool:
        """Whether much is kept unsent."""
        return self._outbox.size > self._limits.room

    async def wait_room(self) -> None:
        """Wait until not much is kept unsent, or the connection has ended."""
        await self._outbox.wait_at_most(self._limits.room)

    def write(self, *parts: bytes) -> None:
        """Send, now or as soon as the client takes it. A client that cannot be reached any more ends the connection."""
        self._stream.write(*parts)
        if self._outbox.broken:
            self.close()
        elif self._outbox and self._write_deadline == math.inf:
            self._await_output()

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete: go on to the next request, or end."""
        self._reply = None
        if not keep_alive or self.draining:
            self._end_writing()
            return
        self._reader.next_request()
        if self._pumping:
            return
        if self._wake is not None:
            self._wake.cancel()
        self._settle()

    def _wrote_more(self) -> None:
        """Some of what was kept has been sent, or nothing can be sent any more."""
        if self._outbox.broken:
            self.close()
        elif self._outbox:
            self._await_output()
        else:
            self._write_deadline = math.inf
            if self._phase is _Phase.ENDING:
                self._shut()

    def _break(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        """Answer what cannot be served, and end."""
        body = f"mcpctl: {reason}\n".encode()
        parts = http1.encode_response(
            status, (*_TEXT, *headers), body, keep_alive=False, extra=date_line()
        )
        self.write(*parts)
        self._end_writing()

    def _end_writing(self) -> None:
        """The last answer was given: close our side once it is sent, and see the client close its own."""
        self._phase = _Phase.ENDING
        self._read_deadline = math.inf
        self._forget_request()
        if self._wake is not None:
            self._wake.cancel()
        if not self._outbox:
            self._shut()

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # reset already
            self.close()
        self._await_input(self._limits.linger_s)

    # ------------------------------------------------------------ time

    def _settle(self) -> None:
        """See what is waited for now, and how long."""
        if self._phase is _Phase.ENDING:
            return
        before, self._phase = self._phase, self._find_phase()
        if self._phase is _Phase.ANSWER:
            self._read_deadline = math.inf
        elif self._phase is _Phase.IDLE:
            self._await_input(self._limits.idle_s)
            if self.draining:
                self.close()
        elif self._phase is not before:
            limits = self._limits
            head = self._phase is _Phase.HEAD
            self._await_input(limits.head_s if head else limits.body_stall_s)

    def _find_phase(self) -> _Phase:
        if self._reply is not None:
            return _Phase.ANSWER
        if self._head is not None:
            return _Phase.BODY
        return _Phase.IDLE if self._reader.is_idle else _Phase.HEAD

    def _await_input(self, seconds: float) -> None:
        self._read_deadline = trio.current_time() + seconds
        self._watch(self._read_deadline)

    def _await_output(self) -> None:
        self._write_deadline = trio.current_time() + self._limits.write_stall_s
        self._watch(self._write_deadline)


def _peer(sock: trio.socket.SocketType) -> str:
    """The address at the other end; empty for a Unix socket, or when it has gone already."""
    try:
        name = sock.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def _local(sock: trio.socket.SocketType) -> tuple[object, ...]:
    name = sock.getsockname()
    return name if isinstance(name, tuple) else (name,)
