"""JSON and JSONC: members are put in, changed and taken out by splicing text.

The house rules: a new member comes last and looks like its siblings (indent, line ending, a trailing comma only where
the object has one, on one line where the object is); a comma goes right behind the value before it, new text behind
that line's comments. What is removed takes the comments on its own lines along; those above it stay.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mcpctl.editing.json_layout import (
    Member,
    Object,
    Parsed,
    comma_after,
    comments_end,
    has_line_end,
    parse,
    skip_space,
)
from mcpctl.editing.json_removal import removed
from mcpctl.editing.problems import Uneditable
from mcpctl.editing.splices import Splice, apply, indent_at, line_ending

Path = tuple[str, ...]
Render = Callable[[str, "_Style"], str]
"""The text of a value whose first line is indented so far, in a style."""

_FIRST_INDENT = re.compile(r"^([ \t]+)[^ \t\r\n]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Style:
    """How a document is written."""

    eol: str
    unit: str
    inline: bool
    space: str
    """What stands behind a colon and a comma on one line."""


def meaning(text: str) -> Any:
    """What the text says; `{}` when it says nothing. Raises `Unreadable`."""
    parsed = parse(text)
    return {} if parsed.empty else parsed.value


def text_of(text: str, path: Path) -> str | None:
    """The value at `path` as it is written; None when there is none."""
    found = _find(parse(text), path)
    return None if found is None else text[found.value : found.end]


def put(text: str, path: Path, value: object) -> str:
    """Set the value at `path`; objects on the way are made."""
    parsed = parse(text)
    if _holds(parsed, path, value):
        return text
    style = _style_of(parsed)
    return _put(parsed, path, _render(value), style)


def put_text(text: str, path: Path, raw: str) -> str:
    """Set the value at `path` to what is written in `raw`."""
    parsed = parse(text)
    return _put(parsed, path, lambda *_: raw, _style_of(parsed))


def merge(text: str, path: Path, fields: Mapping[str, object], drop: Iterable[str] = ()) -> str:
    """Set some members of the object at `path`, take others out, leave the rest.

    Where there is no object at `path`, one is made of `fields`.
    """
    parsed = parse(text)
    found = _find(parsed, path)
    if found is None or parsed.plain[found.value] != "{":
        return put(text, path, dict(fields))
    style = _style_of(parsed)
    indent = indent_at(text, found.start)
    piece = indent + text[found.value : found.end]
    for key in drop:
        piece = remove(piece, (key,))
    for key, value in fields.items():
        inner = parse(piece)
        if not _holds(inner, (key,), value):
            piece = _put(inner, (key,), _render(value), style)
    return apply(text, [Splice(found.value, found.end, piece[len(indent) :])])


def remove(text: str, path: Path) -> str:
    """Take out what is at `path`, as often as it is there."""
    while True:
        found = _holder(parse(text), path[:-1])
        if found is None or found.last(path[-1]) is None:
            return text
        text = removed(found, path[-1])


# ---------------------------------------------------------------- finding


def _holder(parsed: Parsed, path: Path) -> Object | None:
    """The object at `path`."""
    if parsed.empty:
        return None
    at = skip_space(parsed.plain, 0)
    for key in (*path, None):
        if parsed.plain[at] != "{":
            return None
        found = Object(parsed, at, *parsed.members(at))
        if key is None:
            return found
        member = found.last(key)
        if member is None:
            return None
        at = member.value
    raise AssertionError("unreachable")


def _find(parsed: Parsed, path: Path) -> Member | None:
    holder = _holder(parsed, path[:-1])
    return holder.last(path[-1]) if holder else None


def _holds(parsed: Parsed, path: Path, value: object) -> bool:
    """Whether the value is there already, however it is written."""
    found = _find(parsed, path)
    return found is not None and bool(json.loads(parsed.plain[found.value : found.end]) == value)


# ---------------------------------------------------------------- putting in


def _put(parsed: Parsed, path: Path, render: Render, style: _Style) -> str:
    if parsed.empty:
        return _begun(parsed.text, _nested(path, render)("", style), style)
    text, plain = parsed.text, parsed.plain
    at = skip_space(plain, 0)
    for depth, key in enumerate(path):
        if plain[at] != "{":
            where = ".".join(path[:depth]) or "the whole"
            raise Uneditable(f"{where} is {_kind(plain[at])}, where an object belongs")
        found = Object(parsed, at, *parsed.members(at))
        member = found.last(key)
        below = _nested(path[depth + 1 :], render)
        if member is None:
            return _inserted(found, key, below, style)
        at = member.value
        if depth == len(path) - 1 or plain.startswith("null", at):
            look = style if _is_spread(found) else replace(style, inline=True)
            value = below(indent_at(text, member.start), look)
            return apply(text, [Splice(member.value, member.end, value)])
    raise AssertionError("unreachable")


def _inserted(found: Object, key: str, render: Render, style: _Style) -> str:
    """The text with a new last member."""
    if not found.inside:
        return _inserted_first(found, key, render, style)
    text, last = found.parsed.text, found.inside[-1]
    comma = comma_after(text, last.end)
    splices = [] if comma is not None else [Splice(last.end, last.end, ",")]
    after = last.end if comma is None else comma + 1
    ending = "" if comma is None else ","
    at = comments_end(text, after)
    if not _is_spread(found):
        style = replace(style, inline=True)
        member = style.space + _member(key, render, indent_at(text, last.start), style) + ending
        gap = "" if splices == [] else ","
        return apply(text, [Splice(at, at, gap + member)])
    indent = _indent_of_members(found, style)
    member = style.eol + indent + _member(key, render, indent, style) + ending
    return apply(text, _joined([*splices, Splice(at, at, member)]))


def _inserted_first(found: Object, key: str, render: Render, style: _Style) -> str:
    text, close = found.parsed.text, found.close
    at = comments_end(text, found.open + 1)
    base = indent_at(text, found.open)
    if style.inline:
        return apply(text, [Splice(at, at, _member(key, render, base, style))])
    indent = base + style.unit
    member = style.eol + indent + _member(key, render, indent, style)
    if has_line_end(text[at:close]):
        return apply(text, [Splice(at, at, member)])
    return apply(text, [Splice(at, close, member + style.eol + base)])


def _joined(splices: list[Splice]) -> list[Splice]:
    """Two insertions at one place, as one."""
    if len(splices) == 2 and splices[0].start == splices[1].start:
        return [Splice(splices[0].start, splices[0].end, splices[0].text + splices[1].text)]
    return splices


def _begun(text: str, value: str, style: _Style) -> str:
    """A document that had no value yet: its comments stay in front."""
    gap = style.eol if text.strip() and not text.endswith(("\n", "\r")) else ""
    return text + gap + value + style.eol


def _is_spread(found: Object) -> bool:
    """Whether the object's members stand on lines of their own."""
    starts = [member.start for member in found.inside]
    ends = [found.open + 1, *(member.end for member in found.inside)]
    plain = found.parsed.plain
    gaps = zip(ends, [*starts, found.close], strict=True)
    return any(has_line_end(plain[start:end]) for start, end in gaps)


