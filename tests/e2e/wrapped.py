"""`mcpctl wrap` as a process of its own, and what can be said to it without an SDK."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from e2e.rawclient import CLIENT, LATEST
from harness import FIXTURES, STOP_TIMEOUT_S, Home, Served, program, wait_until

PARROT = (sys.executable, "-I", "-S", str(FIXTURES / "parrot.py"))
HOUSE = (sys.executable, str(FIXTURES / "house.py"), "stdio")
BOTH = "application/json, text/event-stream"
JSON_TYPE = "application/json"
READY_S = 60.0
ANSWER_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body; of a stream, its last event."""
        if self.headers.get_content_type() != "text/event-stream":
            return json.loads(self.body)
        return events(self.body)[-1]


def events(body: bytes) -> list[Any]:
    """The messages of a stream of events."""
    lines = (
        line.removeprefix(b"data:").strip() for line in body.split(b"\n") if line[:5] == b"data:"
    )
    return [json.loads(line) for line in lines if line]


@dataclasses.dataclass(frozen=True, slots=True)
class Wrap:
    """A running wrap. What it can be asked blocks: for trio tests, in a thread."""

    served: Served
    home: Home

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.served.port

    @property
    def base(self) -> str:
        """Its address without a path."""
        return self.served.base

    @property
    def pid(self) -> int:
        """Of the front; its servers are its children."""
        return self.served.process.pid

    # ------------------------------------------------------------ one request

    def ask(
        self,
        method: str,
        path: str = "/",
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            data = json.dumps(body).encode() if isinstance(body, Mapping) else body
            connection.request(method, path, data, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def post(
        self, message: Mapping[str, Any], session: str | None = None, **headers: str
    ) -> Answer:
        """A message over Streamable HTTP; `headers` with `_` for `-`."""
        fields = {"Content-Type": JSON_TYPE, "Accept": BOTH}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        if session is not None:
            fields |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": LATEST}
        return self.ask("POST", "/", message, fields)

    def begin(self, **headers: str) -> str:
        """Shake hands: the session's id."""
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": CLIENT}
        answer = self.post(request(0, "initialize", **params), **headers)
        assert answer.status == 200, answer
        id = answer.headers["Mcp-Session-Id"]
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.post(told, id, **headers).status == 202
        return str(id)

    def figure(self, name: str) -> float:
        """A number of `/metrics`; those with labels are added up."""
        text = self.ask("GET", "/metrics").body.decode()
        found = re.findall(rf"^mcpctl_wrap_{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    # ------------------------------------------------------------ its life

    def is_ready(self) -> bool:
        """Whether the server has answered."""
        return self.ask("GET", "/health").status == 200

    def wait_ready(self) -> "Wrap":
        """Wait for that."""
        wait_until(self.is_ready, "a healthy wrap", READY_S)
        return self

    def below(self) -> list[int]:
        """Its child processes: its servers, and who ends them when it dies."""
        return [process.pid for process in self.home.processes() if process.parent == self.pid]

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Resident bytes of the front alone."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    def log(self) -> list[dict[str, Any]]:
        """What every wrap of this home has logged."""
        *lines, _ = (self.home.path / "served.out").read_text(errors="replace").split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.served.process.send_signal(signal.SIGTERM)
        return self.served.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL."""
        self.served.process.kill()
        self.served.process.wait(STOP_TIMEOUT_S)


def request(id: Any, method: str, **params: Any) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def start(
    home: Home,
    command: tuple[str, ...] = (),
    *flags: str,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Wrap:
    """Start one; by default around a parrot, whose folder is the home's `parrot`."""
    argv = (program("mcpctl"), "wrap", "--port", str(port), "--bind", "127.0.0.1", *flags, "--")
    served = home.serve(*argv, *(command or parrot(home)), env=dict(env or {}), polite=True)
    return Wrap(served, home)


def parrot(home: Home, *flags: str) -> tuple[str, ...]:
    """The command of a parrot."""
    folder = home.path / "parrot"
    folder.mkdir(exist_ok=True)
    return (*PARROT, str(folder), *flags)


@contextlib.contextmanager
def connected(wrap: Wrap, data: bytes = b"") -> Iterator[socket.socket]:
    """A bare connection on which `data` was sent."""
    with socket.create_connection(("127.0.0.1", wrap.port), timeout=ANSWER_S) as sock:
        sock.sendall(data)
        yield sock


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    """What comes, up to and with this; less if the other side ends. `TimeoutError` after `ANSWER_S` seconds."""
    seen, deadline = b"", time.monotonic() + ANSWER_S
    while wanted not in seen:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        if not (chunk := sock.recv(1 << 16)):
            break
        seen += chunk
    return seen
