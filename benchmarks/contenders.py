"""The shims that are compared, and how each is started.

Rivals are started as kindly as they allow: their JavaScript or console script directly (no `npx`,
which adds about a second), logging off, no OAuth, the transport named.
"""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import install, processes
from benchmarks.daemon import Daemon
from benchmarks.links import Link, RawLink, StdioLink

OURS = "mcpctl"
OLD = "old"
FAMILIES = ("raw", "mcp-remote", "supergateway", "mcp-proxy", OURS)
"""What `--contenders` chooses from; of ours, a family has two ways in."""
START_S = 10.0

PATHS = {"json": "/mcp", "sse": "/sse"}
"""How the server answers → where it does so."""
AWAY = "away"
"""In place of these: a server that runs only within `Ground.away_server`."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all contenders share: the servers' ports, a throw-away home, a place for their stderr."""

    port: int
    away_port: int
    home: Path
    stderr: int

    def url(self, answers: str) -> str:
        """The server that answers so (`json` or `sse`)."""
        if answers == AWAY:
            return f"http://127.0.0.1:{self.away_port}{PATHS['json']}"
        return f"http://127.0.0.1:{self.port}{PATHS[answers]}"

    @contextmanager
    def away_server(self) -> Iterator[None]:
        """Have the server run that is away otherwise."""
        server = EchoServer("stream", self.away_port)
        try:
            yield
        finally:
            server.stop()

    def server_files(self) -> dict[str, str]:
        """The servers that a daemon of ours is to know: name → contents of its file."""
        return {answers: f'url = "{self.url(answers)}"\n' for answers in (*PATHS, AWAY)}

    def environment(self) -> dict[str, str]:
        """A small environment, as MCP clients pass one; the caller's own does not leak in."""
        return {"HOME": str(self.home), "PATH": os.defpath, "LANG": "C.UTF-8"}


class Contender(Protocol):
    """Something that can be attached to the server under test."""

    @property
    def name(self) -> str:
        """Its column in the table."""

    def open(self, answers: str) -> Link:
        """Start one session; nothing has been written to it yet."""

    def residents(self) -> Sequence[int]:
        """The processes that serve every session, beside the session's own."""

    def check(self) -> None:
        """Raises `Died` when they no longer run."""


class Raw:
    """No shim: HTTP on a keep-alive socket."""

    name = "raw socket"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def open(self, answers: str) -> Link:
        return RawLink(self._ground.port, PATHS[answers])

    def residents(self) -> Sequence[int]:
        return ()

    def check(self) -> None:
        pass


class Rival:
    """A shim that is a process for each session; `{url}` in its arguments is the server."""

    def __init__(self, name: str, argv: Sequence[str], ground: Ground) -> None:
        self.name = name
        self._argv = argv
        self._ground = ground

    def open(self, answers: str) -> Link:
        url = self._ground.url(answers)
        argv = [part.replace("{url}", url) for part in self._argv]
        return StdioLink(argv, self._ground.environment(), self._ground.stderr)

    def residents(self) -> Sequence[int]:
        return ()

    def check(self) -> None:
        pass


class Ours:
    """One way into a daemon of ours."""

    def __init__(self, name: str, argv: Sequence[str], daemon: Daemon, ground: Ground) -> None:
        self.name = name
        self._argv = argv
        self._daemon = daemon
        self._ground = ground

    @property
    def remembers(self) -> bool:
        """Whether it says for a server that is away what that said before; older builds need not."""
        return not self.name.startswith(OLD)

    def away_server(self) -> AbstractContextManager[None]:
        """Have the server run that is away otherwise."""
        return self._ground.away_server()

    def open(self, answers: str) -> Link:
        self._daemon.check()
        return StdioLink([*self._argv, answers], self._daemon.environment, self._ground.stderr)

    def residents(self) -> Sequence[int]:
        return (self._daemon.pid,)

    def check(self) -> None:
        self._daemon.check()


def rival(name: str, ground: Ground) -> Contender:
    """One of the other shims, as `install` put it in place."""
    if name == "mcp-proxy":
        flags = ["--log-level", "ERROR", "--transport", "streamablehttp"]
        return Rival(name, [f"{install.MCP_PROXY}/bin/mcp-proxy", *flags, "{url}"], ground)
    modules = install.NPM / "node_modules"
    if name == "supergateway":
        flags = ["--logLevel", "none", "--streamableHttp", "{url}"]
        return Rival(
            name, [install.node(), f"{modules}/supergateway/dist/index.js", *flags], ground
        )
    flags = ["--allow-http", "--transport", "http-only", "--silent"]
    return Rival(
        name, [install.node(), f"{modules}/mcp-remote/dist/proxy.js", "{url}", *flags], ground
    )


def entries(name: str, venv: Path, daemon: Daemon, ground: Ground) -> list[Contender]:
    """Both ways into a build of ours: the console script, and what clients' files name."""
    stub = install.site_packages(venv) / "mcpctl" / "entry.py"
    return [
        Ours(name, [f"{venv}/bin/mcpctl", "attach"], daemon, ground),
        Ours(f"{name} entry", [f"{venv}/bin/python", "-I", "-S", str(stub)], daemon, ground),
    ]


@contextmanager
def ground(get: str) -> Iterator[Ground]:
    """Start the server under test, with this answer to GET, over a throw-away home."""
    with ExitStack() as stack:
        # Short, for the sake of the sockets in it.
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mb", dir="/tmp")))
        stderr = stack.enter_context((home / "stderr").open("ab"))
        server = EchoServer(get)
        stack.callback(server.stop)
        yield Ground(server.port, free_port(), home, stderr.fileno())


def free_port() -> int:
    """A loopback port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


class EchoServer:
    """The server under test, as a child; on any free port, or on the one given."""

    def __init__(self, get: str, port: int = 0) -> None:
        stdin, self._keep_alive = os.pipe()
        self._stdout, stdout = os.pipe()
        flags = ["--get", get, "--port", str(port)]
        argv = [sys.executable, "-m", "benchmarks.echo_server", *flags]
        environment = {"PYTHONPATH": str(install.PROJECT), "PATH": os.defpath}
        self._pid = processes.start(argv, environment, (stdin, stdout, 2))
        os.close(stdin)
        os.close(stdout)
        with processes.bound(START_S, "starting the echo server"):
            self.port = int(os.read(self._stdout, 100))

    def stop(self) -> None:
        """End it."""
        os.close(self._keep_alive)
        os.close(self._stdout)
        processes.end(self._pid, patience_s=START_S)
