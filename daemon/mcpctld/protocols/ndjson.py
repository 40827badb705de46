"""Newline-delimited JSON: the framing of MCP's stdio transport (MCP, Transports, stdio).

A line ends with LF or CRLF. Blank lines are skipped. What stands in a line is not looked at.
"""

from collections import deque

import msgspec

from mcpctld.protocols.excerpt import Excerpt


class TooLong(msgspec.Struct, frozen=True, gc=False):
    """A line over the limit went by: its length in bytes, its first and last bytes (4 KiB each)."""

    length: int
    head: bytes
    tail: bytes

    def __repr__(self) -> str:
        return f"<TooLong of {self.length} bytes>"


class HalfLine(msgspec.Struct, frozen=True, gc=False):
    """The stream ended within a line; `data` may yet be a whole message."""

    data: bytes

    def __repr__(self) -> str:
        return f"<HalfLine of {len(self.data)} bytes>"


class LineReader:
    """Cuts a stream of bytes into lines of at most `max_length` bytes (without the LF)."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._partial = bytearray()
        self._excerpt: Excerpt | None = None  # set while a line over the limit goes by
        self._events: deque[bytes | TooLong | HalfLine] = deque()

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished line are held."""
        return len(self._partial)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the stream."""
        first, *rest = data.split(b"\n")
        if not rest:
            self._extend(first)
            return
        if self._partial or self._excerpt:
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
        """The stream has ended."""
        if self._excerpt:
            self._finish_partial()
        elif self._partial and not self._partial.isspace():
            self._events.append(HalfLine(bytes(self._partial)))
        self._partial.clear()

    def next_event(self) -> bytes | TooLong | HalfLine | None:
        """The next line, without its end and never blank, or what came instead; None if none."""
        return self._events.popleft() if self._events else None

    def _extend(self, data: bytes) -> None:
        """More of a line whose end has not been seen."""
        if self._excerpt:
            self._excerpt.add(data)
            return
        self._partial += data
        if len(self._partial) > self._max_length:
            self._excerpt = Excerpt()
            self._excerpt.add(self._partial)
            self._partial.clear()

    def _finish_partial(self) -> None:
        if self._excerpt:
            self._events.append(_too_long(self._excerpt))
            self._excerpt = None
        else:
            line = bytes(self._partial)
            self._partial.clear()
            self._finish(line)

    def _finish(self, line: bytes) -> None:
        """A whole line, which ended with LF."""
        if len(line) > self._max_length:
            excerpt = Excerpt()
            excerpt.add(line)
            self._events.append(_too_long(excerpt))
            return
        if line.endswith(b"\r"):
            line = line[:-1]
        if line and not line.isspace():
            self._events.append(line)


def _too_long(excerpt: Excerpt) -> TooLong:
    return TooLong(excerpt.length, excerpt.head, excerpt.tail.removesuffix(b"\r"))
