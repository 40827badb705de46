"""A transport of ours and a scripted server, joined by memory: no socket, no process, and virtual time.

    async with world() as w:
        w.send(id=1, method="tools/list")
        assert (await w.answer(1))["result"] == {"tools": []}

The HTTP client between them is the real one.
"""

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11
import trio
import trio.testing

from fixtures import scripted
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.pool import Opened
from mcpctld.drivers.http.request import Origin
from mcpctld.errors import McpctlError, Unreachable
from mcpctld.logs import FieldLogger
from mcpctld.model import MiB, Server, ServerSpec
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.upstreams import Context, Facts, Shared, Upstream, make_upstream
from mcpctld.upstreams.streamable_http import StreamableHttp
from sessions.client import INITIALIZE, Journal, journal, same

LONG_S = 7200.0
"""In the test's time. When nothing moves any more the clock jumps here, and the test has failed."""


class Ears:
    """The client's side: what was delivered, and what has failed. A `Downstream`."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.failures: list[tuple[Any, McpctlError]] = []
        self.losses: list[tuple[bytes | None, McpctlError]] = []
        self.client_full = False
        self.heard = trio.Event()

    def deliver(self, message: Message | Batch) -> None:
        assert b"\n" not in message.raw
        assert b"\r" not in message.raw
        self.lines.append(message.raw)
        self._wake()

    def fail(self, id: bytes, error: McpctlError) -> None:
        self.failures.append((json.loads(id), error))
        self._wake()

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        self.losses.append((message.raw if message else None, error))
        self._wake()
        return True

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        return False

    def stderr(self, data: bytes) -> None:
        raise AssertionError("no process is involved")

    async def wait_client(self) -> None:
        while self.client_full:
            await self.heard.wait()

    def read_on(self) -> None:
        """Take more again."""
        self.client_full = False
        self._wake()

    def _wake(self) -> None:
        self.heard.set()
        self.heard = trio.Event()


class World:
    """Both sides, and the hand that moves them."""

    def __init__(self, server: scripted.Upstream, log: Journal) -> None:
        self.server = server
        self.log = log
        self.ears = Ears()
        self.up = True
        """Whether the server can be reached."""
        self.connections = 0
        """How many are open at the server."""
        self.accepted = 0
        self.ended: McpctlError | None = None
        """What the transport's `run` raised."""
        self.over = trio.Event()
        self.upstream: Upstream
        self.http: HttpClient
        self.shared: Shared

    @property
    def verdicts(self) -> dict[str, str]:
        """What was found out about the transport, by URL."""
        found = self.shared.facts.transport
        return {self.server.url: found} if found else {}

    def send(self, **message: Any) -> None:
        """A message of the client."""
        self.send_raw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def send_raw(self, line: bytes) -> None:
        """The same, byte for byte."""
        self.upstream.send(parse(line))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was delivered so far."""
        return [json.loads(line) for line in self.ears.lines]

    async def answer(self, ident: Any) -> dict[str, Any]:
        """The response to a request, which must be the only one."""
        while not (found := self._answers(ident)):
            assert not self._failures(ident), self._failures(ident)
            await self.ears.heard.wait()
        assert len(found) == 1, found
        return found[0]

    async def failure(self, ident: Any) -> McpctlError:
        """Why a request has failed."""
        while not (found := self._failures(ident)):
            assert not self._answers(ident), self._answers(ident)
            await self.ears.heard.wait()
        assert len(found) == 1, found
        return found[0]

    async def notified(self, method: str) -> dict[str, Any]:
        """The first notification or request with this method."""
        while not (found := [seen for seen in self.messages if seen.get("method") == method]):
            await self.ears.heard.wait()
        return found[0]

    def _answers(self, ident: Any) -> list[dict[str, Any]]:
        return [
            seen
            for seen in self.messages
            if "method" not in seen and same(seen.get("id", "absent"), ident)
        ]

    def _failures(self, ident: Any) -> list[McpctlError]:
        return [error for failed, error in self.ears.failures if same(failed, ident)]

    async def initialize(self, **params: Any) -> dict[str, Any]:
        """The handshake of the older revisions."""
        self.send(id="init", method="initialize", params=INITIALIZE | params)
        answer = await self.answer("init")
        self.send(method="notifications/initialized")
        await self.server.wait_for("notifications/initialized")
        return answer

    async def settle(self) -> None:
        """Wait until nothing moves, without letting time pass."""
        await trio.testing.wait_all_tasks_blocked()

    # ------------------------------------------------------------ the server's end of connections

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Hand the requests on one connection to the scripted server, one after the other."""
        self.connections += 1
        self.accepted += 1
        number = self.accepted
        leftover = b""
        try:
            async with stream:
                while True:
                    # The answers are written by hand, so a parser serves one request only.
                    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
                    parser.receive_data(leftover) if leftover else None
                    exchange = await _read(stream, parser, number)
                    leftover = parser.trailing_data[0]
                    await self.server.handle(exchange)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            pass
        finally:
            self.connections -= 1
            self.server.note()


