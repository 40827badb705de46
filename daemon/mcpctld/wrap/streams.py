"""What a client hears: events with ids, kept for a while so that they can be heard again after a broken connection.

MCP 2025-11-25, Transports, "Resumability and Redelivery": an id is unique in its session, and names the stream too;
a client that asks for what came after it gets that stream's events, and no other's.
"""

from collections import deque
from typing import NamedTuple

from mcpctld.drivers.http.server import Reply
from mcpctld.protocols.jsonrpc import one_line
from mcpctld.wrap.answers import EVENTS, Headers

MAX_EVENTS = 512
MAX_BYTES = 1024 * 1024
"""Of one session. A client that was away for longer than this lasts has missed something."""
RETRY_MS = 1000
"""When a client whose stream has ended should ask for the rest of it."""
KEEP_ALIVE = b": \n\n"


class Kept(NamedTuple):
    """An event."""

    stream: int
    number: int
    text: bytes
    """As it goes on the wire."""


class EventLog:
    """The latest events of a session, in order."""

    def __init__(self) -> None:
        self._events: deque[Kept] = deque()
        self._size = 0
        self._number = 0

    def add(self, stream: int, data: bytes) -> Kept:
        """Keep an event, at the expense of the oldest; one that is too large is not kept."""
        self._number = number = self._number + 1
        kept = Kept(stream, number, event(data, b"%d-%d" % (stream, number)))
        if len(kept.text) <= MAX_BYTES:
            self._events.append(kept)
            self._size += len(kept.text)
        while self._size > MAX_BYTES or len(self._events) > MAX_EVENTS:
            self._size -= len(self._events.popleft().text)
        return kept

    def after(self, stream: int, number: int) -> list[Kept]:
        """What the stream said after that."""
        return [kept for kept in self._events if kept.stream == stream and kept.number > number]


def event(data: bytes, id: bytes = b"") -> bytes:
    """One server-sent event of type `message`."""
    head = b"id: %b\n" % id if id else b""
    return b"%bevent: message\ndata: %b\n\n" % (head, one_line(data))


def read_id(text: str) -> tuple[int, int] | None:
    """The stream and the number in an event's id; None when it is none of ours."""
    stream, dash, number = text.partition("-")
    if not (
        dash and stream.isascii() and stream.isdigit() and number.isascii() and number.isdigit()
    ):
        return None
    return (int(stream), int(number)) if len(text) <= 32 else None


class Stream:
    """One stream of a session, and the connection that it goes out on, if there is one now."""

    def __init__(self, number: int, log: EventLog, *, primes: bool) -> None:
        """`primes`: the client knows that a stream may end before it is over (2025-11-25)."""
        self.number = number
        self.reply: Reply | None = None
        self.over = False
        self._log = log
        self._primes = primes
        self._told = 0
        """The number of the last event that went out."""

    @property
    def attached(self) -> bool:
        """Whether somebody listens."""
        return self.reply is not None and not self.reply.gone

    def attach(self, reply: Reply, headers: Headers, after: int | None = None) -> None:
        """Go on over this connection: with what came after an event, or with what nobody has heard yet."""
        if self.reply is not None and self.reply is not reply:
            self.reply.end()
        self.reply = reply
        reply.start(200, (*EVENTS, *headers))
        if self._primes and after is None:
            reply.write(self._priming())
        for kept in self._log.after(self.number, self._told if after is None else after):
            self._write(kept)
        if self.over:
            self.finish()

    def _priming(self) -> bytes:
        """An id to come back with, before there is anything to say (2025-11-25)."""
        return b"id: %d-0\nretry: %d\ndata: \n\n" % (self.number, RETRY_MS)

    def say(self, data: bytes) -> None:
        """Send a message, now or when somebody listens again."""
        kept = self._log.add(self.number, data)
        if self.attached:
            self._write(kept)

    def _write(self, kept: Kept) -> None:
        assert self.reply is not None
        self._told = max(self._told, kept.number)
        self.reply.write(kept.text)

    def finish(self) -> None:
        """All is said."""
        self.over = True
        if self.attached:
            assert self.reply is not None
            self.reply.end()
        self.reply = None

    def leave(self) -> None:
        """End the connection, and let the client come back for the rest."""
        if self.attached:
            assert self.reply is not None
            self.reply.write(b"retry: %d\n\n" % RETRY_MS)
            self.reply.end()
        self.reply = None

    def keep_alive(self) -> None:
        """Say that we are still here: proxies close what is silent for a minute."""
        if self.attached:
            assert self.reply is not None
            self.reply.write(KEEP_ALIVE)
