"""YAML by place: the nodes of one document as `ruamel.yaml` composes them, and where each really ends.

It is loaded only when a YAML file is edited. Its dumper is not used: it loses CRLF, document markers, and the comment
behind the last key that is removed.
"""

from dataclasses import dataclass
from typing import Any

from mcpctl.editing.problems import Unreadable
from mcpctl.editing.splices import line_start


@dataclass(frozen=True, slots=True)
class Pair:
    """A key of a mapping and its value: the lines of both reach from `start` to `stop`.

    `after_key` is behind the colon; `end` is where the value ends, without comments and white space. `tied`: it has
    an anchor, or is an alias of one.
    """

    key: str
    column: int
    start: int
    after_key: int
    end: int
    stop: int
    node: Any
    tied: bool


def meaning(text: str) -> Any:
    """What the text says; `{}` when it says nothing. Raises `Unreadable`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as exc:  # a date that there is not is a ValueError
        raise Unreadable(_told(exc)) from exc
    except RecursionError as exc:
        raise Unreadable("it is nested too deeply") from exc
    return {} if value is None else value


def root(text: str) -> Any:
    """The node of the whole document; None when it is empty. `text` was accepted by `meaning`."""
    from ruamel.yaml import YAML

    return YAML(typ="rt", pure=True).compose(text)


def is_mapping(node: Any) -> bool:
    """Whether this is a mapping, in either style."""
    return node is not None and node.id == "mapping"


def is_list(node: Any) -> bool:
    """Whether this is a sequence, in either style."""
    return node is not None and node.id == "sequence"


def is_null(node: Any) -> bool:
    """Whether nothing is written where a value belongs, or `null`."""
    return node is not None and node.tag == "tag:yaml.org,2002:null"


def pairs(text: str, node: Any) -> list[Pair]:
    """The pairs of a mapping in block style, in order."""
    found = []
    for key, value in node.value:
        after_key = text.index(":", key.end_mark.index) + 1
        end = _pair_end(text, after_key, value)
        found.append(
            Pair(
                str(key.value),
                key.start_mark.column,
                line_start(text, key.start_mark.index),
                after_key,
                end,
                line_end(text, end),
                value,
                bool(value.anchor) or value.end_mark.index < key.start_mark.index,
            )
        )
    return found


def line_end(text: str, at: int) -> int:
    """Where the next line begins."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def item_span(text: str, node: Any) -> tuple[int, int]:
    """The lines of an item of a list in block style."""
    return line_start(text, node.start_mark.index), line_end(text, _end(text, node))


def _end(text: str, node: Any) -> int:
    """Where a value ends. The mark of a block is where the next token begins, behind comments."""
    if node.id == "scalar":
        return _scalar_end(text, node)
    if node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    if node.id == "sequence":
        return _end(text, last)
    key, value = last
    return _pair_end(text, text.index(":", key.end_mark.index) + 1, value)


def _pair_end(text: str, after_key: int, value: Any) -> int:
    """Where the value ends, or the colon where nothing is written behind it."""
    if value.id == "scalar" and value.start_mark.index == value.end_mark.index:
        return after_key
    return max(after_key, _end(text, value))


def _scalar_end(text: str, node: Any) -> int:
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    written = text[start:end]
    if node.style not in ("|", ">"):
        return end
    lines = written.rstrip().splitlines(keepends=True)
    while len(lines) > 1 and lines[-1].lstrip().startswith("#") and _is_outer(lines):
        lines.pop()
    return start + len("".join(lines).rstrip())


def _is_outer(lines: list[str]) -> bool:
    """Whether the last line is indented less than the block above it, and so is a comment."""
    first = next((line for line in lines[1:] if line.strip()), "")
    return len(lines[-1]) - len(lines[-1].lstrip()) < len(first) - len(first.lstrip())


def _told(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or str(exc).splitlines()[0]
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{problem}"