async def _read(stream: trio.abc.Stream, parser: h11.Connection, number: int) -> scripted.Exchange:
    """The next request; `EndOfChannel` when the client closed."""
    request, body = h11.ConnectionClosed(), b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            line = (request.method.decode(), request.target.decode())
            return scripted.Exchange(*line, headers, body, number, stream)
        else:
            raise trio.EndOfChannel


@contextlib.asynccontextmanager
async def world(
    transport: str = "streamable-http",
    *,
    verdicts: dict[str, str] | None = None,
    max_message_bytes: int = 64 * MiB,
    reachable: bool = True,
    make: Callable[[Context], Upstream] = make_upstream,
    **spec: Any,
) -> AsyncIterator[World]:
    """The transport, running; at the end it is closed, and no connection may be left.

    `make` puts something else there, layers over the transport say.
    """
    server = scripted.Upstream(80)
    with journal() as log:
        made = World(server, log)
        made.up = reachable
        described = ServerSpec(**{"url": server.url, "transport": transport, **spec})
        known = Facts((verdicts or {}).get(described.url or ""))
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as outer:
                made.shared = Shared("key", outer, known)
                await _live(made, outer, described, max_message_bytes, make)
                try:
                    yield made
                    with trio.fail_after(60):
                        await made.upstream.aclose()
                    nothing_kept(made.upstream)
                finally:
                    made.running.cancel()
                with trio.fail_after(
                    1
                ):  # of nobody's use, and so not kept: the pool would wait for the next request
                    while made.connections:
                        made.http.close_idle()
                        await trio.sleep(0.01)
                outer.cancel_scope.cancel()
    if verdicts is not None and known.transport:
        verdicts[described.url or ""] = known.transport
    assert not [record for record in log.records if record.exc_info]


def nothing_kept(upstream: Upstream) -> None:
    """What is over must be forgotten: it holds its whole message."""
    inner = getattr(upstream, "below", upstream)
    inner = getattr(inner, "_inner", inner)
    if isinstance(inner, StreamableHttp):
        assert inner._posts == {}
        assert inner._open == set()


async def _live(
    made: World,
    nursery: trio.Nursery,
    spec: ServerSpec,
    max_message_bytes: int,
    make: Callable[[Context], Upstream],
) -> None:
    async def connect(origin: Origin) -> Opened:
        await trio.lowlevel.checkpoint()
        if not made.up:
            raise Unreachable(f"{origin}: connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(made.serve, theirs)
        return Opened(ours)

    made.http = HttpClient(nursery, connect, lambda: 512)
    made.running = trio.CancelScope()
    inside = await nursery.start(_hold_nursery, made.running)
    context = Context(
        server=Server(name="somebody", spec=spec),
        spec=spec,
        downstream=made.ears,
        http=made.http,
        nursery=inside,
        shared=made.shared,
        max_message_bytes=max_message_bytes,
        log=_adapter(),
    )
    made.upstream = make(context)
    inside.start_soon(_run, made)


def _adapter() -> Any:
    return FieldLogger(logging.getLogger("mcpctld.session"), {})


async def _hold_nursery(
    scope: trio.CancelScope, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def _run(made: World) -> None:
    try:
        await made.upstream.run()
    except McpctlError as exc:
        made.ended = exc
    finally:
        made.over.set()
