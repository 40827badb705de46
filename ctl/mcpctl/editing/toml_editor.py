"""TOML: an entry is a table `[section.name]`; it is appended, changed pair by pair, and cut out with its subtables.

`tomlkit` would do it, but it takes the comments above the next table away with a table that is removed, and writes
line feeds into a file with CRLF. So text is spliced here, and `tomllib` reads the result back.
"""

import json
import re
from collections.abc import Iterable, Mapping

from mcpctl.editing import toml_layout
from mcpctl.editing.problems import Uneditable
from mcpctl.editing.splices import Splice, apply, indent_at, line_ending
from mcpctl.editing.toml_layout import Pair, Table, tables

Path = tuple[str, ...]

meaning = toml_layout.meaning

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK_LINE_BEFORE = re.compile(r"(?:\A|(?<=\n))[ \t]*\r?\n\Z")


def text_of(text: str, path: Path) -> str | None:
    """The entry as it is written: its tables, or the value of its pair; None when there is none."""
    if (pair := _inline(text, path)) is not None:
        return text[pair.value : pair.end]
    span = _span(text, path)
    return None if span is None else text[slice(*span)]


def put_text(text: str, path: Path, raw: str) -> str:
    """Set the entry to what is written in `raw`, as `text_of` answered it."""
    if (pair := _inline(text, path)) is not None:
        return apply(text, [Splice(pair.value, pair.end, raw)])
    span = _span(text, path)
    return _appended(text, raw) if span is None else apply(text, [Splice(*span, raw)])


def merge(text: str, path: Path, fields: Mapping[str, object], drop: Iterable[str] = ()) -> str:
    """Set some pairs of the entry, take others out, leave the rest; a new entry comes last in the file."""
    if (pair := _inline(text, path)) is not None:
        found = _get(meaning(text), path)
        kept = {key: value for key, value in found.items() if key not in drop}
        return apply(text, [Splice(pair.value, pair.end, _inline_table({**kept, **fields}))])
    if not _tables_of(text, path):
        _check_section(text, path)
        eol = line_ending(text)
        return _appended(text, f"[{_header(path)}]{eol}" + _pairs(fields, "", eol))
    for key in drop:
        text = _without(text, path, key)
    return _with(text, path, fields)


def remove(text: str, path: Path) -> str:
    """Cut the entry out: its tables up to the last pair of each, or its pairs."""
    for table in reversed(_tables_of(text, path)):
        text = _cut(text, table.start, table.stop)
    for pair in reversed(_pairs_of(text, path)):
        text = apply(text, [Splice(pair.start, pair.stop)])
    return text


# ---------------------------------------------------------------- finding


def _tables_of(text: str, path: Path) -> list[Table]:
    return [table for table in tables(text) if table.key[: len(path)] == path]


def _pairs_of(text: str, path: Path) -> list[Pair]:
    """The pairs that say something of the entry from outside of its own tables."""
    return [
        pair
        for table in tables(text)
        if len(table.key) < len(path)
        for pair in table.pairs
        if (table.key + pair.key)[: len(path)] == path
    ]


def _inline(text: str, path: Path) -> Pair | None:
    """The one pair that is the whole entry: `name = {...}`. Raises `Uneditable` for dotted ones."""
    found = _pairs_of(text, path)
    if not found:
        return None
    pair = found[0]
    if len(found) > 1 or not text.startswith("{", pair.value) or _tables_of(text, path):
        raise Uneditable(
            f"{'.'.join(path)} is written as dotted keys; write it as a table [{_header(path)}]"
        )
    return pair


def _span(text: str, path: Path) -> tuple[int, int] | None:
    """From the first table of the entry to the end of its last; they must stand together."""
    known = tables(text)
    at = [index for index, table in enumerate(known) if table.key[: len(path)] == path]
    if not at:
        return None
    if at != list(range(at[0], at[-1] + 1)) or any(known[index].is_list for index in at):
        raise Uneditable(f"the tables of {'.'.join(path)} do not stand together")
    return known[at[0]].start, known[at[-1]].stop


def _main(text: str, path: Path) -> Table:
    for table in _tables_of(text, path):
        if table.key == path and not table.is_list:
            return table
    raise Uneditable(f"there is no header [{_header(path)}]")


def _check_section(text: str, path: Path) -> None:
    for table in tables(text):
        for pair in table.pairs:
            key = table.key + pair.key
            if key == path[: len(key)]:
                raise Uneditable(f"{'.'.join(key)} has its value in one line, not as a table")
    if any(table.is_list for table in _tables_of(text, path[:1])):
        raise Uneditable(f"{path[0]} is a list of tables")


def _get(value: object, path: Path) -> dict[str, object]:
    for key in path:
        assert isinstance(value, dict)
        value = value[key]
    assert isinstance(value, dict)
    return value


# ---------------------------------------------------------------- changing


def _appended(text: str, block: str) -> str:
    eol = line_ending(text)
    gap = eol if text.strip() else ""
    return text + (eol if text and not text.endswith("\n") else "") + gap + block


def _with(text: str, path: Path, fields: Mapping[str, object]) -> str:
    for key, value in fields.items():
        main = _main(text, path)
        pair = next((pair for pair in main.pairs if pair.key == (key,)), None)
        if pair is not None:
            if meaning(f"value = {text[pair.value : pair.end]}")["value"] != value:
                text = apply(text, [Splice(pair.value, pair.end, _value(value))])
            continue
        indent = indent_at(text, main.start)
        line = _pairs({key: value}, indent, line_ending(text))
        if not text[: main.stop].endswith("\n"):
            line = line_ending(text) + line
        text = apply(text, [Splice(main.stop, main.stop, line)])
    return text


def _without(text: str, path: Path, key: str) -> str:
    """The entry without one key, however it is written: a pair, dotted pairs, a subtable."""
    for table in reversed(_tables_of(text, (*path, key))):
        text = _cut(text, table.start, table.stop)
    for pair in reversed(_main(text, path).pairs):
        if pair.key[0] == key:
            text = apply(text, [Splice(pair.start, pair.stop)])
    return text


def _cut(text: str, start: int, stop: int) -> str:
    """Without a table; the empty line above it goes when another one, or nothing, follows."""
    rest = text[stop:]
    above = _BLANK_LINE_BEFORE.search(text, max(0, start - 200), start)
    if above and (not rest or rest[0] in "\r\n"):
        start = above.start()
    return text[:start] + rest


def _header(path: Path) -> str:
    return ".".join(map(_key, path))


def _pairs(fields: Mapping[str, object], indent: str, eol: str) -> str:
    return "".join(f"{indent}{_key(key)} = {_value(value)}{eol}" for key, value in fields.items())


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    """A value on one line (TOML 1.0: strings are written as JSON does, but for DEL)."""
    if isinstance(value, dict):
        return _inline_table(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline_table(fields: Mapping[str, object]) -> str:
    inside = ", ".join(f"{_key(key)} = {_value(value)}" for key, value in fields.items())
    return f"{{ {inside} }}" if inside else "{}"
