"""The peer behind each transport: what the contract suite runs against."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio

from mcpctld.model import ServerSpec
from upstreams.peer import Dead, Peer

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stand:
    """A server under the test's control."""

    def __init__(self, spec: ServerSpec) -> None:
        self.spec = spec
        self.open = 0
        """Connections to it."""
        self.sees_our_ids = False
        """Clients share it, so requests come to it under ids that are not the clients' own."""

    def deafen(self) -> None:
        """Stop reading what is sent."""
        raise NotImplementedError

    def listen(self) -> None:
        """Read on."""
        raise NotImplementedError


# ---------------------------------------------------------------- stdio


class StdioStand(Stand):
    """A child process; the test tells us its pid, which it asked the child for."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("peer.py"))
        super().__init__(ServerSpec(command=[sys.executable, "-I", "-S", program]))
        self.pid = 0

    def deafen(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def listen(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def stdio() -> AsyncIterator[Stand]:
    """`stdio`."""
    yield StdioStand()


# ---------------------------------------------------------------- HTTP


class HttpStand(Stand):
    """An HTTP server in this process."""

    def __init__(self, url: str, transport: str) -> None:
        super().__init__(ServerSpec(url=url, transport=transport, connect_timeout_s=0.2))  # type: ignore[arg-type]
        self.peer = Peer()
        self.streams: set[trio.SocketStream] = set()
        self.out: trio.MemorySendChannel[bytes] | None = None
        """To the client that holds the GET."""
        self.partial = b""
        """A line of which the end has not come."""
        self.listening = trio.Event()
        self.listening.set()
        self.serving = trio.CancelScope()

    def deafen(self) -> None:
        self.listening = trio.Event()

    def listen(self) -> None:
        self.listening.set()

    def die(self) -> None:
        """Cut all connections and accept no more."""
        self.serving.cancel()

    def react(self, body: bytes) -> list[bytes]:
        """What the peer says to a body."""
        try:
            return self.peer.react(body)
        except Dead:
            self.die()
            raise


class Request:
    """One request on a connection."""

    def __init__(self, stand: HttpStand, stream: trio.SocketStream, head: bytes, body: bytes):
        self.stand = stand
        self.stream = stream
        self.method, self.target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.body = body

    async def events(self, lines: list[bytes], form: bytes = b"event: message\ndata: %s\n\n"):
        """Lines in pieces of a chunked body."""
        for line in lines:
            text = form % line
            await self.stream.send_all(b"%x\r\n%s\r\n" % (len(text), text))

    async def hold(self, first: list[bytes], form: bytes) -> None:
        """Be the GET: pass on what is said until the client goes."""
        send, receive = trio.open_memory_channel[bytes](float("inf"))
        self.stand.out = send
        await self.stream.send_all(EVENTS)
        await self.events(first, b"%s")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_closed, nursery.cancel_scope)
            async for line in receive:
                await self.events([line], form)
        self.stand.out = None
        raise trio.ClosedResourceError("the client has gone")

    async def _cancel_when_closed(self, scope: trio.CancelScope) -> None:
        await self.until_closed()
        scope.cancel()

    async def until_closed(self) -> None:
        """Wait until the client closes the connection."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.receive_some(1)


Handler = Callable[[Request], Awaitable[None]]


async def _connection(stand: HttpStand, handler: Handler, stream: trio.SocketStream) -> None:
    buffer = b""
    stand.open += 1
    try:
        async with stream:
            while True:
                while b"\r\n\r\n" not in buffer:
                    buffer += await _more(stand, stream)
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = _content_length(head)
                parts, size = [buffer], len(buffer)
                while size < length:
                    parts.append(await _more(stand, stream))
                    size += len(parts[-1])
                whole = b"".join(parts)
                body, buffer = whole[:length], whole[length:]
                await handler(Request(stand, stream, head, body))
    except (trio.BrokenResourceError, trio.ClosedResourceError, Dead):
        pass
    finally:
        stand.open -= 1


async def _more(stand: HttpStand, stream: trio.SocketStream) -> bytes:
    await stand.listening.wait()
    data = bytes(await stream.receive_some(1 << 16))
    if not data:
        raise trio.ClosedResourceError("the client has gone")
    return data


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@contextlib.asynccontextmanager
async def _serve(transport: str, handler: Handler) -> AsyncIterator[HttpStand]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    stand = HttpStand(f"http://127.0.0.1:{port}/mcp", transport)
    stand.sees_our_ids = handler is answer_fly_wrap
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_death, stand, handler, listener)
        yield stand
        nursery.cancel_scope.cancel()


async def _until_death(stand: HttpStand, handler: Handler, listener: trio.SocketListener) -> None:
    with stand.serving:
        await trio.serve_listeners(functools.partial(_connection, stand, handler), [listener])
    await listener.aclose()


# ---------------------------------------------------------------- the habits of each


async def answer_streamable(request: Request) -> None:
    """One POST, its answer an event stream or a JSON body."""
    if request.method != "POST":
        status = b"405 No" if request.method == "GET" else b"200 OK"
        await request.stream.send_all(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
        return
    said = request.stand.react(request.body)
    if b'"id"' not in request.body or b'"method"' not in request.body:
        await request.stream.send_all(ACCEPTED)
    elif len(said) == 1:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await request.stream.send_all(head % len(said[0]) + said[0])
    else:
        await request.stream.send_all(EVENTS)
        await request.events(said)
        if b'"never"' in request.body:
            await request.until_closed()
            raise trio.ClosedResourceError("the client has gone")
        await request.stream.send_all(b"0\r\n\r\n")


async def answer_sse(request: Request) -> None:
    """The 2024-11-05 transport."""
    if request.method == "GET" and request.target == "/mcp":
        await request.hold([b"event: endpoint\ndata: /say?to=peer\n\n"], b"data: %s\n\n")
    elif request.target == "/say?to=peer":
        await _answer_elsewhere(request, [request.body])
    else:
        await request.stream.send_all(NOT_FOUND)


async def answer_fly_wrap(request: Request) -> None:
    """`fly mcp wrap`, in the strictest reading: it adds no newline to what it writes to the process."""
    if request.method == "GET":
        await request.hold([], b"%s\n")
    else:
        *lines, request.stand.partial = (request.stand.partial + request.body).split(b"\n")
        await _answer_elsewhere(request, [line for line in lines if line])


async def _answer_elsewhere(request: Request, lines: list[bytes]) -> None:
    said = [answer for line in lines for answer in request.stand.react(line)]
    await request.stream.send_all(ACCEPTED)
    if request.stand.out is not None:  # else it is lost
        for line in said:
            request.stand.out.send_nowait(line)


STANDS: dict[str, tuple[str, Callable[[], contextlib.AbstractAsyncContextManager[Stand]]]] = {
    # name of the test's case: the transport it tests, and how to set it up
    "stdio": ("stdio", stdio),
    "streamable-http": (
        "streamable-http",
        functools.partial(_serve, "streamable-http", answer_streamable),
    ),
    "http-sse": ("http-sse", functools.partial(_serve, "http-sse", answer_sse)),
    "fly-wrap": ("fly-wrap", functools.partial(_serve, "fly-wrap", answer_fly_wrap)),
    "auto: streamable-http": ("auto", functools.partial(_serve, "auto", answer_streamable)),
    "auto: http-sse": ("auto", functools.partial(_serve, "auto", answer_sse)),
    "auto: fly-wrap": ("auto", functools.partial(_serve, "auto", answer_fly_wrap)),
}
