"""A fleet for tests: apps whose machines are real HTTP servers on loopback, in the test's own event loop.

async with town.open() as fleet:
    app = fleet.add_app("time")
    app.add("m1", programs.echo)
    port = fleet.edge_port
"""

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from mcpctld.localfly.edge.holding import Patience
from mcpctld.localfly.edge.serve import serve
from mcpctld.localfly.fleet import Refused

Fields = list[tuple[str, str]]
LONG_S = 10**6


@dataclasses.dataclass
class Visit:
    """A request as a machine sees it, and its connection."""

    machine: "Machine"
    line: str
    fields: Fields
    stream: trio.SocketStream
    early: bytes
    """What came behind the head."""

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if found else None

    async def more(self) -> bytes:
        if self.early:
            data, self.early = self.early, b""
            return data
        return bytes(await self.stream.receive_some())

    async def body(self) -> bytes:
        """The whole body, by length or in chunks."""
        data = b""
        if self.get("transfer-encoding") == "chunked":
            while not data.endswith(b"0\r\n\r\n"):
                data += await self.more()
            return _dechunk(data)
        while len(data) < int(self.get("content-length") or 0):
            data += await self.more()
        return data

    async def answer(
        self, body: bytes = b"", status: str = "200 OK", *fields: tuple[str, str]
    ) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in fields)]
        lines.append(f"Content-Length: {len(body)}")
        await self.stream.send_all("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def _dechunk(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return body
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


Program = Callable[[Visit], Awaitable[None]]


async def echo(visit: Visit) -> None:
    """Tells the request that came, as JSON."""
    body = await visit.body()
    told = {
        "machine": visit.machine.id,
        "line": visit.line,
        "fields": visit.fields,
        "body": body.decode("latin-1"),
    }
    await visit.answer(json.dumps(told).encode(), "200 OK", ("Content-Type", "application/json"))


@dataclasses.dataclass(eq=False)
class Machine:
    """A machine: `state`, `cordoned`, `lease_holder` and `healthy` may be set by a test."""

    fleet: "Town"
    id: str
    program: Program
    config: dict[str, Any]
    region: str = "iad"
    state: str = "started"
    version: str = "01"
    cordoned: bool = False
    lease_holder: str = ""
    healthy: bool = True
    cold_start_s: float = 0.0
    silent_s: float = 0.0
    """For so long after a start nobody listens."""
    refusals: list[Refused] = dataclasses.field(default_factory=list)
    """What the next starts are answered with."""
    crashes: int = 0
    """How many starts end at once."""
    keeps: int = 0
    """How many stops are refused."""
    starts: int = 0
    visits: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0
    _life: trio.CancelScope = dataclasses.field(default_factory=trio.CancelScope)

    async def run(self) -> None:
        """Listen, until it is stopped."""
        with trio.CancelScope() as self._life:
            await trio.sleep(self.silent_s)
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            await trio.serve_listeners(self._serve, listeners)

    def end(self, state: str) -> None:
        self._life.cancel()
        self.state, self.port = state, 0

    async def _serve(self, stream: trio.SocketStream) -> None:
        data = b""
        with contextlib.suppress(trio.BrokenResourceError):
            while b"\r\n\r\n" not in data:
                got = await stream.receive_some()
                if not got:
                    return
                data += got
            head, _, rest = data.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            fields = [(key, value.strip()) for key, _, value in (x.partition(":") for x in lines)]
            self.visits += 1
            self.open += 1
            self.most_open = max(self.open, self.most_open)
            try:
                await self.program(Visit(self, line, fields, stream, rest))
            finally:
                self.open -= 1


def service(**changes: Any) -> dict[str, Any]:
    """A service as `launch` configures it, with changes."""
    return {
        "protocol": "tcp",
        "internal_port": 8080,
        "autostart": True,
        "autostop": "stop",
        "ports": [{"port": 80, "handlers": ["http"]}, {"port": 443, "handlers": ["http", "tls"]}],
    } | changes


@dataclasses.dataclass
class App:
    """An app."""

    fleet: "Town"
    name: str
    public: bool = True
    private: bool = False
    machines: dict[str, Machine] = dataclasses.field(default_factory=dict)

    async def add(
        self, id: str, program: Program = echo, *, config: Mapping[str, Any] | None = None,
        state: str = "started", port: int = 0, **settings: Any,
    ) -> Machine:  # fmt: skip
        """A machine; one that is `started` listens. `port`: of a process that the test has started."""
        fields = {f.name for f in dataclasses.fields(Machine)}
        own = {key: settings.pop(key) for key in tuple(settings) if key in fields}
        made = {"services": [service(**settings)], **(config or {})}
        machine = Machine(self.fleet, id, program, made, state=state, port=port, **own)
        self.machines[id] = machine
        if state == "started" and not port:
            await self.fleet.launch(machine)
        return machine


class Town:
    """All apps: the fleet of an edge on `edge_port`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._apps: dict[str, App] = {}
        self.edge_port = 0
        self.lines: list[tuple[str, str, str]] = []
        """App, machine, message."""

    def add_app(self, name: str = "time", **settings: Any) -> App:
        self._apps[name] = App(self, name, **settings)
        return self._apps[name]

    async def launch(self, machine: Machine) -> None:
        self._nursery.start_soon(machine.run)
        while not machine.port and not machine.silent_s:
            await trio.lowlevel.checkpoint()

    def said(self, text: str) -> list[str]:
        """Lines of the log with this text."""
        return [message for _, _, message in self.lines if text in message]

    # ------------------------------------------------------------ Fleet

    def app(self, name: str) -> App | None:
        return self._apps.get(name)

    def apps(self) -> Sequence[App]:
        return list(self._apps.values())

    def machines(self, app: str) -> Sequence[Machine]:
        return list(self._apps[app].machines.values()) if app in self._apps else []

    def address(self, machine: Machine, internal_port: int) -> tuple[str, int] | None:
        assert internal_port == 8080
        return ("127.0.0.1", machine.port) if machine.port else None

    async def start(self, machine: Machine, reason: str) -> None:
        machine.starts += 1
        await trio.lowlevel.checkpoint()
        if machine.refusals:
            raise machine.refusals.pop(0)
        machine.state = "starting"
        await trio.sleep(machine.cold_start_s)
        if machine.crashes:
            machine.crashes -= 1
            machine.state = "stopped"
            return
        machine.state = "started"
        await self.launch(machine)

    async def stop(self, machine: Machine, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        if machine.keeps:
            machine.keeps -= 1
            raise Refused(409, "leased")
        machine.end("stopped")

    async def suspend(self, machine: Machine, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        machine.end("suspended")

    def log(self, app: str, machine: str, provider: str, level: str, message: str) -> None:
        assert provider == "proxy"
        self.lines.append((app, machine, message))

    def now(self) -> float:
        return trio.current_time()


@contextlib.asynccontextmanager
async def open_town(
    *, autostop_period_s: float = LONG_S, patience: Patience | None = None
) -> AsyncIterator[Town]:
    """A town with an edge."""
    async with trio.open_nursery() as nursery:
        fleet = Town(nursery)
        fleet.edge_port = await serve(
            nursery, fleet, 0, autostop_period_s=autostop_period_s, patience=patience
        )
        yield fleet
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------ clients


@dataclasses.dataclass
class Answer:
    """What a client got."""

    status: int
    fields: Fields
    body: bytes
    whole: bool = True
    """Not cut off."""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def told(self) -> dict[str, Any]:
        """What `echo` said."""
        return json.loads(self.body)

    def seen(self, name: str) -> list[str]:
        """A header of the request, as the machine saw it."""
        return [value for key, value in self.told["fields"] if key.lower() == name]


class Caller:
    """A raw client: one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, text: bytes) -> None:
        await self.stream.send_all(text)

    async def until(self, mark: bytes) -> bytes:
        """All up to and with `mark`; less at the end of the connection."""
        while mark not in self.buffer:
            data = await self.stream.receive_some()
            if not data:
                return self._take(len(self.buffer))
            self.buffer += data
        return self._take(self.buffer.index(mark) + len(mark))

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = await self.stream.receive_some()
            if not data:
                break
            self.buffer += data
        return self._take(count)

    def _take(self, count: int) -> bytes:
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def head(self) -> tuple[int, Fields]:
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        assert lines, "the connection was closed without an answer"
        fields = [(key, value.strip()) for key, _, value in (x.partition(":") for x in lines[1:])]
        return int(lines[0].split(" ")[1]), fields

    async def chunk(self) -> bytes | None:
        """A chunk; None when the connection ends in place of one."""
        size = await self.until(b"\r\n")
        if not size.endswith(b"\r\n"):
            return None
        data = await self.exactly(int(size, 16) + 2)
        return data[:-2]

    async def answer(self, *, bodiless: bool = False) -> Answer:
        status, fields = await self.head()
        named = {key.lower(): value for key, value in fields}
        if bodiless or status in (204, 304):
            return Answer(status, fields, b"")
        if named.get("transfer-encoding") != "chunked":
            length = named.get("content-length")
            count = int(length) if length is not None else LONG_S
            body = await self.exactly(count)
            return Answer(status, fields, body, length is None or len(body) == count)
        body = b""
        while piece := await self.chunk():
            body += piece
        return Answer(status, fields, body, piece is not None)


@contextlib.asynccontextmanager
async def calling(fleet: Town) -> AsyncIterator[Caller]:
    """A connection to the edge."""
    stream = await trio.open_tcp_stream("127.0.0.1", fleet.edge_port)
    async with stream:
        yield Caller(stream)


def request(
    method: str = "GET", path: str = "/", body: bytes | None = None, *,
    host: str = "time.localhost", **fields: str,
) -> bytes:  # fmt: skip
    """A request; `fields` with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


async def ask(fleet: Town, *args: Any, **fields: Any) -> Answer:
    """One request on a connection of its own."""
    async with calling(fleet) as caller:
        await caller.send(request(*args, **fields))
        return await caller.answer(bodiless=bool(args) and args[0] == "HEAD")
