"""A daemon's worth of answers in memory, and the control API in front of it on a real socket."""

import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mcpctl import shapes
from mcpctld.errors import NotFound, UserError
from mcpctld.sessions.events import EventBus, Subscription

BOUND_S = 30
"""For any one wait of a test: far above what it takes, far below patience."""


def figures(calls: int = 0) -> shapes.Figures:
    p50, p99 = (2.0, 9.5) if calls else (None, None)
    return {"calls": calls, "errors": 1, "in_flight": 2, "p50_ms": p50, "p99_ms": p99}


def server_info(name: str, calls: int = 0) -> shapes.ServerInfo:
    return {
        "name": name,
        "kind": "http",
        "url": "https://mcp.example/mcp",
        "command": None,
        "transport": "auto",
        "detected": None,
        "instance": None,
        "file": f"/servers/{name}.toml",
        "secrets": ["TOKEN"],
        "missing_secrets": ["TOKEN"],
        "sessions": 1,
        "sharing": 0,
        "figures": figures(calls),
        "last_error": None,
    }


def client_file(path: str) -> shapes.ClientFile:
    return {
        "file": path,
        "clients": ["cursor"],
        "scope": "user",
        "state": "read",
        "problem": None,
        "changed_at": 3.0,
        "put_back": 0,
        "servers": [{"name": "clock", "server": "time"}],
    }


def machine_info() -> shapes.Machine:
    return {
        "app": "time-app",
        "id": "148e21f",
        "at": "fly.io",
        "policy": "attached",
        "state": "started",
        "region": "fra",
        "checks": {"health": "passing"},
        "restarts": 0,
        "wake_p50_s": 1.5,
        "wake_p90_s": 4.0,
        "next_wake_at": 1_800_000_000.0,
        "trouble": None,
    }


def session_info(ident: str, server: str) -> shapes.SessionInfo:
    return {
        "id": ident,
        "server": server,
        "client": "a client",
        "client_version": "1",
        "cwd": "/home",
        "pid": 7,
        "transport": "streamable-http",
        "bridge": None,
        "protocol_version": "2025-11-25",
        "started_at": 2.0,
        "state": "ready",
        "figures": figures(3),
        "last_error": None,
    }


def tunnel_info(name: str) -> shapes.TunnelInfo:
    peer: shapes.TunnelPeer = {
        "endpoint": "192.0.2.1:51820",
        "carrier": "udp",
        "handshakes": 2,
        "last_handshake_at": 3.0,
        "rtt_ms": 20.5,
        "unanswered": 0,
        "bytes_sent": 1,
        "bytes_received": 2,
        "trouble": None,
    }
    return {
        "name": name,
        "kind": "wireguard",
        "hosts": ["*.internal"],
        "state": "up",
        "address": "fdaa::2",
        "opened_at": 1.0,
        "connections": 1,
        "peers": [peer],
        "probe": None,
        "last_error": None,
    }


def fresh_status() -> shapes.Status:
    return {
        "daemon": {
            "version": "0",
            "pid": 1,
            "python": "3",
            "started_at": 1.5,
            "activation": "self",
            "attach_socket": "/run/attach.sock",
            "control_socket": "/run/control.sock",
            "config_dir": "/config",
            "state_dir": "/state",
            "log_file": "/state/log",
        },
        "servers": [
            {**server_info("time", calls=4), "machine": machine_info()},
            server_info("weather"),
        ],
        "sessions": [session_info("s1", "time")],
        "config_errors": [],
        "clients": [client_file("/home/.cursor/mcp.json")],
    }


