"""Changes of a text by place: what is cut, what is put there."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Splice:
    """`text` in the place of what stands from `start` up to `end`."""

    start: int
    end: int
    text: str = ""


def apply(text: str, splices: Iterable[Splice]) -> str:
    """`text` with all splices made; they do not overlap."""
    parts, at = [], 0
    for splice in sorted(splices):
        assert splice.start >= at, "splices overlap"
        parts += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*parts, text[at:]])


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes one text of another: at `start`, `inserted` stands in the place of `removed`."""

    start: int
    removed: bytes
    inserted: bytes


def difference(before: bytes, after: bytes) -> Difference:
    """The shortest single piece in which two texts differ."""
    room = min(len(before), len(after))
    start = _common(before, after, room)
    end = _common_end(before, after, room - start)
    return Difference(start, before[start : len(before) - end], after[start : len(after) - end])


def line_ending(text: str) -> str:
    """The line ending that most lines have; a line feed when there is none."""
    pairs = text.count("\r\n")
    return "\r\n" if pairs * 2 > text.count("\n") else "\n"


def indent_at(text: str, at: int) -> str:
    """The white space that begins the line in which `at` lies."""
    match = _INDENT.match(text, line_start(text, at))
    assert match is not None  # it matches nothing, too
    return match[0]


def line_start(text: str, at: int) -> int:
    """Where the line begins in which `at` lies."""
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


_INDENT = re.compile(r"[ \t]*")


def _common(one: bytes, other: bytes, room: int) -> int:
    """How many bytes both begin with: halving, for comparing slices is far faster than a loop."""
    low, high = 0, room
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_end(one: bytes, other: bytes, room: int) -> int:
    low, high = 0, room
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low
