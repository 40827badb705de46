"""HTTP/1.1, server side: bytes to requests, responses to bytes (RFC 9112). The client side is `http1`.

Supported: bodies by length or in chunks; HTTP/1.0; pipelining, one request at a time. Passed over: offers to upgrade.
A connection that begins with the preface of HTTP/2 is recognised, for somebody else to serve.
"""

import enum
import functools
import http
import re

import msgspec

from mcpctld.protocols.http1 import FIELD_NAME, encode_fields
from mcpctld.protocols.http1_chunks import ChunkedBody
from mcpctld.protocols.http1_head import (
    BAD_REQUEST,
    FIELDS_TOO_LARGE,
    Bounds,
    Broken,
    Head,
    parse_head,
)

__all__ = [
    "Bounds", "Broken", "Data", "End", "Event", "Head", "Http2Preface", "RequestReader",
    "CONTINUE", "LAST_CHUNK", "encode_chunk", "encode_response", "encode_start", "has_content",
]  # fmt: skip

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""How a client begins that knows the server to speak HTTP/2 (RFC 9113 §3.4), as far as it looks like a head."""

_END = b"\r\n\r\n"
_MOST_REMEMBERED = 4 * 1024
_LONE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")  # a CR or LF that is no part of a line's end
_START = re.compile(rf"{FIELD_NAME}|\r?\Z".encode())


class Data(msgspec.Struct, frozen=True, gc=False):
    """A piece of the body, never empty."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Data of {len(self.data)} bytes>"


class End(msgspec.Struct, frozen=True, gc=False):
    """The request is complete; the next one is read after `next_request`."""


class Http2Preface(msgspec.Struct, frozen=True, gc=False):
    """The connection speaks HTTP/2. `data`: all that came so far."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Http2Preface and {len(self.data) - len(PREFACE)} bytes>"


Event = Head | Data | End | Broken | Http2Preface

_THE_END = End()


class _State(enum.Enum):
    FIRST = enum.auto()  # the head of the first request is awaited
    HEAD = enum.auto()  # the head of another one is
    LENGTH = enum.auto()  # the body is awaited, so many bytes
    CHUNKS = enum.auto()  # the body is awaited, in chunks
    COMPLETE = enum.auto()  # the end is to be told
    WAITING = enum.auto()  # for `next_request`
    CLOSED = enum.auto()  # whatever comes is of no interest


class RequestReader:
    """Reads the requests of one connection, one at a time: `Head`, any number of `Data`, `End`; what comes then waits.

    `Broken` can come at any time and ends it all, and so does `Http2Preface`, instead of the first head.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._state = _State.FIRST
        self._buffer = b""
        self._searched = 0  # how much of a head was looked at
        self._left = 0
        self._chunks = ChunkedBody(0)
        # Clients repeat themselves: most heads on a connection are the same as the one before.
        self._last = b""
        self._last_head: Head | None = None

    @property
    def buffered(self) -> int:
        """Bytes that have come and were not looked at: of a head that is not complete, or of later requests."""
        return len(self._buffer)

    @property
    def is_idle(self) -> bool:
        """Whether not a byte of a next request has come."""
        return self._state in (_State.FIRST, _State.HEAD) and not self._buffer

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the connection."""
        if self._state is not _State.CLOSED:
            self._buffer = self._buffer + data if self._buffer else data

    def next_request(self) -> None:
        """The request was answered. Raises `RuntimeError` if it is not complete."""
        if self._state is not _State.WAITING:
            raise RuntimeError("cannot read another request: this one is not complete")
        self._state = _State.HEAD

    def take_rest(self) -> bytes:
        """All that came after the request: the connection speaks another protocol from here on (RFC 9110 §7.8).

        Raises `RuntimeError` if the request is not complete.
        """
        if self._state is not _State.WAITING:
            raise RuntimeError("cannot switch protocols: the request is not complete")
        rest, self._buffer = self._buffer, b""
        self._state = _State.CLOSED
        return rest

    def next_event(self) -> Event | None:
        """The next event, None if there is none yet."""
        match self._state:
            case _State.FIRST | _State.HEAD if self._buffer:
                return self._read_head()
            case _State.LENGTH if self._buffer:
                return self._read_length()
            case _State.CHUNKS:
                return self._read_chunks()
            case _State.COMPLETE:
                self._state = _State.WAITING
                return _THE_END
        return None

    # ------------------------------------------------------------ heads

    def _read_head(self) -> Event | None:
        """The head, once it is complete. An empty line before it is passed over (RFC 9112 §2.2)."""
        start = 2 if self._buffer.startswith(b"\r\n") else 0
        most = start + self._bounds.head
        end = self._buffer.find(_END, max(start, self._searched - 3), most)
        head = self._buffer[start : end + 4 if end >= 0 else most]
        if _is_malformed(head, max(0, self._searched - 3), complete=end >= 0):
            return self._break(Broken(BAD_REQUEST, "not an HTTP/1.1 request"))
        if end >= 0:
            return self._begin(head, end + 4)
        if len(self._buffer) >= most:
            reason = f"the head is longer than {self._bounds.head} bytes"
            return self._break(Broken(FIELDS_TOO_LARGE, reason))
        self._searched = len(self._buffer)
        return None

    def _begin(self, data: bytes, end: int) -> Event:
        """A head is complete, `end` bytes from the start of what has come."""
        if data == PREFACE and self._state is _State.FIRST:
            self._state = _State.CLOSED
            return Http2Preface(self._buffer)
        head = self._parse(data)
        if isinstance(head, Broken):
            return self._break(head)
        self._searched = 0
        self._buffer = self._buffer[end:]
        if head.chunked:
            self._state = _State.CHUNKS
            self._chunks = ChunkedBody(self._bounds.body)
        else:
            self._left = head.content_length or 0
            self._state = _State.LENGTH if self._left else _State.COMPLETE
        return head

    def _parse(self, data: bytes) -> Head | Broken:
        if self._last_head is not None and data == self._last:
            return self._last_head
        head = parse_head(data, self._bounds)
        if isinstance(head, Head) and len(data) <= _MOST_REMEMBERED:
            self._last, self._last_head = data, head
        return head

    # ------------------------------------------------------------ bodies

    def _read_length(self) -> Data:
        data = self._buffer[: self._left]  # no copy where it is all there is
        self._buffer = self._buffer[self._left :]
        self._left -= len(data)
        if not self._left:
            self._state = _State.COMPLETE
        return Data(data)

    def _read_chunks(self) -> Event | None:
        chunks = self._chunks
        data, self._buffer = chunks.decode(self._buffer), b""
        if chunks.ended:
            self._state = _State.COMPLETE
            self._buffer = chunks.rest
        if data:
            return Data(data)
        if chunks.broken is not None:
            return self._break(chunks.broken)
        return self.next_event() if chunks.ended else None

    def _break(self, broken: Broken) -> Broken:
        self._state = _State.CLOSED
        self._buffer = b""
        return broken


def _is_malformed(head: bytes, searched: int, *, complete: bool) -> bool:
    """Whether something cannot be a head, or its beginning: then the rest need not be waited for."""
    if not _START.match(head):
        return True
    if complete and head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r"):
        return False
    return _LONE.search(head, searched) is not None


# ------------------------------------------------------------ responses

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The body may come (RFC 9110 §15.2.1)."""
LAST_CHUNK = b"0\r\n\r\n"

