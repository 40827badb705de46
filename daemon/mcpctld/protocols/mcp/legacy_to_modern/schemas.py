"""Tools whose output is not an object, for clients that know objects only.

From 2026-07-28 on `structuredContent` may be any JSON value, and the root of `outputSchema` anything; before, both were
objects (MCP 2025-11-25, Tools, "Structured Content"). So the value is put in an object, as its member `result`.
"""

import re
from collections.abc import Container, MutableSet

from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    close_text,
    open_array,
    open_object,
    open_text,
)

MAX_REMEMBERED = 10_000
"""Tools whose schemas were wrapped, remembered by name: no server has as many."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_WS = rb"[ \t\r\n]*+"
# A reference to a place in the same document (RFC 6901 §6), or a string to be skipped. It is found wherever it stands,
# also in what is data (`const`, `examples`), where nobody has been seen to write one.
_REFERENCE = re.compile(
    rb'(?P<key>"\$(?:ref|dynamicRef|recursiveRef)"' + _WS + rb":" + _WS + rb'"#)'
    rb'(?P<rest>(?:/[^"\\]*+(?:\\.[^"\\]*+)*+)?+")|' + _STRING,
    re.DOTALL,
)


def wrap_schemas(result: dict[str, bytes], wrapped: MutableSet[str]) -> None:
    """Change the result of `tools/list`; the names of tools with a wrapped schema go into `wrapped`."""
    tools = result.get("tools", b"")
    if b'"outputSchema"' not in tools and not wrapped:
        return
    if listed := open_array(tools):
        result["tools"] = close_array([_wrap_tool(tool, wrapped) for tool in listed])


def _wrap_tool(text: bytes, wrapped: MutableSet[str]) -> bytes:
    tool = open_object(text)
    name = open_text(tool.get("name", b""))
    schema = tool.get("outputSchema", b"")
    if not _is_wrapped(schema):
        wrapped.discard(name or "")
        return text
    if name and len(wrapped) < MAX_REMEMBERED:
        wrapped.add(name)
    tool["outputSchema"] = _wrap(schema)
    return close_object(tool)


def _is_wrapped(schema: bytes) -> bool:
    """Whether it is a schema, but not one of objects; `true` and `false` are schemas, too."""
    if schema.startswith(b"{"):
        return open_object(schema).get("type") != b'"object"'
    return schema in (b"true", b"false")


def _wrap(schema: bytes) -> bytes:
    """The schema of an object whose only member it is the schema of."""
    members = open_object(schema)
    # JSON Schema 2020-12 §8.1.1: the dialect is named at the root. §8.2.1: under an `$id`, places are counted from it.
    dialect = {name: members.pop(name) for name in ("$schema",) if name in members}
    inner = close_object(members) if dialect else schema
    if "$id" not in members:
        inner = _REFERENCE.sub(_moved, inner)
    outer = {"type": b'"object"', "properties": b'{"result":%b}' % inner, "required": b'["result"]'}
    return close_object({**dialect, **outer})


def _moved(match: re.Match[bytes]) -> bytes:
    if match["key"] is None:
        return match[0]
    return match["key"] + b"/properties/result" + match["rest"]


def wrap_output(result: dict[str, bytes], name: str | None, wrapped: Container[str]) -> None:
    """Change the result of `tools/call` of a tool: what is no object, or was promised within one, is put in one."""
    value = result.get("structuredContent")
    if value is None or (value.startswith(b"{") and name not in wrapped):
        return
    result["structuredContent"] = b'{"result":%b}' % value
    content = open_array(result.get("content", b""))
    if not any(open_object(block).get("type") == b'"text"' for block in content):
        # Of old the text says the same as the structure ("a tool that returns structured content SHOULD").
        text = close_text(value.decode(errors="replace"))
        result["content"] = close_array([*content, b'{"type":"text","text":%b}' % text])
