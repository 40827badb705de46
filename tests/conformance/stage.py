"""What stands on the stage of a run: the fixture, the gate before it, mcpctl, the front before that."""

import contextlib
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import suite

from harness import Home, program, wait_until

HERE = Path(__file__).parent
FIXTURE = (sys.executable, str(HERE / "everything.py"))
DRIVER = (sys.executable, str(HERE / "driver.py"))
GATE = (sys.executable, str(HERE / "eragate.py"))
STDIO_GATE = (sys.executable, str(HERE / "stdiogate.py"))
FRONT = suite.PACKAGES / "supergateway" / "dist" / "index.js"
FRONT_SESSION_MS = 60_000
END_BOUND_S = 10.0


def fixture(home: Home, gate: str = "") -> str:
    """Start the fixture and answer its URL; `gate` is the one era to let through."""
    served = home.serve(*FIXTURE, "http")
    if gate:
        served = home.serve(*GATE, gate, f"127.0.0.1:{served.port}")
    return f"{served.base}/mcp"


def attached(url: str) -> list[str]:
    """The command line of `mcpctl attach` for that server."""
    return [program("mcpctl"), "attach", "--url", url]


def front(home: Home, child: list[str]) -> str:
    """Start the HTTP front that makes a stdio command a server, and answer its URL."""
    port = free_port()
    served = home.serve(
        suite.node(), str(FRONT), "--stdio", shlex.join(child),
        *("--outputTransport", "streamableHttp", "--stateful"),
        *("--sessionTimeout", str(FRONT_SESSION_MS), "--port", str(port), "--logLevel", "none"),
    )  # fmt: skip
    return f"{served.base}/mcp"


def wrap(home: Home, child: list[str], spare: int = 1) -> str:
    """Start our own HTTP front over a stdio command, and answer its URL.

    A bridged process serves one kind of client; the suite is several, and gives each new one 0.6 s.
    """
    flags = ("--port", "0", "--spare", str(spare))
    served = home.serve(program("mcpctl"), "wrap", *flags, "--", *child)
    return f"http://localhost:{served.port}/mcp"


def free_port() -> int:
    """A port that nobody listens on: the front cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def driver(era: str, way: str, *flags: str) -> str:
    """The command of a real client, for a shell; the suite puts the URL behind it."""
    return shlex.join([*DRIVER, era, way, *flags])


@contextlib.contextmanager
def home(folder: Path) -> Iterator[Home]:
    """A home with a daemon; what it said is kept in `folder`, whatever happens."""
    with Home() as made:
        made.start_daemon()
        try:
            yield made
            clear(made)
        finally:
            (folder / "daemon.log").write_text(made.transcript())


def clear(home: Home) -> None:
    """End what was started, front first, and wait for the clients' end: a daemon that is stopped while
    it has some hands them over to the next one."""
    for process in reversed(home.served):
        process.terminate()
        process.wait(END_BOUND_S)
    daemon = home.daemon.pid if home.daemon else 0
    wait_until(lambda: {found.pid for found in home.processes()} <= {daemon}, "the clients' end")
