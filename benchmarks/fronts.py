"""`python -m benchmarks.fronts`: HTTP fronts of one stdio server, in one interleaved run.

    mcpctl wrap, supergateway (stateful), mcp-proxy      each before `echo_child.py`

The client is a raw keep-alive socket. Percentiles are over the pooled samples of all rounds, everything else is the
median over rounds. Memory is that of the front alone, without the processes of the server.
"""

import argparse
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks import install, links, messages, processes, quiet
from benchmarks.contenders import free_port
from benchmarks.run import say

CHILD = (sys.executable, str(install.HERE / "echo_child.py"))
START_S = 60.0
SESSION = b"\r\nmcp-session-id: "
IN_FLIGHT, SESSIONS = 64, 50


class HttpLink:
    """One keep-alive connection in a session; answers of known length, or events in chunks."""

    pid = None

    def __init__(self, port: int, session: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port
        self._data = b""
        self.session = session

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, line: bytes) -> None:
        named = b"Mcp-Session-Id: %b\r\n" % self.session if self.session else b""
        self._socket.sendall(
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\n%bContent-Length: %d\r\n\r\n%b"
            % (self._port, named, len(line), line)
        )

    def receive(self) -> bytes | None:
        chunk = self._socket.recv(links.READ_BYTES)
        if not chunk:
            raise links.Hangup("the front closed the connection")
        self._data += chunk
        head, gap, body = self._data.partition(b"\r\n\r\n")
        lowered = head.lower()
        if not gap or not _is_whole(lowered, body):
            return None
        self._data = b""
        if SESSION in lowered:
            at = lowered.index(SESSION) + len(SESSION)
            self.session = head[at:].partition(b"\r\n")[0]
        return _message(lowered, body)

    def close(self) -> None:
        self._socket.close()


def _is_whole(head: bytes, body: bytes) -> bool:
    _, told, rest = head.partition(b"content-length: ")
    if told:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n") or b"chunked" not in head


def _message(head: bytes, body: bytes) -> bytes:
    """The answer: the body, or the last event that holds a message."""
    if b"text/event-stream" not in head:
        return body
    return b"{" + body.rpartition(b"data: {")[2].partition(b"\n")[0]


def open_session(port: int) -> HttpLink:
    """A session that is made, and warm."""
    link = HttpLink(port)
    links.exchange(link, messages.INITIALIZE)
    links.exchange(link, messages.INITIALIZED)
    return link


@dataclass(slots=True)
class Front:
    """A contender."""

    name: str
    argv: Sequence[str]
    home: Path

    def start(self, port: int) -> int:
        """Start it; its process id."""
        argv = [part.replace("{port}", str(port)) for part in self.argv]
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        with (self.home / "stderr").open("ab") as stderr, open(os.devnull, "rb") as nothing:
            return processes.start(
                argv, environment, (nothing.fileno(), stderr.fileno(), stderr.fileno())
            )


@contextmanager
def running(front: Front) -> Iterator[tuple[int, int, float]]:
    """Have a front: its port, its process id, and how long it took to answer the first `initialize`."""
    port = free_port()
    begun = perf_counter()
    pid = front.start(port)
    try:
        with processes.bound(START_S, f"starting {front.name}"):
            _wait_listening(port)
            open_session(port).close()
            took_s = perf_counter() - begun
        yield port, pid, took_s
    finally:
        processes.end(pid, patience_s=5.0)


