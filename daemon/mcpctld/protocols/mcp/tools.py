"""What calls need to know of a tool, read from `tools/list`: its parameter headers, and whether it may be repeated.

MCP 2026-07-28, Transports, "Custom Headers from Tool Parameters" and Tools, "x-mcp-header"; MCP, Tools, "Tool
Annotations".
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from mcpctld.protocols.jsonrpc import Message, read_params
from mcpctld.protocols.mcp.methods import REPEATABLE
from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    open_array,
    open_object,
    open_text,
)

ANNOTATION = "x-mcp-header"


class ToolFacts(msgspec.Struct, frozen=True):
    """Of one tool."""

    headers: dict[str, list[str]] = {}
    """The path of the argument (names of properties from the root on) by the name after `Mcp-Param-`."""
    repeatable: bool = False
    """The server calls it read-only or idempotent: a call that may have got lost can be made again."""


def may_repeat(request: Message, tools: Mapping[str, ToolFacts]) -> bool:
    """Whether a request that may have reached the server can be made once more without changing anything."""
    if request.method != "tools/call":
        return request.method in REPEATABLE
    tool = tools.get(read_params(request).name or "")
    return tool is not None and tool.repeatable


class Excluded(NamedTuple):
    """A tool whose `x-mcp-header` annotations break a rule: a client over HTTP MUST leave it out."""

    name: str
    reason: str


class ToolPage(NamedTuple):
    """The result of one `tools/list`."""

    result: bytes
    """JSON text without the excluded tools; every other byte is the server's."""
    facts: dict[str, ToolFacts]
    """By name; of the excluded tools without headers."""
    excluded: list[Excluded]
    next_cursor: str | None
    """Where the next page begins; None on the last."""


def read_tools(result: bytes) -> ToolPage:
    """Read the result of `tools/list`; never raises, whatever it is."""
    members = open_object(result)
    facts: dict[str, ToolFacts] = {}
    excluded: list[Excluded] = []
    kept: list[bytes] = []
    for text in open_array(members.get("tools", b"")):
        tool = open_object(text)
        name = open_text(tool.get("name", b""))
        try:
            headers = _read_headers(tool.get("inputSchema", b""))
            kept.append(text)
        except _BrokenRule as exc:
            headers = {}
            excluded.append(Excluded(name or "", str(exc)))
        if name is not None:
            facts[name] = ToolFacts(headers, _is_repeatable(tool.get("annotations", b"")))
    if excluded:
        result = close_object({**members, "tools": close_array(kept)})
    next_cursor = open_text(members.get("nextCursor", b"")) or None
    return ToolPage(result, facts, excluded, next_cursor)


def _is_repeatable(annotations: bytes) -> bool:
    if not annotations:
        return False
    hints = open_object(annotations)
    return b"true" in (hints.get("readOnlyHint"), hints.get("idempotentHint"))


# ---------------------------------------------------------------- annotations


class _BrokenRule(Exception):
    """An annotation is not allowed as it is: why."""


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_TYPES = ("string", "integer", "boolean")
_MAX_QUOTED = 100

# Where JSON Schema 2020-12 (and, for servers that are older, draft 7) has schemas within a schema, `properties` aside.
# Whatever else there is (`default`, `enum`, …) is data, and `$ref` is not followed: what it leads to stands somewhere
# in `$defs`, where an annotation is not allowed.
_SCHEMAS = frozenset({
    "items", "prefixItems", "additionalItems", "unevaluatedItems", "contains", "additionalProperties",
    "unevaluatedProperties", "propertyNames", "contentSchema", "allOf", "anyOf", "oneOf", "not", "if", "then", "else",
})  # fmt: skip
"""Keywords whose value is a schema, or an array of schemas."""
_NAMED_SCHEMAS = frozenset({
    "$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies",
})  # fmt: skip
"""Keywords whose value has a schema under each name."""


def _no_number(digits: str) -> None:
    """Numbers in a schema do not matter here, and may have more digits than Python converts."""


_read_schema = json.JSONDecoder(parse_int=_no_number, parse_float=_no_number).decode

Path = tuple[str, ...]


def _read_headers(schema: bytes) -> dict[str, list[str]]:
    """The paths of annotated properties by annotation. Raises `_BrokenRule`."""
    if ANNOTATION.encode() not in schema and b"\\u" not in schema:  # which may spell it, too
        return {}
    root: object = None
    with suppress(ValueError, RecursionError):  # nested too deeply
        root = _read_schema(schema.decode(errors="replace"))
    if not isinstance(root, dict):
        raise _BrokenRule("its schema cannot be searched for x-mcp-header")
    headers: dict[str, list[str]] = {}
    taken: dict[str, Path] = {}  # names of headers are the same in either case
    for path, position in _positions(root):
        if ANNOTATION in position:
            path, name = _check(path, position)
            if (other := taken.get(name.lower())) is not None:
                raise _BrokenRule(
                    f"x-mcp-header of {_shown(path)} is that of {_shown(other)}: {_quote(name)}"
                )
            taken[name.lower()] = path
            headers[name] = list(path)
    return headers


def _positions(root: object) -> Iterator[tuple[Path | None, dict[str, object]]]:
    """Every schema within a schema, with its path if `properties` alone lead to it from the root, else None."""
    found: list[tuple[Path | None, object]] = [((), root)]
    for path, node in found:  # which grows meanwhile
        if not isinstance(node, dict):
            continue
        yield path, node
        for keyword, value in node.items():
            if keyword in _SCHEMAS:
                parts = value if isinstance(value, list) else [value]
                found += ((None, part) for part in parts)
            elif not isinstance(value, dict):
                continue
            elif keyword == "properties":
                found += (
                    (None if path is None else (*path, name), part) for name, part in value.items()
                )
            elif keyword in _NAMED_SCHEMAS:
                found += ((None, part) for part in value.values())


def _check(path: Path | None, position: dict[str, object]) -> tuple[Path, str]:
    """The path and the annotation of one position. Raises `_BrokenRule`."""
    name, kind = position[ANNOTATION], position.get("type")
    if not path:
        raise _BrokenRule("x-mcp-header stands where `properties` alone do not lead")
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise _BrokenRule(f"x-mcp-header of {_shown(path)} is not a token: {_quote(name)}")
    if kind not in _TYPES:
        raise _BrokenRule(
            f"x-mcp-header of {_shown(path)} needs the type string, integer or boolean, not {_quote(kind)}"
        )
    return path, name


def _shown(path: Path) -> str:
    return _quote("/".join(path))


def _quote(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
