"""The benchmark's client: one session, written to with plain system calls and read without parsing.

A link sends lines and receives lines. `StdioLink` starts a shim and speaks over its pipes;
`RawLink` speaks HTTP to the server itself over one keep-alive socket, which is the floor that no
shim can go below.
"""

import os
import select
import socket
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

from benchmarks import messages, processes

READ_BYTES = 1 << 20
CLOSE_S = 2.0


class Hangup(Exception):
    """The other side closed the session while an answer was awaited."""


class Link(Protocol):
    """One session."""

    @property
    def pid(self) -> int | None:
        """The process behind it; None for a bare socket."""

    def fileno(self) -> int:
        """What becomes readable when there is something to receive."""

    def send(self, line: bytes) -> None:
        """Write one message, or several that follow each other."""

    def receive(self) -> bytes | None:
        """Read once; the message when that completed one. Raises `Hangup` at the end."""

    def pipeline(self, window: int, seconds: float) -> float:
        """Keep `window` small calls in flight for so long; calls per second, all checked."""

    def hang_up(self) -> None:
        """Close our ends, which asks it to end."""

    def close(self) -> None:
        """Hang up, and see to it that it has ended; for cleaning up."""


def exchange(link: Link, line: bytes) -> bytes:
    """Send one request and wait for the next message."""
    link.send(line)
    while (answer := link.receive()) is None:
        pass
    return answer


class StdioLink:
    """A shim and its pipes."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stderr: int) -> None:
        theirs_in, self._stdin = os.pipe()
        self._stdout, theirs_out = os.pipe()
        self.pid: int = processes.start(argv, env, (theirs_in, theirs_out, stderr))
        os.close(theirs_in)
        os.close(theirs_out)
        self._pending: list[bytes] = []

    def fileno(self) -> int:
        return self._stdout

    def send(self, line: bytes) -> None:
        sent = os.write(self._stdin, line)
        while sent < len(line):
            sent += os.write(self._stdin, line[sent:])

    def receive(self) -> bytes | None:
        chunk = os.read(self._stdout, READ_BYTES)
        if not chunk:
            raise Hangup(f"end of output, exit code {processes.wait_exit(self.pid)}")
        if not chunk.endswith(b"\n"):
            self._pending.append(chunk)
            return None
        if self._pending:
            chunk = b"".join((*self._pending, chunk))
            self._pending.clear()
        return chunk

    def pipeline(self, window: int, seconds: float) -> float:
        # Answers that came together are answered together: one read and one write for many calls,
        # so that the shim is what limits.
        chunks = []
        begun = perf_counter()
        deadline = begun + seconds
        idents = [*messages.new_ids(window)]
        self.send(b"".join(map(messages.call, idents)))
        done = 0
        while done < len(idents):
            chunk = os.read(self._stdout, READ_BYTES)
            if not chunk:
                raise Hangup("end of output with calls in flight")
            chunks.append(chunk)
            came = chunk.count(b"\n")
            done += came
            if came and perf_counter() < deadline:
                upcoming = messages.new_ids(came)
                self.send(b"".join(map(messages.call, upcoming)))
                idents += upcoming
        rate = done / (perf_counter() - begun)
        messages.check_ids(b"".join(chunks), idents)
        return rate

    def eof_to_exit(self) -> float:
        """Close its stdin; seconds until it has exited."""
        begun = perf_counter()
        os.close(self._stdin)
        self._stdin = -1
        processes.wait_exit(self.pid)
        return perf_counter() - begun

    def hang_up(self) -> None:
        for fd in (self._stdin, self._stdout):
            if fd >= 0:
                os.close(fd)
        self._stdin = self._stdout = -1

    def close(self) -> None:
        self.hang_up()
        processes.end(self.pid, patience_s=CLOSE_S)


class RawLink:
    """HTTP to the server itself; `pipeline` uses as many sockets as there are calls in flight."""

    pid = None

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\n"
        ).encode()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox: list[bytes] = []
        self._missing = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, line: bytes) -> None:
        self._socket.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(line), line))

    def receive(self) -> bytes | None:
        chunk = self._socket.recv(READ_BYTES)
        if not chunk:
            raise Hangup("the server closed the connection")
        if not self._inbox:
            self._missing = answer_length(chunk)
        self._inbox.append(chunk)
        self._missing -= len(chunk)
        if self._missing > 0:
            return None
        head, _, body = b"".join(self._inbox).partition(b"\r\n\r\n")
        self._inbox.clear()
        return body if b"Content-Length" in head else _event_data(body)

    def pipeline(self, window: int, seconds: float) -> float:
        links = [RawLink(self._port, self._path) for _ in range(window)]
        try:
            return ping_pong(links, seconds)
        finally:
            for link in links:
                link.close()

    def hang_up(self) -> None:
        self._socket.close()

    def close(self) -> None:
        self.hang_up()


def answer_length(start: bytes) -> int:
    """The length of the server's whole answer, head included, from its first bytes.

    The server writes an answer with one call, so the head and the size of the one chunk are in the
    first read.
    """
    head = start.index(b"\r\n\r\n") + 4
    _, length, rest = start[:head].partition(b"Content-Length: ")
    if length:
        return head + int(rest.partition(b"\r\n")[0])
    size = start[head : start.index(b"\r\n", head)]
    return head + len(size) + int(size, 16) + len(b"\r\n\r\n0\r\n\r\n")


def _event_data(body: bytes) -> bytes:
    start = body.index(b"data: ") + len(b"data: ")
    return body[start : body.index(b"\n", start)]


def ping_pong(links: Sequence[Link], seconds: float) -> float:
    """One small call in flight on every link for so long; calls per second of all together."""
    by_fd = {link.fileno(): link for link in links}
    ready = select.epoll()
    for fd in by_fd:
        ready.register(fd, select.EPOLLIN)
    asked: dict[int, int] = {}
    answers: dict[int, bytes] = {}

    def ask(fd: int) -> None:
        (asked[fd],) = messages.new_ids(1)
        by_fd[fd].send(messages.call(asked[fd]))

    begun = perf_counter()
    deadline = begun + seconds
    for fd in by_fd:
        ask(fd)
    done, awaited = 0, len(links)
    while awaited:
        for fd, _ in ready.poll():
            answer = by_fd[fd].receive()
            if answer is None:
                continue
            answers[fd] = answer
            done += 1
            if perf_counter() < deadline:
                ask(fd)
            else:
                awaited -= 1
    rate = done / (perf_counter() - begun)
    ready.close()
    for fd, answer in answers.items():
        messages.check_echo(answer, asked[fd])
    return rate
