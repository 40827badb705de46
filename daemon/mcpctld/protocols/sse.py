"""Server-sent events: the reader of `text/event-stream` (WHATWG HTML §9.2.5 and §9.2.6).

Two differences: `data` is handed on as bytes, because what reads it checks its encoding; and an
event with empty data is not handed on, because it carries no message (servers send one to give an
id to resume from). An event over the limit is not kept but reported by its length and its ends.
"""

from collections import deque

import msgspec

from mcpctld.protocols.excerpt import Excerpt

BOM = b"\xef\xbb\xbf"
_RETRY_DIGITS = 12  # in milliseconds 31 years; Python refuses to read numbers of unbounded length


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its type (`message` unless named), its lines of data joined by LF, its own id."""

    type: str
    data: bytes
    id: str | None

    def __repr__(self) -> str:
        return f"<SseEvent {self.type!r} of {len(self.data)} bytes, id {self.id!r}>"


class SseTooLong(msgspec.Struct, frozen=True, gc=False):
    """An event over the limit went by: length, first and last bytes (4 KiB each) of its data."""

    length: int
    head: bytes
    tail: bytes

    def __repr__(self) -> str:
        return f"<SseTooLong of {self.length} bytes>"


class SseReader:
    """Cuts a stream of bytes into events whose data, and each line, has at most `max_event` bytes.

    `last_event_id` is the value of `Last-Event-ID` after all that was received, None if there is
    none; `retry_ms` is the newest `retry`.
    """

    def __init__(self, max_event: int) -> None:
        self.last_event_id: str | None = None
        self.retry_ms: int | None = None
        self._max_event = max_event
        self._start: bytes | None = b""  # the first bytes, while they may be a byte order mark
        self._after_cr = False  # a LF at the start of the next bytes belongs to the last line
        self._line = bytearray()  # of a line whose end has not been seen
        self._cut: Excerpt | None = None  # set while a line over the limit goes by
        self._type = b""
        self._data: list[bytes] = []
        self._size = 0
        self._id: str | None = None
        self._excerpt: Excerpt | None = None  # set once this event is over the limit
        self._events: deque[SseEvent | SseTooLong] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream."""
        if self._start is not None:
            data = self._without_bom(data)
        if b"\r" in data or self._after_cr:
            data = self._with_lf_only(data)
        first, *rest = data.split(b"\n")
        if not rest:
            self._extend(first)
            return
        if self._line or self._cut:
            self._extend(first)
            self._finish_partial()
        else:
            self._finish(first)
        last = rest.pop()
        for line in rest:
            self._finish(line)
        if last:
            self._extend(last)

    def receive_eof(self) -> None:
        """The stream has ended: an event without its blank line is dropped (§9.2.6)."""
        self._line.clear()
        self._cut = None
        self._reset()

    def next_event(self) -> SseEvent | SseTooLong | None:
        """The next event, None if none is complete."""
        return self._events.popleft() if self._events else None

    # ------------------------------------------------------------ bytes to lines

    def _without_bom(self, data: bytes) -> bytes:
        start = (self._start or b"") + data
        if len(start) < len(BOM) and BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _extend(self, data: bytes) -> None:
        """More of a line whose end has not been seen."""
        if self._cut:
            self._cut.add(data)
            return
        self._line += data
        if len(self._line) > self._max_event:
            self._cut = self._cut_line(self._line)
            self._line.clear()

    def _cut_line(self, line: bytes | bytearray) -> Excerpt:
        """Where a line over the limit goes: to the event's excerpt if it is data, else nowhere."""
        if not line.startswith(b"data:"):
            return Excerpt()
        value = line[6:] if line.startswith(b"data: ") else line[5:]
        return self._overflow(value)

    def _overflow(self, value: bytes | bytearray) -> Excerpt:
        """Go on with an excerpt of the event's data instead of the data."""
        if self._excerpt is None:
            self._excerpt = Excerpt()
            if self._data:
                self._excerpt.add(b"\n".join(self._data))
                self._excerpt.add(b"\n")
            self._data.clear()
        else:
            self._excerpt.add(b"\n")
        self._excerpt.add(value)
        return self._excerpt

    def _finish_partial(self) -> None:
        if self._cut:
            self._cut = None
            return
        line = bytes(self._line)
        self._line.clear()
        self._finish(line)

    # ------------------------------------------------------------ lines to events

    def _finish(self, line: bytes) -> None:
        """A whole line."""
        if not line:
            self._dispatch()
        elif len(line) > self._max_event:
            self._cut_line(line)
        elif line.startswith(b"data: "):
            self._take_data(line[6:])
        else:
            name, _, value = line.partition(b":")
            self._take_field(name, value.removeprefix(b" "))

    def _take_data(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._excerpt or self._size > self._max_event + 1:
            self._overflow(value)
        else:
            self._data.append(value)

    def _take_field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._take_data(value)
        elif name == b"event":
            self._type = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self.retry_ms = int(value)

    def _dispatch(self) -> None:
        if self._id is not None:
            self.last_event_id = self._id or None
        if self._excerpt:
            excerpt = self._excerpt
            self._events.append(SseTooLong(excerpt.length, excerpt.head, excerpt.tail))
        elif self._data and (data := b"\n".join(self._data)):
            type_ = self._type.decode(errors="replace") if self._type else "message"
            self._events.append(SseEvent(type_, data, self._id))
        self._reset()

    def _reset(self) -> None:
        self._type = b""
        self._data.clear()
        self._size = 0
        self._id = None
        self._excerpt = None