def _wait_listening(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(processes.POLL_S)
        else:
            return


# ---------------------------------------------------------------- what is measured

Samples = dict[str, list[float]]
ROWS = {
    "start → initialize answered, ms": (1e3, 50, False),
    "small call p50, µs": (1e6, 50, False),
    "small call p99, µs": (1e6, 99, False),
    "64 in flight, calls/s": (1, 50, True),
    "50 sessions, calls/s": (1, 50, True),
    "PSS of the front, 1 session, MiB": (1, 50, False),
    "PSS of the front, 50 sessions, MiB": (1, 50, False),
}
"""Title → scale, percentile, whether more is better."""


def measure(front: Front, calls: int, seconds: float) -> Samples:
    """One round of one front."""
    with running(front) as (port, pid, started_s):
        link = open_session(port)
        _calls(link, calls // 4)
        samples = _calls(link, calls)
        first = _own_memory(pid)
        in_flight = _in_flight(port, link.session, seconds)
        link.close()
        rate, full = _sessions(port, pid, seconds)
    return {
        "start → initialize answered, ms": [started_s],
        "small call p50, µs": samples,
        "small call p99, µs": samples,
        "64 in flight, calls/s": [in_flight],
        "50 sessions, calls/s": [rate],
        "PSS of the front, 1 session, MiB": [first],
        "PSS of the front, 50 sessions, MiB": [full],
    }


def _calls(link: HttpLink, count: int) -> list[float]:
    samples = []
    for ident in messages.new_ids(count):
        line = messages.call(ident)
        begun = perf_counter()
        answer = links.exchange(link, line)
        samples.append(perf_counter() - begun)
        messages.check_echo(answer, ident)
    return samples


def _in_flight(port: int, session: bytes, seconds: float) -> float:
    """One session on many connections, a call in flight on each."""
    many = [HttpLink(port, session) for _ in range(IN_FLIGHT)]
    try:
        return links.ping_pong(many, seconds)  # type: ignore[arg-type]
    finally:
        for link in many:
            link.close()


def _sessions(port: int, pid: int, seconds: float) -> tuple[float, float]:
    many = [open_session(port) for _ in range(SESSIONS)]
    try:
        links.ping_pong(many, seconds / 2)  # type: ignore[arg-type]
        return links.ping_pong(many, seconds), _own_memory(pid)  # type: ignore[arg-type]
    finally:
        for link in many:
            link.close()


def _own_memory(pid: int) -> float:
    """The front's processes, without those of the server."""
    own = [one for one in processes.trees([pid]) if b"echo_child.py" not in _first_words(one)]
    return processes.pss_mib(own)


def _first_words(pid: int) -> bytes:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return b""
    return b" ".join(words[:2])


# ---------------------------------------------------------------- the run


@dataclass(slots=True)
class Table:
    """The samples of all rounds, by row and front."""

    fronts: list[str]
    samples: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {row: {} for row in ROWS}
    )
    failures: list[str] = field(default_factory=list)

    def add(self, front: str, found: Samples) -> None:
        for row, values in found.items():
            self.samples[row].setdefault(front, []).extend(values)

    def figure(self, row: str, front: str) -> float | None:
        values = sorted(self.samples[row].get(front, []))
        if not values:
            return None
        scale, percent, _ = ROWS[row]
        if percent == 50:
            return statistics.median(values) * scale
        return values[min(len(values) - 1, len(values) * percent // 100)] * scale

    def lines(self) -> Iterator[str]:
        """As Markdown; the last column says how ours compares with the best other one, above 1 is ahead."""
        yield f"| | {' | '.join(self.fronts)} | ahead by |"
        yield "|---|" + "---:|" * (len(self.fronts) + 1)
        for row in ROWS:
            figures = [self.figure(row, front) for front in self.fronts]
            shown = [
                "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
                for value in figures
            ]
            yield f"| {row} | {' | '.join(shown)} | {self._ahead(row, figures)} |"

    def _ahead(self, row: str, figures: list[float | None]) -> str:
        ours, *others = figures
        known = [value for value in others if value is not None]
        if ours is None or not known:
            return "-"
        more_is_better = ROWS[row][2]
        ratio = ours / max(known) if more_is_better else min(known) / ours
        return f"{ratio:.2f}"


@contextmanager
def fronts() -> Iterator[list[Front]]:
    """The contenders, installed, with a throw-away home."""
    install.install_npm()
    install.install_mcp_proxy()
    venv = install.install_ours()
    gateway = install.NPM / "node_modules" / "supergateway" / "dist" / "index.js"
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mb", dir="/tmp")))
        yield [
            Front(
                "mcpctl wrap",
                (f"{venv}/bin/mcpctl", "wrap", "--port", "{port}", "--max-children", "64", "--", *CHILD),
                home,
            ),
            Front(
                "supergateway",
                (install.node(), str(gateway), "--stdio", " ".join(CHILD), "--outputTransport", "streamableHttp",
                 "--stateful", "--port", "{port}", "--logLevel", "none"),
                home,
            ),
            Front(
                "mcp-proxy",
                (f"{install.MCP_PROXY}/bin/mcp-proxy", "--log-level", "ERROR", "--port", "{port}", "--", *CHILD),
                home,
            ),
        ]  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Measure and print: 0 when everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fronts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=400, help="small calls a round")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rate")
    options = parser.parse_args(argv)
    try:
        with fronts() as contenders:
            table = Table([front.name for front in contenders])
            for number in range(options.rounds):
                first = number % len(contenders)
                for front in [*contenders[first:], *contenders[:first]]:
                    _round(table, front, options)
                say(f"round {number + 1} of {options.rounds}")
    finally:
        processes.end_all()
    print("\n".join(table.lines()))
    for failure in table.failures:
        print(failure)
    return 1 if table.failures else 0


def _round(table: Table, front: Front, options: argparse.Namespace) -> None:
    quiet.wait_quiet(2.0)
    try:
        table.add(front.name, measure(front, options.calls, options.seconds))
    except (links.Hangup, messages.WrongAnswer, processes.Stuck, OSError) as exc:
        say(f"{front.name} failed: {exc}")
        table.failures.append(f"{front.name}: {exc}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(sys.argv[1:]))
