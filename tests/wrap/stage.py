"""The front of `mcpctl wrap` without sockets and processes: HTTP answers in memory, servers in the test's hand.

    async with stage() as made:
        client = await made.initialize()
        reply = made.post(call(1), client)
        made.processes[0].answer(await made.asked("tools/call"))

All that stands between the two is the real thing, and time is virtual.
"""

import contextlib
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.server import Request
from mcpctld.errors import McpctlError, Unreachable
from mcpctld.logs import FieldLogger
from mcpctld.model import MiB, Server, ServerSpec
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, error_line, parse, result_line
from mcpctld.protocols.mcp.headers import modern_params, parameter_headers, standard_headers
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import Context, Facts, Shared, Upstream
from mcpctld.wrap import conversation, pulse
from mcpctld.wrap.affinity import Affinity
from mcpctld.wrap.children import Children
from mcpctld.wrap.front import Front
from mcpctld.wrap.guard import Guard
from mcpctld.wrap.options import Credentials, Options
from mcpctld.wrap.soon import Soon
from mcpctld.wrap.spares import Spares
from mcpctld.wrap.world import World
from wrap.heads import heads
from wrap.replies import Ear

LONG_S = 30_000.0
"""In the test's time. When nothing moves any more the clock jumps here, and the test has failed."""

P = "io.modelcontextprotocol/"
BOTH = "application/json, text/event-stream"
MODERN = "2026-07-28"
TOKEN = "a-token-that-nobody-guesses-0123456789"
ALICE = f"Authorization: Bearer {TOKEN}"
BOB = "Authorization: Basic Ym9iOmh1bnRlcjI="
CREDENTIALS = Credentials(bearer_token=TOKEN, user="bob", password="hunter2")
"""With these, `ALICE` and `BOB` are two principals."""

_NOBODY = {"name": "server", "version": "1"}
_ANSWERS: dict[str, dict[str, Any]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}, "logging": {}},
        "serverInfo": _NOBODY,
    },
    "server/discover": {
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {P + "serverInfo": _NOBODY},
    },
}


