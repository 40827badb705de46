"""TOML by place: the headers and pairs of a text that `tomllib` has accepted, and where they stand."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from mcpctl.editing.problems import Unreadable

_STRING = (
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_PART = rf"(?:{_STRING}|[A-Za-z0-9_-]+)"
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_STATEMENT = re.compile(
    rf"[ \t]*(?:(?P<open>\[\[?)[ \t]*(?P<table>{_KEY})[ \t]*\]\]?|(?P<key>{_KEY})[ \t]*=[ \t]*)",
    re.DOTALL,
)
_PARTS = re.compile(_PART, re.DOTALL)
_TOKEN = re.compile(
    rf"{_STRING}|(?P<comment>\#[^\n]*)|(?P<up>[\[{{])|(?P<down>[\]}}])|\n|.", re.DOTALL
)
_NEXT_LINE = re.compile(r"[^\n]*(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class Pair:
    """`key = value`: where its line begins, the value begins and ends, and the last line ends."""

    key: tuple[str, ...]
    start: int
    value: int
    end: int
    stop: int


@dataclass(frozen=True, slots=True)
class Table:
    """What stands below one header: `key` is empty before the first, `start` is where the header's line begins.

    `stop` is the end of the last line that belongs to it: comments that follow may speak of the next table.
    """

    key: tuple[str, ...]
    start: int
    body: int
    pairs: tuple[Pair, ...]
    is_list: bool = False

    @property
    def stop(self) -> int:
        """Where the line of its last pair, or of its header, ends."""
        return self.pairs[-1].stop if self.pairs else self.body


def meaning(text: str) -> Any:
    """What the text says; numbers with a point as they are written. Raises `Unreadable`."""
    try:
        return tomllib.loads(text.replace("\r\n", "\n"), parse_float=str)
    except tomllib.TOMLDecodeError as exc:
        raise Unreadable(str(exc)) from exc
    except RecursionError as exc:
        raise Unreadable("it is nested too deeply") from exc


def tables(text: str) -> list[Table]:
    """All tables in the order of the text, the nameless one first; `text` was accepted by `meaning`."""
    heads: list[tuple[tuple[str, ...], int, int, bool]] = [((), 0, 0, False)]
    pairs: list[list[Pair]] = [[]]
    at = 0
    while at < len(text):
        match = _STATEMENT.match(text, at)
        if match is None:  # an empty line, or a comment
            at = _line_end(text, at)
        elif match["table"] is not None:
            end = _line_end(text, match.end())
            heads.append((_parts(match["table"]), at, end, match["open"] == "[["))
            pairs.append([])
            at = end
        else:
            value_end = _value_end(text, match.end())
            stop = _line_end(text, value_end)
            pairs[-1].append(Pair(_parts(match["key"]), at, match.end(), value_end, stop))
            at = stop
    return [
        Table(key, start, body, tuple(inside), is_list)
        for (key, start, body, is_list), inside in zip(heads, pairs, strict=True)
    ]


def _value_end(text: str, at: int) -> int:
    """Where the value ends that begins at `at`, without the space behind it."""
    depth, end = 0, at
    for token in _TOKEN.finditer(text, at):
        if depth == 0 and (token["comment"] or token[0] == "\n"):
            break
        depth += bool(token["up"]) - bool(token["down"])
        if not token["comment"] and token[0] not in " \t\r\n":
            end = token.end()
    return end


def _line_end(text: str, at: int) -> int:
    match = _NEXT_LINE.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _parts(key: str) -> tuple[str, ...]:
    return tuple(_part(match[0]) for match in _PARTS.finditer(key))


def _part(text: str) -> str:
    if text[0] not in "\"'":
        return text
    return str(tomllib.loads(f"key = {text}")["key"])
