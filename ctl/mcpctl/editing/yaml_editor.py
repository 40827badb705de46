"""YAML: an entry is a key of a mapping, or an item of a list with its `name`; lines are spliced, never dumped anew."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mcpctl.editing import yaml_layout
from mcpctl.editing.problems import Uneditable
from mcpctl.editing.splices import Splice, apply, line_ending
from mcpctl.editing.yaml_layout import Pair, is_list, is_mapping, is_null, pairs, root

Path = tuple[str, ...]

meaning = yaml_layout.meaning

NAME = "name"
"""What an item of a list is called by."""

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@%+-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
_STEP = "  "


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a text: its lines, its node, and where its keys stand."""

    start: int
    stop: int
    node: Any
    value: tuple[int, int]


def text_of(text: str, path: Path) -> str | None:
    """The lines of the entry; None when there is none."""
    found = _find(text, path)
    return None if found is None else text[found.start : found.stop]


def put_text(text: str, path: Path, raw: str) -> str:
    """Set the entry to the lines `raw`, as `text_of` answered them."""
    found = _find(text, path)
    if found is not None:
        return apply(text, [Splice(found.start, found.stop, raw)])
    section = _section(text, path)
    if section is None or is_null(section.node) or not section.node.value:
        raise Uneditable(f"{'.'.join(path[:-1])} has gone")
    return _inserted(text, section.stop, raw.removesuffix("\n").removesuffix("\r"))


def merge(text: str, path: Path, fields: Mapping[str, object], drop: Iterable[str] = ()) -> str:
    """Set some keys of the entry, take others out, leave the rest; a new entry comes last."""
    found = _find(text, path)
    if found is None:
        return _added(text, path, fields)
    if not is_mapping(found.node):
        raise Uneditable(f"{'.'.join(path)} is not a mapping")
    if found.node.flow_style:
        known = meaning(text[slice(*found.value)])
        kept = {key: value for key, value in known.items() if key not in drop}
        return apply(text, [Splice(*found.value, _flow({**kept, **fields}))])
    for key in drop:
        text = _without(text, path, key)
    for key, value in fields.items():
        text = _with(text, path, key, value)
    return text


def remove(text: str, path: Path) -> str:
    """Cut the lines of the entry out."""
    found = _find(text, path)
    return text if found is None else apply(text, [Splice(found.start, found.stop)])


# ---------------------------------------------------------------- finding


def _section(text: str, path: Path) -> Pair | None:
    """The pair that holds the entries; `path` is that of one of them."""
    node = root(text)
    pair = None
    for key in path[:-1]:
        if not is_mapping(node):
            if node is None or is_null(node):
                return None
            raise Uneditable(f"{key} has no mapping to stand in")
        if node.flow_style:
            raise Uneditable(f"what holds {key} is written in one line, in braces")
        pair = next((pair for pair in pairs(text, node) if pair.key == key), None)
        if pair is None:
            return None
        node = pair.node
    return pair


def _find(text: str, path: Path) -> _Entry | None:
    section = _section(text, path)
    if section is None or is_null(section.node) or not section.node.value:
        return None
    node = section.node
    if not is_mapping(node) and not is_list(node):
        raise Uneditable(f"{section.key} is neither a mapping nor a list of entries")
    if node.flow_style:
        raise Uneditable(f"{section.key} is written in one line, in braces")
    if is_list(node):
        return _find_item(text, node, path[-1])
    pair = next((pair for pair in pairs(text, node) if pair.key == path[-1]), None)
    if pair is None:
        return None
    if pair.tied:
        raise Uneditable(f"{pair.key} has an anchor, or is an alias of one")
    return _Entry(pair.start, pair.stop, pair.node, (pair.node.start_mark.index, pair.end))


def _find_item(text: str, node: Any, name: str) -> _Entry | None:
    for item in node.value:
        if not is_mapping(item):
            continue
        called = [value.value for key, value in item.value if key.value == NAME]
        if called == [name]:
            start, stop = yaml_layout.item_span(text, item)
            return _Entry(start, stop, item, (item.start_mark.index, item.end_mark.index))
    return None


# ---------------------------------------------------------------- changing