class Process(Upstream):
    """A server's process: reads when it likes, and says what it is told to. Stands where `Stdio` does."""

    transport = "stdio"

    def __init__(self, context: Context, behaviour: "Behaviour") -> None:
        super().__init__(context)
        self.sent: list[bytes] = []
        self.closed = False
        self.lagging = False
        """It does not read its stdin."""
        self._behaviour = behaviour
        self._inbox: deque[Message] = deque()
        self._outbox: deque[bytes] = deque()
        self._error: McpctlError | None = None
        self._news = trio.Event()

    async def run(self) -> None:
        self._behaviour.started(self)
        while True:
            await trio.lowlevel.checkpoint()
            while self._inbox:
                self._behaviour.react(self, self._inbox.popleft())
            while self._outbox:
                self.downstream.deliver(parse(self._outbox.popleft()))
                if self.downstream.client_full:
                    await self.downstream.wait_client()
            if self._error is not None:
                raise self._error
            if not self._inbox:
                self._news = trio.Event()
                await self._news.wait()

    def send(self, message: Message | Batch) -> None:
        self.sent.append(message.raw)
        parts = message.messages if isinstance(message, Batch) else [message]
        self._inbox.extend(parts)
        self._news.set()
        self._behaviour.wake()

    @property
    def full(self) -> bool:
        return self.lagging

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()

    def forget(self, id: bytes) -> None:
        pass

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------ for the test

    def say(self, **message: Any) -> None:
        """Print a message."""
        self.say_line(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def say_line(self, line: bytes) -> None:
        self._outbox.append(line)
        self._news.set()

    def answer(self, request: Message, result: Any = None) -> None:
        """Answer a request, by default with its own params."""
        said = request.params or b"{}" if result is None else json.dumps(result).encode()
        self.say_line(result_line(request.id, said))

    def refuse(self, request: Message, code: int = -32601, reason: str = "no such method") -> None:
        self.say_line(error_line(request.id, code, reason))

    def die(self, words: str = "the process of x exited with code 1: it broke") -> None:
        """The process ends."""
        self._error = Unreachable(words)
        self._news.set()

    def requests(self, method: str) -> list[Message]:
        """What it was asked by this method."""
        parsed = [parse(line) for line in self.sent]
        every = [p for one in parsed for p in (one.messages if isinstance(one, Batch) else [one])]
        return [one for one in every if one.method == method]


class Behaviour:
    """What all processes of a stage do by themselves."""

    def __init__(self, eras: tuple[str, ...]) -> None:
        self.eras = eras
        self.tools: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        """Methods that are left to the test, beside all that are not known here."""
        self.processes: list[Process] = []
        self.broken: str | None = None
        """The last words of a process that ends as soon as it is started."""
        self.changed = trio.Event()

    def make(self, context: Context) -> Process:
        return Process(context, self)

    def started(self, process: Process) -> None:
        self.processes.append(process)
        self.wake()
        if self.broken is not None:
            raise Unreachable(f"the process of x exited with code 1: {self.broken}")

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def react(self, process: Process, message: Message) -> None:
        """Answer what is known, as a server of these eras does."""
        if message.kind is not Kind.REQUEST or message.method in self.silent:
            return
        era = "modern" if modern_params(message) is not None else "legacy"
        if message.method == "ping":
            process.answer(message, {})
        elif era not in self.eras:
            process.refuse(message)
        elif message.method in _ANSWERS:
            process.answer(message, _ANSWERS[message.method])
        elif message.method == "tools/list":
            process.answer(message, {"tools": self.tools})


class Stage:
    """The front, and both sides of it."""

    def __init__(self, world: World, front: Front, behaviour: Behaviour) -> None:
        self.world = world
        self.front = front
        self.behaviour = behaviour
        self._ids = 0

    @property
    def processes(self) -> list[Process]:
        """All that were ever started."""
        return self.behaviour.processes

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if not process.closed]

    # ------------------------------------------------------------ HTTP

    def request(self, method: str, path: str, body: bytes, *lines: str) -> Ear:
        """One HTTP request; `lines` are its headers, and `path` may have a query."""
        path, _, query = path.partition("?")
        request = Request(method, path, query, heads("Host: x", *lines), b"", "10.0.0.1", ())
        ear = Ear()
        refusal = self.front.admit(request)
        request.body = body
        if refusal is None:
            self.front.handle(request, ear)
        else:
            ear.send(refusal.status, refusal.headers, refusal.body)
        return ear

    def post(self, message: Any, *lines: str, accept: str = BOTH, path: str = "/mcp") -> Ear:
        """POST a message: JSON, or bytes as they are."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        standard = ("Content-Type: application/json", f"Accept: {accept}")
        return self.request("POST", path, body, *standard, *lines)

    def get(self, *lines: str, accept: str = "text/event-stream", path: str = "/mcp") -> Ear:
        return self.request("GET", path, b"", f"Accept: {accept}", *lines)

    def delete(self, *lines: str) -> Ear:
        return self.request("DELETE", "/mcp", b"", *lines)

    def ask(self, message: dict[str, Any], *lines: str, accept: str = BOTH) -> Ear:
        """POST a request of 2026-07-28 with the headers that belong to it."""
        parsed = parse(json.dumps(message).encode())
        assert isinstance(parsed, Message)
        headers = list(standard_headers(parsed, modern_params(parsed)))
        facts = self.world.shared.facts.tools.get(message["params"].get("name", ""))
        if facts is not None:
            headers += parameter_headers(facts.headers, parsed.params)
        return self.post(message, *(f"{n}: {v}" for n, v in headers), *lines, accept=accept)

    async def initialize(
        self, *lines: str, version: str = "2025-11-25", initialized: bool = True
    ) -> str:
        """Begin a session: the header that names it."""
        reply = self.post(initialize(version), *lines)
        await reply.wait()
        assert reply.status == 200
        session = f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"
        if initialized:
            said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert self.post(said, session, *lines).status == 202
            await self.asked("notifications/initialized", self.processes[-1])
        return session

    # ------------------------------------------------------------ the server

    async def process(self, count: int) -> Process:
        """Wait for the process of this number, from 1."""
        while len(self.processes) < count:
            await self.behaviour.changed.wait()
        return self.processes[count - 1]

    async def asked(self, method: str, process: Process | None = None, count: int = 1) -> Message:
        """Wait until a process, any by default, has had so many messages of a method: the last of them."""
        while True:
            where = self.processes if process is None else [process]
            found = [one for each in where for one in each.requests(method)]
            if len(found) >= count:
                return found[count - 1]
            await self.behaviour.changed.wait()


@contextlib.asynccontextmanager
async def stage(
    *eras: str,
    most: int = 8,
    machine: str = "",
    secret: bytes = b"",
    replays: bool = True,
    idle_timeout_s: float = 1800.0,
    call_timeout_s: float = 3600.0,
    credentials: Credentials = Credentials(),  # noqa: B008  (frozen)
    prefix: str = "",
    health: bool = False,
    beats: bool = False,
) -> AsyncIterator[Stage]:
    """A front with servers of these eras, of both by default."""
    behaviour = Behaviour(eras or ("legacy", "modern"))
    entropy = _Entropy()
    with pytest.MonkeyPatch.context() as patch, trio.fail_after(LONG_S):
        patch.setattr(conversation, "Stdio", lambda context, _start: behaviour.make(context))
        async with trio.open_nursery() as nursery:
            spec = ServerSpec(command=["/bin/x"], call_timeout_s=call_timeout_s)
            world = World(
                server=Server(name="x", spec=spec),
                nursery=nursery,
                http=HttpClient(nursery, open_origin, lambda: 1),
                shared=Shared("wrap", nursery, Facts()),
                children=Children(most, lambda: front.evict()),
                affinity=Affinity(machine, secret, entropy, replays=replays),
                log=FieldLogger(logging.getLogger("mcpctld.wrap"), {}),
                max_message_bytes=MiB,
                idle_timeout_s=idle_timeout_s,
                soon=Soon(nursery),
                spares=Spares(nursery, spec, 0),
            )
            options = Options(
                command=("x",), hosts=("::",), credentials=credentials, path_prefix=prefix
            )
            front = Front(world, Guard(options), None, prefix)
            if health:
                nursery.start_soon(front.health.run)
            if beats:
                nursery.start_soon(pulse.run, front.on_beat, front.wake)
            made = Stage(world, front, behaviour)
            yield made
            front.close()
            with trio.fail_after(60):
                while front.running:  # noqa: ASYNC110  (of real processes)
                    await trio.sleep(0.01)
            assert all(process.closed for process in made.processes)
            nursery.cancel_scope.cancel()


class _Entropy:
    """Bytes that differ each time, and are the same in each run."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, count: int) -> bytes:
        self._calls += 1
        return self._calls.to_bytes(count, "big")


