"""HTTP/1.1, client side: requests to bytes, bytes to responses (RFC 9112).

The grammar is llhttp's, through httptools, in its strict mode. Supported: bodies by length, chunked
or until the connection closes; interim responses (skipped); trailers (dropped); a switch of protocols
that was asked for. Not supported, and an error when they come: other upgrades, transfer codings
other than chunked, bare LF as line end. Content codings are in `content`.
"""

import enum
import functools
import re
from collections import deque
from collections.abc import Iterator, Sequence

import httptools
import msgspec

MAX_HEAD_BYTES = 64 * 1024
"""Servers refuse heads of more than 8 to 64 KiB; what exceeds that is no response of theirs."""

FIELD_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""A pattern: a token, as methods are, too (RFC 9110 §5.6.2)."""
FIELD_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
"""A pattern: RFC 9110 §5.5, with obs-text as Latin-1."""
_TOKEN = re.compile(FIELD_NAME)
_VALUE = re.compile(FIELD_VALUE)
_TARGET = re.compile(r"[!-~]+")


@functools.lru_cache(maxsize=1024)
def encode_head(method: str, target: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The head of a request up to where `end_head` goes on; most requests of a session begin with the same.

    Raises `ValueError` for what would not arrive as the request that was meant.
    """
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("the method or target of a request is not allowed on the wire")
    return f"{method} {target} HTTP/1.1\r\n".encode("latin-1") + encode_fields(headers)


def encode_fields(headers: tuple[tuple[str, str], ...]) -> bytes:
    """The field lines of a head. Raises `ValueError` for what would arrive as something else."""
    lines = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"header {name!r} is not allowed on the wire"
            )  # the value may be a secret
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


def end_head(body: bytes | None) -> bytes:
    """What ends a head: `Content-Length` when there is a body, even an empty one, and the empty line."""
    return b"\r\n" if body is None else b"Content-Length: %d\r\n\r\n" % len(body)


class Headers:
    """The headers of a response, in order; names are case-insensitive."""

    __slots__ = ("_values",)

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The value, several joined by `", "` (RFC 9110 §5.3); None if there is none."""
        values = self._values.get(_key(name))
        if values is None:
            return None
        return _text(values[0]) if len(values) == 1 else ", ".join(map(_text, values))

    def get_all(self, name: str) -> list[str]:
        """Every value by itself, for the one field that cannot be joined: `Set-Cookie`."""
        return [_text(value) for value in self._values.get(_key(name), ())]

    def items(self) -> Iterator[tuple[str, str]]:
        """Every field line by itself, names in lower case; lines of one name stand together, in their order."""
        for name, values in self._values.items():
            for value in values:
                yield _text(name), _text(value)

    def __repr__(self) -> str:  # values may be cookies or session ids
        return f"<Headers {_text(b' '.join(self._values))}>"


@functools.lru_cache(maxsize=64)
def _key(name: str) -> bytes:
    return name.lower().encode("latin-1")


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")


class Head(msgspec.Struct, frozen=True):
    """The head of the final response."""

    status: int
    reason: str
    headers: Headers


class Data(msgspec.Struct, frozen=True, gc=False):
    """A piece of the body, never empty."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Data of {len(self.data)} bytes>"


class End(msgspec.Struct, frozen=True, gc=False):
    """The response is complete. `keep_alive`: the connection takes another request."""

    keep_alive: bool


class Broken(msgspec.Struct, frozen=True, gc=False):
    """The connection is of no more use.

    `started`: part of the awaited response had arrived. `ended`: the connection has ended, which may happen to
    anybody; otherwise what came on it was at fault.
    """

    reason: str
    started: bool
    ended: bool