_OURS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


def has_content(status: int) -> bool:
    """Whether a response with this status can have a body (RFC 9110 §6.4.1)."""
    return status not in (204, 304)


def encode_response(
    status: int,
    headers: tuple[tuple[str, str], ...],
    body: bytes = b"",
    *,
    minor: int = 1,
    keep_alive: bool = True,
    head_only: bool = False,
    extra: bytes = b"",
) -> tuple[bytes, ...]:
    """A whole response, in parts to be written by one call.

    `minor` is the request's version 1.x, `head_only` that its method was HEAD; `extra` are lines of the head that
    change from one response to the next. Raises `ValueError` for headers that would arrive as something else, and for
    those that say where a response ends: these are made here.
    """
    head = _encode_head(status, headers, minor, keep_alive) + extra
    if not has_content(status):
        return (head + b"\r\n",)
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    return (head, body) if body and not head_only else (head,)


def encode_start(
    status: int,
    headers: tuple[tuple[str, str], ...],
    *,
    chunked: bool = True,
    minor: int = 1,
    keep_alive: bool = True,
    extra: bytes = b"",
) -> bytes:
    """The head of a response whose length is not known. Not `chunked`: it ends with the connection.

    The rest as for `encode_response`. Raises `ValueError` also if the client could not tell the end.
    """
    if chunked and minor == 0:
        raise ValueError("HTTP/1.0 has no chunks")
    if not chunked and keep_alive and has_content(status):
        raise ValueError("a response without chunks ends with the connection")
    head = _encode_head(status, headers, minor, keep_alive) + extra
    coding = b"Transfer-Encoding: chunked\r\n" if chunked and has_content(status) else b""
    return head + coding + b"\r\n"


def encode_chunk(data: bytes) -> tuple[bytes, ...]:
    """A piece of a body in chunks, in parts; no part for no data, which would end the body."""
    return (b"%x\r\n" % len(data), data, b"\r\n") if data else ()


@functools.lru_cache(maxsize=256)
def _encode_head(
    status: int, headers: tuple[tuple[str, str], ...], minor: int, keep_alive: bool
) -> bytes:
    """A head without what differs from one response to the next."""
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a response")
    for name, _value in headers:
        if name.lower() in _OURS:
            raise ValueError(f"the header {name!r} is the server's to set")
    lines = f"HTTP/1.1 {status} {_reason(status)}\r\n".encode("ascii") + encode_fields(headers)
    if not keep_alive:
        return lines + b"Connection: close\r\n"
    return lines if minor else lines + b"Connection: keep-alive\r\n"


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
