"""The front as an ASGI application (ASGI 3.0), to be mounted in a web application of yours, or served by hypercorn.

    app = McpApp(["uvx", "mcp-server-time"])
    async with app.running():     # or let the server's lifespan events do it
        ...

It runs under trio: `hypercorn --worker-class trio`, with Quart-Trio, Starlette or FastAPI around it.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import trio

from mcpctld.drivers.http.server import Answer, Fields, Request
from mcpctld.drivers.outbox import ROOM, Outbox
from mcpctld.errors import UserError
from mcpctld.protocols.http1 import Headers
from mcpctld.wrap.front import Front
from mcpctld.wrap.options import Options
from mcpctld.wrap.serve import make_front, start, stop

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

TOO_LARGE = Answer(413, (("Content-Type", "text/plain"),), b"the body is too long\n")


class McpApp:
    """A stdio server as an ASGI application."""

    def __init__(
        self,
        command: Sequence[str] = (),
        *,
        options: Options | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`options` say all that `mcpctl wrap` can be told; with a `command` alone nothing is asked of clients.

        Then protect it as you protect the rest of your application. `environ` is for the server; ours by default.
        """
        if options is None:
            if not command:
                raise UserError("McpApp needs the command of a server")
            options = Options(command=tuple(command), allowed_hosts=(), hosts=("::",))
        self._options = options
        self._environ = dict(os.environ if environ is None else environ)
        self._front: Front | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the server run within the block."""
        async with trio.open_nursery() as nursery:
            self._front = front = make_front(self._options, self._environ, nursery)
            start(front, nursery)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await stop(front, self._options.drain_timeout_s)
                self._front = None
                nursery.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan of the server (ASGI 3.0)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            if self._front is None:
                raise RuntimeError("McpApp is not running: use `async with app.running()`")
            await serve_request(self._front, scope, receive, send, self._options.max_body_bytes)
        else:
            raise RuntimeError(f"McpApp does not serve {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def serve_request(
    front: Front, scope: Scope, receive: Receive, send: Send, limit: int
) -> None:
    """Serve one HTTP request with a front that runs elsewhere."""
    request = _request(scope)
    refusal = front.admit(request)
    if refusal is None and _length(request) > limit:
        refusal = TOO_LARGE
    body = None if refusal is not None else await _body(receive, limit)
    reply = AsgiReply()
    if body is None:
        answer = refusal or TOO_LARGE
        reply.send(answer.status, answer.headers, answer.body)
    else:
        request.body = body
        front.handle(request, reply)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, receive, reply)
        await reply.pump(send)
        nursery.cancel_scope.cancel()


def _request(scope: Scope) -> Request:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    root = scope.get("root_path", "")
    return Request(
        method=scope["method"],
        path=path.removeprefix(root) or "/",
        query=scope["query_string"].decode("latin-1"),
        headers=Headers(list(scope["headers"])),
        body=b"",
        peer=scope["client"][0] if scope.get("client") else "",
        local=tuple(scope.get("server") or ()),
    )


def _length(request: Request) -> int:
    told = request.headers.get("content-length") or "0"
    return int(told) if told.isascii() and told.isdigit() else 0


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None when it is too long, or the client has left before its end."""
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not event.get("more_body", False):
            return b"".join(parts)


async def _watch(receive: Receive, reply: "AsgiReply") -> None:
    """The client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.leave()


class AsgiReply:
    """A `mcpctld.drivers.http.server.Reply` whose bytes `pump` hands to the ASGI server."""

    def __init__(self) -> None:
        self.gone = False
        self.on_gone: Callable[[], None] = _nobody
        self._head: Event | None = None
        self._outbox = Outbox()
        self._done = False
        self._news = trio.Event()

    def send(self, status: int, headers: Fields, body: bytes = b"") -> None:
        """The whole answer."""
        self.start(status, (*headers, ("Content-Length", str(len(body)))))
        self.write(body)
        self.end()

    def start(self, status: int, headers: Fields) -> None:
        """The answer begins."""
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        self._head = {"type": "http.response.start", "status": status, "headers": fields}
        self._news.set()

    def write(self, data: bytes) -> None:
        """A piece of its body."""
        if data and not self.gone:
            self._outbox.add((data,))
            self._news.set()

    def end(self) -> None:
        """The answer is complete."""
        self._done = True
        self._news.set()

    @property
    def full(self) -> bool:
        """Whether the client reads more slowly than we write."""
        return self._outbox.size > ROOM

    async def wait_room(self) -> None:
        """Wait until not much is kept unsent, or the client is gone."""
        await self._outbox.wait_at_most(ROOM)

    def leave(self) -> None:
        """The client is gone."""
        if not (self.gone or self._done):
            self.gone = True
            self._outbox.drop()
            self._news.set()
            self.on_gone()

    async def pump(self, send: Send) -> None:  # noqa: ASYNC910  (at once when the client has gone)
        """Hand everything on, until the end or the client is gone."""
        started = False
        while not self.gone:
            if not (self._outbox or self._done) and (started or self._head is None):
                self._news = trio.Event()
                await self._news.wait()
                continue
            if not started and self._head is not None:
                started = True
                await send(self._head)
            data = b"".join(self._outbox.first())
            self._outbox.took(len(data))
            more = not self._done or bool(self._outbox)
            await send({"type": "http.response.body", "body": data, "more_body": more})
            if not more:
                return


def _nobody() -> None:
    """Nobody wants to know."""
