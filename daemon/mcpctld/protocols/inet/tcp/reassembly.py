"""What came before its turn: pieces of the stream with gaps before and between them."""

from bisect import bisect_left, bisect_right

MAX_RANGES = 1024
"""A megabyte with every second segment missing has fewer. More is somebody's game with our memory."""
MAX_PIECES = 4096


class _Range:
    """Adjacent pieces without a gap."""

    __slots__ = ("end", "pieces", "start", "touched")

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.end = start + len(data)
        self.pieces = [data]
        self.touched = 0


def _start(found: _Range) -> int:
    return found.start


class Reassembly:
    """Ranges in order, none of which touch each other. What is here twice is kept as it came first."""

    def __init__(self) -> None:
        self._ranges: list[_Range] = []
        self._pieces = 0
        self._clock = 0  # counts arrivals, for SACK tells the latest first

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, start: int, data: bytes) -> bool:
        """Keep data, which is not empty, as long as there is room. False: all of it was here already."""
        self._clock += 1
        gaps = self._gaps(start, start + len(data))
        for gap_start, gap_end in gaps:
            if len(self._ranges) < MAX_RANGES and self._pieces < MAX_PIECES:
                self._insert(gap_start, data[gap_start - start : gap_end - start])
        return bool(gaps)

    def take(self, until: int) -> list[bytes]:
        """What now has its turn: all data from `until` on up to the first gap. Earlier data is dropped."""
        taken: list[bytes] = []
        while self._ranges and self._ranges[0].start <= until:
            found = self._ranges.pop(0)
            self._pieces -= len(found.pieces)
            if found.end > until:
                taken = _skip(found.pieces, until - found.start)
                break
        return taken

    def blocks(self, most: int) -> list[tuple[int, int]]:
        """The ranges, those that grew last first (RFC 2018 §4)."""
        latest = sorted(self._ranges, key=lambda found: -found.touched)[:most]
        return [(found.start, found.end) for found in latest]

    def clear(self) -> None:
        """Forget everything."""
        self._ranges.clear()
        self._pieces = 0

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of this that are missing."""
        at = max(0, bisect_right(self._ranges, start, key=_start) - 1)
        gaps = []
        while start < end and at < len(self._ranges) and self._ranges[at].start < end:
            found = self._ranges[at]
            if start < found.start:
                gaps.append((start, found.start))
            if start <= found.end:
                found.touched = self._clock
            start = max(start, found.end)
            at += 1
        if start < end:
            gaps.append((start, end))
        return gaps

    def _insert(self, start: int, data: bytes) -> None:
        """Put data into a gap, which it may fill."""
        self._pieces += 1
        at = bisect_left(self._ranges, start, key=_start)
        before = self._ranges[at - 1] if at else None
        if before is not None and before.end == start:
            before.pieces.append(data)
            before.end += len(data)
        else:
            before = _Range(start, data)
            self._ranges.insert(at, before)
            at += 1
        before.touched = self._clock
        if at < len(self._ranges) and self._ranges[at].start == before.end:
            after = self._ranges.pop(at)
            before.pieces += after.pieces
            before.end = after.end


def _skip(pieces: list[bytes], count: int) -> list[bytes]:
    """The pieces without so many bytes at their beginning, which is fewer than they hold."""
    at = 0
    while count >= len(pieces[at]):
        count -= len(pieces[at])
        at += 1
    return [pieces[at][count:], *pieces[at + 1 :]]