class Switched(msgspec.Struct, frozen=True, gc=False):
    """The server has switched protocols (RFC 9110 §7.8). `data`: what came of the new one already."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Switched and {len(self.data)} bytes>"


Event = Head | Data | End | Broken | Switched

_TIMEOUT = re.compile(r"(?:^|[,\s])timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


def keep_alive_timeout(headers: Headers) -> float | None:
    """How many seconds the server says it keeps an idle connection (`Keep-Alive: timeout=5`)."""
    told = headers.get("keep-alive")
    match = _TIMEOUT.search(told) if told is not None else None
    return float(match[1]) if match else None


class _State(enum.Enum):
    IDLE = enum.auto()  # no request is out
    HEAD = enum.auto()  # a request is out, the head of its answer is not complete
    BODY = enum.auto()  # the head is complete, the body is not
    SWITCHING = enum.auto()  # the status says that what follows is another protocol
    SWITCHED = enum.auto()  # all that comes is of that
    CLOSED = enum.auto()  # whatever comes is of no interest


class ResponseReader:
    """Reads the responses of one connection, one request at a time.

    `expect` before each request; then each response gives `Head`, any number of `Data`, `End`. Where an
    upgrade was asked for, it may be `Head` (101) and `Switched` instead, and the rest is not HTTP.
    `Broken` can come at any time and ends it all. Bytes that no request asked for break the
    connection: the next request would take them for its answer (response splitting).
    """

    def __init__(self, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self._max_head_bytes = max_head_bytes
        self._state = _State.IDLE
        self._method = ""
        self._started = False
        self._head_room = 0  # how many bytes may still come before the head is complete
        self._quiet = 0  # bytes since the last of a body, by whole pieces: framing, trailers
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._chunked = False
        self._until_close = False
        self._may_switch = False
        self._events: deque[Event] = deque()
        self._parser = httptools.HttpResponseParser(self)

    def expect(self, method: str, *, upgrade: bool = False) -> None:
        """A request with this method is about to be sent; `upgrade`: it asks for another protocol.

        Raises `RuntimeError` while another is out. On a connection that has broken or ended the
        next event is `Broken`.
        """
        if self._state is _State.CLOSED:
            self._events.append(Broken("the connection is closed", started=False, ended=True))
            return
        if self._state is not _State.IDLE:
            raise RuntimeError("cannot send a request: another one is out on this connection")
        self._state = _State.HEAD
        self._method = method
        self._may_switch = upgrade
        self._started = False
        self._head_room = self._max_head_bytes
        self._quiet = 0

    @property
    def is_idle(self) -> bool:
        """Whether the connection takes a request: none is out, and nothing came that nobody asked for."""
        return self._state is _State.IDLE

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the connection."""
        if self._state is _State.HEAD and data:
            self._started = True
            room = self._head_room
            self._head_room = max(0, room - len(data))
            if len(data) > room:
                view = memoryview(data)  # there may be a lot of body behind the head
                self._feed(view[:room])
                if self._state is _State.HEAD:
                    self._break(f"the response head is longer than {self._max_head_bytes} bytes")
                self._feed(view[room:])
                return
        self._feed(data)

    def receive_eof(self) -> None:
        """The connection was closed by the other side."""
        if self._state is _State.BODY and self._until_close:
            self._end(keep_alive=False)
        elif self._state is _State.BODY:
            self._break("the connection was closed before the response was complete", ended=True)
        elif self._state is _State.HEAD:
            self._break("the connection was closed before a response came", ended=True)
        else:
            self._break("the connection was closed while idle", ended=True)

    def next_event(self) -> Event | None:
        """The next event, None if there is none yet."""
        return self._events.popleft() if self._events else None

    def _feed(self, data: bytes | memoryview) -> None:
        if self._state is _State.SWITCHED:
            self._events.append(Switched(bytes(data)))
            return
        if self._state is _State.CLOSED:
            return
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._switch(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            self._break(f"not an HTTP/1.1 response: {exc}")
        if self._quiet > self._max_head_bytes and self._state is not _State.HEAD:
            self._break("too many bytes that are not of a body")

    def _switch(self, rest: bytes | memoryview) -> None:
        """llhttp has found the fields that a switch must have. One that was not asked for is broken already."""
        if self._state is _State.SWITCHING:
            self._state = _State.SWITCHED
            self._quiet = 0
            self._events.append(Switched(bytes(rest)))

    def _break(self, reason: str, *, ended: bool = False) -> None:
        if self._state is _State.CLOSED:
            return
        started = self._state is not _State.IDLE and self._started
        self._events.append(Broken(reason, started, ended))
        self._state = _State.CLOSED

    def _end(self, *, keep_alive: bool) -> None:
        self._state = _State.IDLE if keep_alive else _State.CLOSED
        self._events.append(End(keep_alive))

    # ------------------------------------------------------------ called by llhttp

    def on_message_begin(self) -> None:
        """The first byte of a response."""
        if self._state is _State.IDLE:
            self._break("unsolicited data")
        self._reason = b""
        self._fields = []
        self._chunked = False

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, or a piece of it."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer."""
        if self._state is not _State.HEAD:
            return
        self._fields.append((name, value))
        if len(name) == _TRANSFER_ENCODING_LENGTH and name.lower() == b"transfer-encoding":
            if self._chunked or value.strip().lower() != b"chunked":
                self._break("the response has a transfer coding that was not asked for")
            self._chunked = True

    def on_headers_complete(self) -> None:
        """The end of a head, interim or final."""
        status = self._parser.get_status_code()
        if self._state is not _State.HEAD:
            return
        if status == _SWITCHING_PROTOCOLS and self._may_switch:
            self._events.append(self._head(status))
            self._state = _State.SWITCHING
        elif status == _SWITCHING_PROTOCOLS:
            self._break("the server switches protocols, which was not asked for")
        elif status >= _FINAL:
            self._begin_body(self._head(status))

    def _head(self, status: int) -> Head:
        return Head(status, self._reason.decode("latin-1"), Headers(self._fields))

    def _begin_body(self, head: Head) -> None:
        self._events.append(head)
        self._state = _State.BODY
        self._quiet = 0
        self._until_close = not self._chunked and head.headers.get("content-length") is None
        if self._method == "HEAD":
            # llhttp cannot be told that no body follows; such a connection is not used again.
            self._end(keep_alive=False)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._state is _State.BODY:
            self._quiet = 0
            self._events.append(Data(data))

    def on_message_complete(self) -> None:
        """The end of a response, interim or final."""
        if self._state is _State.BODY:
            # Not earlier: trailers may name what ends the connection, too.
            self._end(keep_alive=self._parser.should_keep_alive())


_TRANSFER_ENCODING_LENGTH = len("transfer-encoding")
_SWITCHING_PROTOCOLS = 101
_FINAL = 200