MakeStage = Callable[..., contextlib.AbstractAsyncContextManager[Stage]]


# ---------------------------------------------------------------- messages of clients


def initialize(version: str = "2025-11-25", ident: Any = "init") -> dict[str, Any]:
    info = {"clientInfo": {"name": "tester", "version": "1"}, "capabilities": {}}
    params = {"protocolVersion": version, **info}
    return {"jsonrpc": "2.0", "id": ident, "method": "initialize", "params": params}


def call(ident: Any, **params: Any) -> dict[str, Any]:
    """A legacy `tools/call`."""
    named = {"name": "x", **params}
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": named}


def modern(
    ident: Any, method: str = "tools/call", client: str = "tester", **params: Any
) -> dict[str, Any]:
    """A request of 2026-07-28; `logs=True` asks for log messages, `token=…` for progress."""
    meta: dict[str, Any] = {
        P + "protocolVersion": MODERN,
        P + "clientCapabilities": {},
        P + "clientInfo": {"name": client, "version": "1"},
    }
    if params.pop("logs", False):
        meta[P + "logLevel"] = "debug"
    if (token := params.pop("token", None)) is not None:
        meta["progressToken"] = token
    named = {"name": "x"} if method == "tools/call" else {}
    body = {**named, **params, "_meta": meta}
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": body}
