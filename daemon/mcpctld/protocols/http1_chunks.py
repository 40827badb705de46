"""A body in chunks, read strictly (RFC 9112 §7.1): extensions and trailers are bounded and dropped.

Why not llhttp: it reads on into the next request, and tells nobody where that one began.
"""

import enum
import re

from mcpctld.protocols.http1 import FIELD_NAME, FIELD_VALUE
from mcpctld.protocols.http1_head import BAD_REQUEST, CONTENT_TOO_LARGE, Broken

MAX_LINE = 4 * 1024
"""Bytes of one line: a size with its extensions, or a trailer."""
MAX_IDLE_TALK = 16 * 1024
"""Bytes of all extensions and trailers of a body together."""

# No white space around the size, and nothing in extensions that may look like an end of line.
_SIZE = re.compile(rf"([0-9A-Fa-f]{{1,16}})(;{FIELD_VALUE})?".encode("latin-1"))
_TRAILER = re.compile(f"{FIELD_NAME}:{FIELD_VALUE}".encode("latin-1"))


class _State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    END = enum.auto()  # also of what is broken


class ChunkedBody:
    """Decodes one body of at most `max_bytes`.

    `ended`: it was complete, and `rest` is what came after it. `broken`: what is wrong with it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.rest = b""
        self.broken: Broken | None = None
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._idle_talk = 0
        self._left = 0  # bytes of this chunk that are to come
        self._at = 0  # in `rest`
        self._state = _State.SIZE

    @property
    def ended(self) -> bool:
        """Whether the last chunk and its trailers have come."""
        return self._state is _State.END and self.broken is None

    def decode(self, data: bytes) -> bytes:
        """What `data` brings of the body; nothing more once it has ended or is broken."""
        self.rest += data
        self._at = 0
        pieces = []
        while self._at < len(self.rest):
            if self._state is _State.DATA:
                pieces.append(self._take_data())
            elif self._state is _State.END or (line := self._take_line()) is None:
                break
            else:
                self._read_line(line)
        self.rest = self.rest[self._at :]
        return b"".join(pieces)

    def _take_data(self) -> bytes:
        piece = self.rest[self._at : self._at + self._left]
        self._at += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._state = _State.DATA_END
        return piece

    def _take_line(self) -> bytes | None:
        """The next line without its end, None if it is not complete."""
        longest = 0 if self._state is _State.DATA_END else MAX_LINE
        end = self.rest.find(b"\r\n", self._at, self._at + longest + 2)
        if end >= 0:
            line = self.rest[self._at : end]
            self._at = end + 2
            return line
        if len(self.rest) - self._at >= longest + 2:
            self._break("a chunk does not end where it should, or a line of the body is too long")
        return None

    def _read_line(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            self._begin_chunk(line)
        elif self._state is _State.DATA_END:  # of no length
            self._state = _State.SIZE
        elif not line:
            self._state = _State.END
        elif _TRAILER.fullmatch(line):
            self._count_idle_talk(len(line))
        else:
            self._break("a trailer is not a field")

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            self._break("a chunk does not begin with its size")
            return
        self._left = int(match[1], 16)
        self._room -= self._left
        self._state = _State.DATA if self._left else _State.TRAILER
        if self._room < 0:
            self._break(f"the body is longer than {self._max_bytes} bytes", CONTENT_TOO_LARGE)
        else:
            self._count_idle_talk(len(match[2] or b""))

    def _count_idle_talk(self, count: int) -> None:
        self._idle_talk += count
        if self._idle_talk > MAX_IDLE_TALK:
            self._break("there are too many chunk extensions or trailers")

    def _break(self, reason: str, status: int = BAD_REQUEST) -> None:
        self._state = _State.END
        self.broken = Broken(status, reason)