def _added(text: str, path: Path, fields: Mapping[str, object]) -> str:
    section = _section(text, path)
    if section is None:
        return _with_section(text, path, fields)
    node = section.node
    if is_list(node) and node.value:
        indent = " " * node.start_mark.column
        return _inserted(text, section.stop, _item(indent, path[-1], fields, line_ending(text)))
    if is_mapping(node) and node.value:
        column, deeper = _columns(text, node)
        block = _block(column, deeper, path[-1], fields, line_ending(text))
        return _inserted(text, section.stop, block)
    if not is_null(node) and not is_mapping(node):
        raise Uneditable(f"{section.key} is neither a mapping nor a list of entries")
    column = " " * section.column + _STEP
    block = _block(column, column + _STEP, path[-1], fields, line_ending(text))
    bare = apply(text, [Splice(section.after_key, section.end)])
    return _inserted(bare, yaml_layout.line_end(bare, section.after_key), block)


def _with_section(text: str, path: Path, fields: Mapping[str, object]) -> str:
    if len(path) != 2:
        raise Uneditable(f"there is no {'.'.join(path[:-1])}")
    node = root(text)
    known = pairs(text, node) if is_mapping(node) and not node.flow_style else []
    if node is not None and not known:
        raise Uneditable("the file is not a mapping in block style")
    eol = line_ending(text)
    indent = " " * known[0].column if known else ""
    block = _block(indent + _STEP, indent + _STEP * 2, path[1], fields, eol)
    at = known[-1].stop if known else len(text)
    return _inserted(text, at, f"{indent}{path[0]}:{eol}{block}")


def _with(text: str, path: Path, key: str, value: object) -> str:
    found = _find(text, path)
    assert found is not None
    known = pairs(text, found.node)
    pair = next((pair for pair in known if pair.key == key), None)
    if pair is None:
        line = f"{' ' * known[-1].column}{key}: {_scalar(value)}"
        return _inserted(text, known[-1].stop, line)
    if _at(meaning(text), path).get(key) == value:
        return text
    return apply(text, [Splice(pair.after_key, pair.end, f" {_scalar(value)}")])


def _at(value: Any, path: Path) -> dict[str, Any]:
    """The entry as it reads."""
    for key in path[:-1]:
        value = value[key]
    found: dict[str, Any] = (
        next(item for item in value if item.get(NAME) == path[-1])
        if isinstance(value, list)
        else value[path[-1]]
    )
    return found


def _without(text: str, path: Path, key: str) -> str:
    found = _find(text, path)
    assert found is not None
    pair = next((pair for pair in pairs(text, found.node) if pair.key == key), None)
    if pair is None:
        return text
    if pair.start < found.node.start_mark.index and text[pair.start :].lstrip().startswith("- "):
        raise Uneditable(f"{key} stands behind the dash of its item")
    return apply(text, [Splice(pair.start, pair.stop)])


def _inserted(text: str, at: int, block: str) -> str:
    """`block`, without a line ending of its own, as lines at `at`."""
    eol = line_ending(text)
    if at and not text[:at].endswith("\n"):
        return apply(text, [Splice(at, at, eol + block)])
    return apply(text, [Splice(at, at, block + eol)])


def _columns(text: str, node: Any) -> tuple[str, str]:
    """The indents of the entries' keys, and of what stands inside an entry."""
    column = int(node.start_mark.column)
    inner = [
        value.start_mark.column
        for _, value in node.value
        if is_mapping(value) and not value.flow_style
    ]
    return " " * column, " " * (inner[-1] if inner else column + len(_STEP))


def _block(indent: str, deeper: str, name: str, fields: Mapping[str, object], eol: str) -> str:
    lines = [f"{deeper}{key}: {_scalar(value)}" for key, value in fields.items()]
    return eol.join([f"{indent}{_scalar(name)}:", *lines])


def _item(indent: str, name: str, fields: Mapping[str, object], eol: str) -> str:
    named = {NAME: name, **fields}
    lines = [f"{key}: {_scalar(value)}" for key, value in named.items()]
    return f"{indent}- " + f"{eol}{indent}  ".join(lines)


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _flow(value)


def _flow(value: object) -> str:
    """A value on one line: JSON is YAML, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
