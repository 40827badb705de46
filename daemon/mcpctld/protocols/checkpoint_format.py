"""How a checkpoint lies in memory, and how it is read after the daemon that wrote it has died at any instant.

    0        magic, two slots, and what is known of the client's stdout
    UNIT     extents: of one generation each, the notes and then the log

The slot with the higher generation names the extent in force; a slot that was cut short in the writing has a wrong
checksum, and the other one is still true. The log is the client's input as it was read. The byte that ends a line, a
line feed when it is read, becomes the `Mark` that tells what has become of the line. JSON text holds neither NUL nor
any of the marks (RFC 8259 §7), and memory is zero where nothing was written, so the log ends at the first NUL.
Thus every change is one store, or does not count until one more store is done.
"""

import enum
import re
import struct
import zlib
from typing import NamedTuple, Protocol, overload

import msgspec

MAGIC = b"mcpctl\x01\n"
SLOTS = (64, 128)
SLOT = struct.Struct("<QQQI")
"""Generation, start and size of the extent, length of the notes; a CRC-32 of that and of the notes follows."""
CHECKSUM = struct.Struct("<I")
MIDLINE = 192
"""One byte: whether the client's stdout may stand within a line."""
SENT = 200
"""Eight bytes: how much of `Notes.output` the client has got."""
NUMBER = struct.Struct("=Q")
UNIT = 64 * 1024
"""Extents begin at multiples of it; no system has larger pages."""
PIECE = 64 * 1024
LF = 10
ELISION = 5
"""Stands in a line that is too long to keep: around the count of bytes left out."""


class Mark(enum.IntEnum):
    """What has become of a line."""

    READ = LF
    HANDED = 1
    """A request that the server may have got."""
    DONE = 2
    """Nothing more is to be done about it."""
    KEPT = 3
    """It is over, and is to be said again in a new session."""
    LOST = 4
    """As `HANDED`; only its id was kept."""
    HEARD = 6
    """As `HANDED`; the client has got the acknowledgement of this subscription."""


class Unusable(Exception):
    """Something is there, and it is not a checkpoint that can be read: another version's, or damaged."""


class Notes(msgspec.Struct, frozen=True, array_like=True):
    """What is known beside the lines. Written anew as a whole."""

    started_at: float = 0.0
    """Unix time of the session's beginning."""
    revision: str = ""
    """`protocolVersion` of the answer to `initialize` that the client got; empty if it got none."""
    promised: list[str] = []
    """The lists of which that answer said that it tells when they change."""
    remembrance: bytes = b""
    """The upstream's own."""
    output: bytes = b""
    """What the client has not taken yet of that which was said to it."""

    def __repr__(self) -> str:
        return f"<Notes of revision {self.revision!r}, {len(self.output)} bytes to send>"


class Line(NamedTuple):
    """One line of the log."""

    mark: int
    text: bytes

    def __repr__(self) -> str:
        return f"<Line {self.mark} of {len(self.text)} bytes>"


class Extent(NamedTuple):
    """What a slot says."""

    generation: int
    start: int
    size: int
    notes_length: int


class Found(msgspec.Struct, frozen=True):
    """What a daemon left."""

    extent: Extent
    notes: Notes
    lines: list[Line]
    """Those that something is to be done about, in their order."""
    partial: bytes
    """What had come of the next line."""
    midline: bool
    sent: int

    def __repr__(self) -> str:
        return f"<Found {len(self.lines)} lines in {self.extent}>"


class Raw(Protocol):
    """Memory: an `mmap`, or what behaves like one."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    @overload
    def __setitem__(self, key: int, value: int) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: bytes) -> None: ...


# ---------------------------------------------------------------- reading


def read(raw: Raw) -> Found | None:
    """What lies there; None when nothing was written yet. Raises `Unusable`."""
    magic = raw[: len(MAGIC)]
    if magic != MAGIC:
        if len(raw) >= UNIT and MAGIC.startswith(magic.rstrip(b"\0")):
            return None  # it died before it had read anything
        raise Unusable("what the last daemon left was written by another version of it")
    slots = [found for at in SLOTS if (found := _read_slot(raw, at)) is not None]
    if not slots:
        raise Unusable("what the last daemon left is damaged")
    extent, notes = max(slots, key=lambda slot: slot[0].generation)
    log = _read_log(raw, extent)
    lines, partial = split(log)
    sent = min(NUMBER.unpack(raw[SENT : SENT + NUMBER.size])[0], len(notes.output))
    return Found(extent, notes, lines, partial, raw[MIDLINE] != 0, sent)


def _read_slot(raw: Raw, at: int) -> tuple[Extent, Notes] | None:
    text = raw[at : at + SLOT.size]
    extent = Extent(*SLOT.unpack(text))
    begin, stop = extent.start + extent.notes_length, extent.start + extent.size
    aligned = not (extent.start % UNIT or extent.size % UNIT)
    if extent.start < UNIT or not aligned or begin > stop or stop > len(raw):
        return None
    notes = raw[extent.start : begin]
    (checksum,) = CHECKSUM.unpack(raw[at + SLOT.size : at + SLOT.size + CHECKSUM.size])
    if checksum != zlib.crc32(notes, zlib.crc32(text)):
        return None
    try:
        return extent, _decode_notes(notes)
    except (msgspec.DecodeError, RecursionError):
        return None


_decode_notes = msgspec.msgpack.Decoder(Notes).decode


def _read_log(raw: Raw, extent: Extent) -> bytes:
    """Up to the first NUL; what lies behind it is not touched, for that may not take any memory yet."""
    at, stop = extent.start + extent.notes_length, extent.start + extent.size
    pieces = []
    while at < stop:
        piece = raw[at : min(at + PIECE, stop)]
        end = piece.find(b"\0")
        if end >= 0:
            pieces.append(piece[:end])
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def split(log: bytes) -> tuple[list[Line], bytes]:
    """The lines of a log that are not done, and what comes after the last one."""
    lines = []
    at = 0
    for mark in _MARKS.finditer(log):
        line = Line(log[mark.start()], log[at : mark.start()])
        at = mark.end()
        if line.mark != Mark.DONE and line.text and not line.text.isspace():
            lines.append(line)
    return lines, log[at:]


_MARKS = re.compile(b"[%b]" % re.escape(bytes(Mark)))


# ---------------------------------------------------------------- writing


def encode_slot(extent: Extent, notes: bytes) -> bytes:
    """A slot that names an extent in which `notes` stand."""
    text = SLOT.pack(*extent)
    return text + CHECKSUM.pack(zlib.crc32(notes, zlib.crc32(text)))


encode_notes = msgspec.msgpack.Encoder().encode


def elide(head: bytes, left_out: int, tail: bytes) -> bytes:
    """A line that is too long, as it stands in the log."""
    return b"%b%c%d%c%b" % (head, ELISION, left_out, ELISION, tail)


def split_elided(text: bytes) -> tuple[bytes, int, bytes] | None:
    """Head, length of what was left out, and tail; None when nothing was."""
    head, first, rest = text.partition(bytes([ELISION]))
    count, second, tail = rest.partition(bytes([ELISION]))
    if not (first and second and count.isdigit() and len(count) < 20):
        return None
    return head, int(count), tail
