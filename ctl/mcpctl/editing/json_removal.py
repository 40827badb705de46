"""A member of a JSON object is taken out, with its comma and the comments on its own lines."""

import re

from mcpctl.editing.json_layout import Object, comma_after, comments_end, has_line_end
from mcpctl.editing.splices import Splice, apply


def removed(found: Object, key: str) -> str:
    """The text without the last member of that key."""
    text = found.parsed.text
    index = max(i for i, member in enumerate(found.inside) if member.key == key)
    member = found.inside[index]
    comma = comma_after(text, member.end)
    splices = _comma_cuts(found, index, comma)
    start, end = _cut(found, index, comma)
    splices = [cut for cut in splices if not start <= cut.start < end]
    left = apply(text, [*splices, Splice(start, end)])
    return _collapsed(left, found.open, len(found.inside) == 1)


def _comma_cuts(found: Object, index: int, comma: int | None) -> list[Splice]:
    """The comma that goes too: its own, or, of a last member without one, that of the member before."""
    if comma is None and index:
        comma = comma_after(found.parsed.text, found.inside[index - 1].end)
    return [] if comma is None else [Splice(comma, comma + 1)]


def _cut(found: Object, index: int, comma: int | None) -> tuple[int, int]:
    """What goes with the member: its line and the comments behind it, or the space beside it."""
    text, member = found.parsed.text, found.inside[index]
    end = member.end
    if comma is not None and not has_line_end(text[end:comma]):
        end = comma + 1
    tail = comments_end(text, end)
    ends_line = _ends_line(text, tail)
    start = _back_over_space(text, member.start)
    begins_line = start == 0 or text[start - 1] in "\r\n"
    if begins_line and (ends_line or index == len(found.inside) - 1):
        return _with_line_end(found, start, ends_line), tail if ends_line else end
    if index == len(found.inside) - 1:
        return (start if index else member.start), end
    return member.start, _forward_over_space(text, end)


def _with_line_end(found: Object, start: int, ends_line: bool) -> int:
    """`start`, or where the line before ends; not where a comment would swallow what follows."""
    text, plain = found.parsed.text, found.parsed.plain
    back = start - 1 if start else 0
    if back and text[back] == "\n" and text[back - 1] == "\r":
        back -= 1
    if not ends_line and back and text[back - 1] != plain[back - 1]:
        return start
    return back


def _collapsed(text: str, opens: int, emptied: bool) -> str:
    """`{}` for an object that holds nothing any more, not even a comment."""
    match = re.compile(r"\{[ \t\r\n]+\}").match(text, opens) if emptied else None
    return apply(text, [Splice(opens, match.end(), "{}")]) if match else text


def _ends_line(text: str, at: int) -> bool:
    at = _forward_over_space(text, at)
    return at == len(text) or text[at] in "\r\n"


def _forward_over_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _back_over_space(text: str, at: int) -> int:
    while at and text[at - 1] in " \t":
        at -= 1
    return at
