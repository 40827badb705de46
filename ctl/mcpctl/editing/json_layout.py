"""JSON with comments and trailing commas: what a text means, and where in it things stand.

Comments and trailing commas are blanked out first, which leaves strict JSON (RFC 8259) with everything at its old
offset. So values are skipped by the standard library's scanner, at its speed, and the original is what is spliced.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mcpctl.editing.problems import Unreadable

_KEEPS = "+" if sys.version_info >= (3, 11, 5) else ""
"""Makes a repeated group possessive. Before 3.11.5 one that may backtrack inside matches wrongly (gh-106052)."""
_BLOCK = r"/\*[^*]*+(?:\*(?!/)[^*]*+)*\*/"
_COMMENT = rf"//[^\r\n]*+|{_BLOCK}"
_TRIVIA = rf"(?:[ \t\r\n]++|{_COMMENT})*{_KEEPS}"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BLANKED = re.compile(
    # What stays is passed over here, inside the engine: a file may have a million strings.
    rf"(?P<kept>(?:[^\"/,\[{{]++|{_STRING}|,(?!{_TRIVIA}[\]}}])|[\[{{](?!{_TRIVIA},)|/(?![/*]))*{_KEEPS})"
    rf"(?:(?P<comment>{_COMMENT})"
    rf"|(?P<nothing>[\[{{]{_TRIVIA}),"  # no value in front: for the parser to refuse
    rf"|(?P<comma>,)|(?P<stray>[\"/])|\Z)",  # a string or comment without an end
    re.DOTALL,
)
_VISIBLE = re.compile(r"[^\r\n]")
_SKIPPED = re.compile(_TRIVIA, re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
_REST_OF_LINE = re.compile(rf"(?:[ \t]*+{_BLOCK})*{_KEEPS}(?:[ \t]*+//[^\r\n]*+)?")


class Number(str):
    """A number as it is written: 2^53 + 1 and 1.0 stay what they are."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: where its key begins, and its value begins and ends."""

    key: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text, the same text as strict JSON, and what it means (None when it has no value at all)."""

    text: str
    plain: str
    value: Any
    empty: bool
    seen: dict[int, tuple[list[Member], int]] = field(default_factory=dict, repr=False)

    def members(self, at: int) -> tuple[list[Member], int]:
        """The members of the object that opens at `at`, and where it closes; walked through once."""
        if at not in self.seen:
            self.seen[at] = _members(self.plain, at)
        return self.seen[at]


@dataclass(frozen=True, slots=True)
class Object:
    """An object of a parsed text: its braces and members."""

    parsed: Parsed
    open: int
    inside: list[Member]
    close: int

    def last(self, key: str) -> Member | None:
        """The member that counts: of several with one key, the last."""
        return next((member for member in reversed(self.inside) if member.key == key), None)


@lru_cache(maxsize=1)
def parse(text: str) -> Parsed:
    """Read a whole text. Raises `Unreadable` with line and column.

    The last one is remembered, for a text is asked for its meaning and edited next; `parse.cache_clear` forgets it.
    """
    try:
        return Parsed(text, text, _decode(text), empty=False)
    except ValueError:
        pass  # the usual reason is a comment
    plain = _BLANKED.sub(_blank, text)
    if not plain.strip(" \t\r\n"):
        return Parsed(text, plain, None, empty=True)
    try:
        return Parsed(text, plain, _decode(plain), empty=False)
    except json.JSONDecodeError as exc:
        raise Unreadable(f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except ValueError as exc:
        raise Unreadable(str(exc)) from exc


def skip_space(plain: str, at: int) -> int:
    """Where the next token of strict JSON is."""
    match = _SPACE.match(plain, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def comma_after(text: str, at: int) -> int | None:
    """Where the comma is that follows a value which ends at `at`; None when there is none."""
    match = _SKIPPED.match(text, at)
    assert match is not None
    return match.end() if text.startswith(",", match.end()) else None


def comments_end(text: str, at: int) -> int:
    """Where the comments end that stand behind `at` on the same line; `at` when there are none."""
    match = _REST_OF_LINE.match(text, at)
    assert match is not None
    return match.end()


def has_line_end(text: str) -> bool:
    """Whether a line ends in `text`."""
    return "\n" in text or "\r" in text


def _members(plain: str, at: int) -> tuple[list[Member], int]:
    found = []
    at = skip_space(plain, at + 1)
    while plain[at] != "}":
        key, end = _DECODER.raw_decode(plain, at)
        value = skip_space(plain, skip_space(plain, end) + 1)
        end = _DECODER.raw_decode(plain, value)[1]
        found.append(Member(key, at, value, end))
        at = skip_space(plain, end)
        if plain[at] == ",":
            at = skip_space(plain, at + 1)
    return found, at


def _blank(match: re.Match[str]) -> str:
    kept = match["kept"]
    if match["stray"] is not None:
        return match[0]
    if match["nothing"] is not None:
        inside = match["nothing"]
        return kept + inside[0] + _VISIBLE.sub(" ", inside[1:]) + ","
    return kept + _VISIBLE.sub(" ", match[0][len(kept) :])


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_no_constant)
