"""The answer to one request on one connection of our HTTP server."""

import enum
import functools
import time
from collections.abc import Callable
from typing import Protocol
from wsgiref.handlers import format_date_time

from mcpctld.drivers.http.service import Fields
from mcpctld.protocols import http1_server as http1
from mcpctld.protocols.http1_server import Head


class Line(Protocol):
    """A connection, as its reply needs it."""

    @property
    def draining(self) -> bool:
        """Whether the connection is to be closed after this answer."""

    @property
    def full(self) -> bool:
        """As of `Reply`."""

    async def wait_room(self) -> None:
        """As of `Reply`."""

    def write(self, *parts: bytes) -> None:
        """Send, now or as soon as the client takes it."""

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete. `keep_alive`: the client was told that the connection is kept."""


class _State(enum.Enum):
    FRESH = enum.auto()
    STARTED = enum.auto()
    DONE = enum.auto()


def _nobody() -> None:
    """Nobody wants to know."""


class ServerReply:
    """The `Reply` of a connection."""

    __slots__ = ("_chunked", "_head", "_keep_alive", "_line", "_mute", "_state", "gone", "on_gone")

    def __init__(self, line: Line, head: Head) -> None:
        self.gone = False
        self.on_gone: Callable[[], None] = _nobody
        self._line = line
        self._head = head
        self._state = _State.FRESH
        self._keep_alive = False
        self._chunked = False
        self._mute = False  # the answer has no body, whatever is written

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was sent."""
        return self._state is _State.FRESH

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete."""
        return self._state is _State.DONE

    @property
    def full(self) -> bool:
        """Whether one should `wait_room` before the next piece."""
        return self._line.full

    async def wait_room(self) -> None:
        """Wait until not much is kept unsent, or the client is gone."""
        await self._line.wait_room()

    def send(self, status: int, headers: Fields, body: bytes = b"") -> None:
        """The whole answer, in one system call."""
        if self.gone:
            return
        self._expect(_State.FRESH)
        keep_alive = self._head.keep_alive and not self._line.draining
        parts = encode(self._head, status, headers, body, keep_alive=keep_alive)
        self._state = _State.DONE
        self._line.write(*parts)
        self._line.answered(keep_alive=keep_alive)

    def start(self, status: int, headers: Fields) -> None:
        """The answer begins: in chunks, or, for HTTP/1.0, until the connection closes."""
        if self.gone:
            return
        self._expect(_State.FRESH)
        minor = self._head.minor
        chunked = minor == 1
        keep_alive = chunked and self._head.keep_alive and not self._line.draining
        head = http1.encode_start(
            status, headers, chunked=chunked, minor=minor, keep_alive=keep_alive, extra=date_line()
        )
        self._mute = self._head.method == "HEAD" or not http1.has_content(status)
        self._chunked = chunked
        self._keep_alive = keep_alive
        self._state = _State.STARTED
        self._line.write(head)

    def write(self, data: bytes) -> None:
        """A piece of the body; nothing where there is none, as in answers to HEAD."""
        if self.gone:
            return
        self._expect(_State.STARTED)
        if data and not self._mute:
            self._line.write(*(http1.encode_chunk(data) if self._chunked else (data,)))

    def end(self) -> None:
        """The answer is complete."""
        if self.gone:
            return
        self._expect(_State.STARTED)
        self._state = _State.DONE
        if self._chunked and not self._mute:
            self._line.write(http1.LAST_CHUNK)
        self._line.answered(keep_alive=self._keep_alive)

    def _expect(self, state: _State) -> None:
        if self._state is not state:
            raise RuntimeError(
                f"the answer is {self._state.name.lower()}, not {state.name.lower()}"
            )


def encode(
    head: Head, status: int, headers: Fields, body: bytes, *, keep_alive: bool
) -> tuple[bytes, ...]:
    """A whole answer to the request with this head."""
    return http1.encode_response(
        status,
        headers,
        body,
        minor=head.minor,
        keep_alive=keep_alive,
        head_only=head.method == "HEAD",
        extra=date_line(),
    )


def date_line() -> bytes:
    """The `Date` that servers with a clock send (RFC 9110 §6.6.1)."""
    return _date_line(int(time.time()))


@functools.lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return f"Date: {format_date_time(second)}\r\n".encode("ascii")