def _indent_of_members(found: Object, style: _Style) -> str:
    text, first = found.parsed.text, found.inside[0]
    if has_line_end(text[found.open : first.start]):
        return indent_at(text, found.inside[-1].start)
    return indent_at(text, found.open) + style.unit


def _member(key: str, render: Render, indent: str, style: _Style) -> str:
    return f"{json.dumps(key, ensure_ascii=False)}:{style.space}{render(indent, style)}"


def _nested(path: Path, render: Render) -> Render:
    """The value inside new objects, one for each key of `path`."""
    if not path:
        return render

    def nested(indent: str, style: _Style) -> str:
        inner = _nested(path[1:], render)
        if style.inline:
            return "{" + _member(path[0], inner, indent, style) + "}"
        deeper = indent + style.unit
        member = _member(path[0], inner, deeper, style)
        return "{" + style.eol + deeper + member + style.eol + indent + "}"

    return nested


def _render(value: object) -> Render:
    return lambda indent, style: _written(value, indent, style)


def _written(value: object, indent: str, style: _Style) -> str:
    if style.inline:
        return json.dumps(
            value, ensure_ascii=False, separators=("," + style.space, ":" + style.space)
        )
    pretty = json.dumps(value, ensure_ascii=False, indent=style.unit)
    return pretty.replace("\n", style.eol + indent)


def _style_of(parsed: Parsed) -> _Style:
    text = parsed.text
    match = _FIRST_INDENT.search(text)
    bare = text.strip()
    inline = not parsed.empty and bare != "{}" and not has_line_end(bare)
    space = "" if inline and re.search(r'":[^ ]', bare) and '": ' not in bare else " "
    unit = _unit(match[1]) if match else "  "
    return _Style(line_ending(text), unit, inline, space)


def _unit(indent: str) -> str:
    return "\t" if indent.startswith("\t") else indent


def _kind(first: str) -> str:
    return {"[": "a list", '"': "a string"}.get(first, "a plain value")
