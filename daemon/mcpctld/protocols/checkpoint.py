"""The checkpoint of one client: its input is read straight into memory that outlives us, and cut into lines there.

`checkpoint_format` says how it lies there; this is what writes it. Input fills an extent from the front. When there is
no room left, all that still matters is copied into another extent, and that becomes the one in force by the store of a
slot; so a daemon that dies in between leaves the old one whole.

Framing is that of `ndjson`: a line ends with LF or CRLF, blank lines are skipped.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from mcpctld.protocols.checkpoint_format import (
    LF,
    MAGIC,
    MIDLINE,
    NUMBER,
    SENT,
    SLOTS,
    UNIT,
    Extent,
    Found,
    Mark,
    Notes,
    Raw,
    elide,
    encode_notes,
    encode_slot,
    split_elided,
)
from mcpctld.protocols.excerpt import Excerpt
from mcpctld.protocols.jsonrpc import Malformed, Message, new_request, parse
from mcpctld.protocols.ndjson import HalfLine, TooLong

LEAST_ROOM = 16 * 1024
"""Less is not worth a system call."""
BIG = 64 * 1024
"""Of a call longer than this that the server has got, only the id is copied from extent to extent."""
LARGEST_KEPT = 4 * 1024 * 1024
"""An extent larger than this is not kept for the next long line."""


class Memory(Protocol):
    """What a checkpoint lies in: zero where nothing was written."""

    @property
    def raw(self) -> Raw:
        """The bytes; another object after `grow`."""

    @property
    def view(self) -> memoryview:
        """The same, to be read into; another one after `grow`."""

    def grow(self, size: int) -> None:
        """Have at least `size` bytes; the new ones are zero."""

    def clear(self, start: int, stop: int) -> None:
        """Make these zero again: they are used again soon."""

    def release(self, start: int, stop: int) -> None:
        """Make these zero again, and give the memory back. Both are multiples of `UNIT`."""


_HANDED, _DONE = int(Mark.HANDED), int(Mark.DONE)  # members of enums are looked up slowly


class _Entry(NamedTuple):
    number: int
    mark: int
    text: bytes


class Checkpoint:
    """Cuts the client's input into numbered lines, and keeps what the next daemon must know of each.

    A line is `READ` until one of the verbs (`hand`, `finish`, ...) says more.
    """

    def __init__(
        self, memory: Memory, max_length: int, notes: Notes, found: Found | None = None
    ) -> None:
        self.notes = notes if found is None else found.notes
        self.number = 0
        """Of the line that `receive` or `next_event` gave last."""
        self.big = False
        """Whether it takes more memory than it needs most of the time."""
        self._memory = memory
        self._max_length = max_length
        self._raw = memory.raw
        self._view = memory.view
        self._numbers = 0
        self._open: dict[int, tuple[int, int]] = {}  # where a line begins, and where its mark is
        self._kept: set[int] = set()
        self._events: deque[tuple[int, Event]] = deque()
        self._excerpt: Excerpt | None = None  # set while a line over the limit goes by
        self._extent = Extent(0, 0, UNIT, 0)
        self._begin = self._end = 0  # of the line that is coming in
        self._watermark = self._stop = 0
        self._midline = False
        if found is None:
            self._write([], b"", UNIT)
            self._raw[: len(MAGIC)] = MAGIC
        else:
            self._take_over(found)

    # ------------------------------------------------------------ input

    def room(self) -> memoryview:
        """Where the next input is to be put, from its beginning on. To be let go of before anything else is done."""
        if self._end > self._watermark:
            idle = len(self._open) == len(self._kept) and self._begin == self._end
            if idle or self._stop - self._end < LEAST_ROOM:
                self._renew()
        return self._view[self._end : self._stop]

    def receive(self, count: int) -> bytes | None:
        """So many bytes were put at the beginning of the room.

        As a rule they are one line, neither blank nor ended by CRLF: that is returned at once, and is no event.
        """
        begin = self._end
        self._end = end = begin + count
        if self._begin == begin and not self._events and self._raw[end - 1] == LF:
            text = self._raw[begin : end - 1]
            if text.endswith(b"}") and b"\n" not in text and count <= self._max_length:
                self._begin = end
                self.number = self._numbers = number = self._numbers + 1
                self._open[number] = begin, end - 1
                return text
        self._search(begin)
        return None

    def receive_eof(self) -> None:
        """The input has ended."""
        if self._begin == self._end:
            return
        if self._end == self._extent.start + self._extent.size:
            self._renew()
        begin, mark = self._begin, self._end
        text = self._raw[begin:mark]
        self._raw[mark] = LF
        self._begin = self._end = mark + 1
        if self._excerpt is not None:
            self._finish_excerpt(begin, mark)
        elif not text.isspace():
            self._add(HalfLine(text), begin, mark)

    def next_event(self) -> "Event | None":
        """The next line, without its end and never blank, or what came instead; None if none."""
        if not self._events:
            return None
        self.number, event = self._events.popleft()
        return event

    def _search(self, begin: int) -> None:
        """Cut what came from `begin` on, which goes on with a line or holds several."""
        data = self._raw[begin : self._end]
        done = 0
        while (at := data.find(b"\n", done)) >= 0:
            first, mark = self._begin, begin + at
            self._begin = mark + 1
            if self._excerpt is not None:
                self._excerpt.add(data[done:at])
                self._finish_excerpt(first, mark)
            else:
                self._cut(self._raw[first:mark], first, mark)
            done = at + 1
        if self._excerpt is not None:
            self._excerpt.add(data[done:])
        elif self._end - self._begin > self._max_length:
            self._excerpt = Excerpt()
            self._excerpt.add(self._raw[self._begin : self._end])
            self._renew()

    def _cut(self, text: bytes, begin: int, mark: int) -> None:
        """A whole line came."""
        if len(text) > self._max_length:
            self._excerpt = Excerpt()
            self._excerpt.add(text)
            self._finish_excerpt(begin, mark)
            return
        if text.endswith(b"\r"):
            text = text[:-1]
        if text and not text.isspace():
            self._add(text, begin, mark)
        else:
            self._raw[mark] = Mark.DONE

    def _finish_excerpt(self, begin: int, mark: int) -> None:
        assert self._excerpt is not None
        self._add(_too_long(self._excerpt), begin, mark)
        self._excerpt = None

    def _add(self, event: "Event", begin: int, mark: int) -> None:
        self._numbers = number = self._numbers + 1
        self._open[number] = begin, mark
        self._events.append((number, event))

    # ------------------------------------------------------------ what becomes of a line

    def text(self, number: int) -> bytes:
        """A line that is not done."""
        begin, at = self._open[number]
        return self._raw[begin:at]

    def hand(self, number: int) -> None:
        """The server may get it from now on."""
        self._raw[self._open[number][1]] = _HANDED

    def take_back(self, number: int) -> None:
        """The server has not got it after all."""
        self._raw[self._open[number][1]] = Mark.READ

    def hear(self, number: int) -> None:
        """The client has got the acknowledgement of this subscription."""
        self._raw[self._open[number][1]] = Mark.HEARD

    def finish(self, number: int) -> None:
        """Nothing more is to be done about it: its answer is with the client, or none is due."""
        if number in self._kept:
            self._raw[self._open[number][1]] = Mark.KEPT
        else:
            self._raw[self._open.pop(number)[1]] = _DONE

    def keep(self, number: int) -> None:
        """When it is finished, it is to be said again in a new session."""
        self._kept.add(number)

    def drop(self, number: int) -> None:
        """It was to be kept, and is not to be said again after all."""
        self._kept.remove(number)
        if self._raw[self._open[number][1]] == Mark.KEPT:
            self.finish(number)

    def divide(self, number: int, texts: list[bytes]) -> list[int]:
        """A batch goes to the server, but its requests are answered one by one: their numbers."""
        del self._open[number]
        first = self._numbers + 1
        self._numbers += len(texts)
        parts = [_Entry(new, Mark.HANDED, text) for new, text in enumerate(texts, first)]
        self._write([*self._entries(), *parts], self._partial(), self._extent.size)
        return [part.number for part in parts]

    # ------------------------------------------------------------ the client's stdout, and the notes

    def stand(self, *, midline: bool) -> None:
        """Whether the client's stdout may stand within a line, if we die now."""
        if midline is not self._midline:
            self._midline = midline
            self._raw[MIDLINE] = midline

    def sent(self, count: int) -> None:
        """The client has got so much of the notes' `output`."""
        self._raw[SENT : SENT + NUMBER.size] = NUMBER.pack(count)

    def note(self, notes: Notes) -> None:
        """Replace the notes."""
        self.leave(notes, ())

    def leave(self, notes: Notes, answered: Iterable[int]) -> None:
        """Replace the notes; the answers to these lines stand in their `output`."""
        self.sent(0)
        self.notes = notes
        for number in answered:
            del self._open[number]
        self._renew()

    # ------------------------------------------------------------ extents

    def rest(self) -> None:
        """Little will come for a while: give memory back."""
        self._write(self._entries(), self._partial(), UNIT)

    def _renew(self) -> None:
        """Copy what matters into another extent, to have room again."""
        self._write(self._entries(), self._partial(), min(self._extent.size, LARGEST_KEPT))

    def _entries(self) -> list[_Entry]:
        raw = self._raw
        entries = []
        for number, (begin, at) in self._open.items():
            mark, text = raw[at], raw[begin:at]
            if mark == Mark.HANDED and len(text) > BIG and (short := _shortened(text)) is not None:
                mark, text = Mark.LOST, short
            entries.append(_Entry(number, mark, text))
        return entries

    def _partial(self) -> bytes:
        if self._excerpt is None:
            return self._raw[self._begin : self._end]
        head, length = self._excerpt.head, self._excerpt.length
        tail = self._excerpt.tail[-(length - len(head)) :] if length > len(head) else b""
        return elide(head, length - len(head) - len(tail), tail)

    def _write(self, entries: list[_Entry], partial: bytes, least: int) -> None:
        """Put it all into an extent of at least that size, and that one in force."""
        notes = encode_notes(self.notes)
        texts = [b"%b%c" % (entry.text, entry.mark) for entry in entries]
        log = b"".join((*texts, partial))
        size = _fitting(len(notes) + len(log), least)
        old, used = self._extent, self._end
        start = UNIT if UNIT + size <= old.start else old.start + old.size
        if start + size > len(self._raw):
            self._memory.grow(start + size)
            self._raw, self._view = self._memory.raw, self._memory.view
        self._extent = Extent(old.generation + 1, start, size, len(notes))
        self._raw[start : start + len(notes) + len(log)] = notes + log
        slot = SLOTS[self._extent.generation & 1]
        encoded = encode_slot(self._extent, notes)
        self._raw[slot : slot + len(encoded)] = encoded
        self._place(entries, texts, start + len(notes), len(partial))
        if old.size == size and old.start:
            self._memory.clear(old.start, used)
        elif old.start:
            self._memory.release(old.start, old.start + old.size)

    def _place(self, entries: list[_Entry], texts: list[bytes], at: int, partial: int) -> None:
        """Note where the lines of a new extent lie."""
        self._open = {}
        for entry, text in zip(entries, texts, strict=True):
            self._open[entry.number] = at, at + len(text) - 1
            at += len(text)
        self._begin, self._end = at, at + partial
        _, start, size, _ = self._extent
        self._stop = start + size
        self._watermark = start + size // 4 if size <= LARGEST_KEPT else at
        self.big = size > UNIT

    # ------------------------------------------------------------ what another daemon left

    def _take_over(self, found: Found) -> None:
        """What that one had not handed on comes as events again; the rest is `found`, numbered from 1 on."""
        old = self._extent = found.extent
        self._end = old.start + old.size
        self._midline = found.midline
        self._memory.release(UNIT, old.start)
        self._memory.release(self._end, len(self._raw) - len(self._raw) % UNIT)
        entries = [_Entry(number, *line) for number, line in enumerate(found.lines, 1)]
        self._numbers = len(entries)
        self._write(entries, found.partial, UNIT)
        for number, mark, text in entries:
            if mark == Mark.READ:
                self._events.append((number, _event_again(text)))
            elif mark == Mark.KEPT:
                self._kept.add(number)
        self._go_on(found.partial)

    def _go_on(self, partial: bytes) -> None:
        if (parts := split_elided(partial)) is None:
            self._search(self._end)
            return
        head, left_out, tail = parts
        self._excerpt = Excerpt()
        self._excerpt.add(head)
        self._excerpt.add(tail)
        self._excerpt.length += left_out


Event = bytes | TooLong | HalfLine


def _fitting(length: int, least: int) -> int:
    """The size of an extent in which there is room beside so many bytes."""
    size = UNIT
    while size < least or size < 2 * length + LEAST_ROOM:
        size *= 2
    return size


def _too_long(excerpt: Excerpt) -> TooLong:
    return TooLong(excerpt.length, excerpt.head, excerpt.tail.removesuffix(b"\r"))


def _event_again(text: bytes) -> Event:
    if (parts := split_elided(text)) is None:
        return text.removesuffix(b"\r")
    head, left_out, tail = parts
    excerpt = Excerpt()
    excerpt.add(head)
    excerpt.add(tail)
    excerpt.length += left_out
    return _too_long(excerpt)


def _shortened(text: bytes) -> bytes | None:
    """A call of a tool without its parameters; None for everything else, which is worth its room."""
    try:
        message = parse(text)
    except Malformed:
        return None
    if not isinstance(message, Message) or message.method != "tools/call":
        return None
    return new_request(message.id, message.method).raw