class WatchedBus(EventBus):
    """Tells when a listener has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.left = trio.Event()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        try:
            with super().subscribe() as subscription:
                yield subscription
        finally:
            self.left.set()


@dataclass
class FakeEngine:
    """Keeps what it is told. `gate`, where set, holds `reload` back until it opens."""

    events: WatchedBus = field(default_factory=WatchedBus)
    draining: bool = False
    known: shapes.Status = field(default_factory=fresh_status)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    bug: Exception | None = None
    gate: trio.Event | None = None
    reloading: trio.Event = field(default_factory=trio.Event)
    reload_cancelled: trio.Event = field(default_factory=trio.Event)

    def status(self) -> shapes.Status:
        if self.bug:
            raise self.bug
        return self.known

    async def reload(self) -> shapes.Reloaded:
        self.reloading.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
        except trio.Cancelled:
            self.reload_cancelled.set()
            raise
        return {"servers": ["time"], "config_errors": []}

    async def end_session(self, session_id: str) -> None:
        kept = [one for one in self.known["sessions"] if one["id"] != session_id]
        if len(kept) == len(self.known["sessions"]):
            raise NotFound(f"cannot end the session {session_id}: there is none of that id")
        self.known["sessions"] = kept

    def tunnels(self) -> shapes.TunnelList:
        return {"tunnels": [tunnel_info("fly")]}

    async def forget_tunnel(self, name: str) -> None:
        if name != "fly":
            raise NotFound(f"there is no tunnel {name!r}")

    async def probe_tunnel(self, name: str) -> shapes.TunnelProbe:
        if name != "fly":
            raise NotFound(f"there is no tunnel {name!r}")
        return {"target": "fdaa::3", "sent": 5, "received": 4, "rtt_ms": 1.5}

    async def wake(self, name: str) -> shapes.Woken:
        if name != "time":
            raise UserError(f"{name} has no machine to wake")
        return {"server": name, "seconds": 1.5, "machine": machine_info()}

    def cost(self) -> shapes.Cost:
        spent = {"a client": 12.5, "schedule": 1.0}
        row: shapes.ServerCost = {
            "server": "time",
            "today_s": {},
            "month_s": spent,
            "total_s": spent,
            "awake": True,
        }
        return {"servers": [row]}

    async def set_secret(self, server: str, key: str, value: str) -> None:
        if key == "bad name":
            raise UserError("cannot keep a secret named 'bad name'")
        self.secrets.setdefault(server, {})[key] = value

    async def delete_secret(self, server: str, key: str) -> None:
        self.secrets.get(server, {}).pop(key, None)

    async def delete_secrets(self, server: str) -> None:
        self.secrets.pop(server, None)

    def shutdown(self, *, hand_over: bool = False) -> None:
        self.draining = True
        self.hands_over = hand_over
        self.events.publish("daemon.draining")
        self.events.close()


@dataclass
class Api:
    """A running control API: an HTTP client for it, and its socket for anything ruder."""

    engine: FakeEngine
    path: str
    http: httpx.AsyncClient
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopped: trio.Event = field(default_factory=trio.Event)
    opened: list[trio.SocketStream] = field(default_factory=list)

    async def connect(self) -> trio.SocketStream:
        """A new connection, closed when the test ends."""
        stream = await trio.open_unix_socket(self.path)
        self.opened.append(stream)
        return stream

    async def send(self, request: str, headers: str = "", body: bytes = b"") -> trio.SocketStream:
        """A new connection on which `request` (method and path) has been sent."""
        stream = await self.connect()
        await self.send_on(stream, request, headers, body)
        return stream

    async def send_on(
        self, stream: trio.SocketStream, request: str, headers: str = "", body: bytes = b""
    ) -> None:
        head = f"{request} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        await stream.send_all(head.encode() + body)

    async def stop(self) -> None:
        """Cancel `serve` and wait until it has returned."""
        self.scope.cancel()
        with trio.fail_after(BOUND_S):
            await self.stopped.wait()


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    """What comes up to and including `mark`; fails the test at the end of the stream."""
    got = bytearray()
    with trio.fail_after(BOUND_S):
        while mark not in got[-len(mark) - 65536 :]:
            chunk = await stream.receive_some(65536)
            assert chunk, f"the stream ended before {mark!r}: {got!r}"
            got += chunk
    return bytes(got)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    async for chunk in stream:
        got += chunk
    return got


@pytest.fixture
def tools() -> Any:
    """The reading helpers, for modules that cannot import this one."""

    class Tools:
        until = staticmethod(read_until)
        to_end = staticmethod(read_to_end)
        bound_s = BOUND_S

    return Tools


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket as the daemon makes it: 0600 in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
        path = Path(folder) / "control.sock"
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(128)
        yield made


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def api(listener: socket.socket, engine: FakeEngine) -> AsyncIterator[Api]:
    from mcpctld.api.serve import serve

    path = os.fspath(listener.getsockname())
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with (
        httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=BOUND_S
        ) as http,
        trio.open_nursery() as nursery,
    ):
        running = Api(engine, path, http)

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with running.scope:
                await serve(listener.fileno(), engine, task_status=task_status)
            running.stopped.set()

        await nursery.start(run)
        try:
            yield running
            await running.stop()
        finally:
            for stream in running.opened:
                stream.socket.close()
