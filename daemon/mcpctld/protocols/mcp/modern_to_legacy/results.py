"""Results and errors of a legacy server, made into those of 2026-07-28.

MCP 2026-07-28, base protocol, "Responses" and "Error Codes"; Caching; MCP 2025-11-25, Tools, "execution".
"""

from mcpctld.protocols.jsonrpc import INTERNAL_ERROR
from mcpctld.protocols.mcp.methods import LISTS, PREFIX
from mcpctld.protocols.mcp.modern_to_legacy.requests import INVALID_PARAMS
from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    open_array,
    open_object,
    read_object,
)

RESOURCE_NOT_FOUND = -32002
URL_ELICITATION_REQUIRED = -32042
NOT_EMITTED = {RESOURCE_NOT_FOUND: INVALID_PARAMS, URL_ELICITATION_REQUIRED: INTERNAL_ERROR}
"""Codes that a server of 2026-07-28 MUST NOT answer, and what stands for them."""
UNCACHED = {"ttlMs": b"0", "cacheScope": b'"private"'}
"""A legacy server says nothing of caching, so nothing may be kept, and not shared."""
CACHED = frozenset({"server/discover", "resources/read", *LISTS})
"""Requests whose results must say whether they may be kept."""


def complete(method: str, result: bytes, server_info: bytes) -> bytes | None:
    """A result with what 2026-07-28 wants in each; None when it is not an object that can be read.

    All arguments are JSON text; `server_info` is empty when not known.
    """
    members = read_object(result)
    if members is None:
        return None
    if method == "tools/list" and b"taskSupport" in result:
        members["tools"] = _callable_tools(members.get("tools", b"[]"))
    return finish(method, members, server_info)


def finish(method: str, members: dict[str, bytes], server_info: bytes) -> bytes:
    """A complete result of these members."""
    members["resultType"] = b'"complete"'
    if method in CACHED:
        members.update(UNCACHED)
    if server_info:
        meta = open_object(members.get("_meta", b""))
        meta[f"{PREFIX}serverInfo"] = server_info
        members["_meta"] = close_object(meta)
    return close_object(members)


def input_required(questions: dict[str, bytes], handle: bytes, server_info: bytes) -> bytes:
    """A result that asks first (Multi Round-Trip Requests); all values are JSON text."""
    members = {
        "resultType": b'"input_required"',
        "inputRequests": close_object(questions),
        "requestState": handle,
    }
    if server_info:
        members["_meta"] = close_object({f"{PREFIX}serverInfo": server_info})
    return close_object(members)


def translate_error(error: bytes, code: int) -> bytes:
    """An error (JSON text) with a code that 2026-07-28 has."""
    if code not in NOT_EMITTED:
        return error
    return close_object({**open_object(error), "code": b"%d" % NOT_EMITTED[code]})


def _callable_tools(tools: bytes) -> bytes:
    """Without the tools that can only be called as tasks, which 2026-07-28 knows in another form only."""
    return close_array(tool for tool in open_array(tools) if not _needs_task(tool))


def _needs_task(tool: bytes) -> bool:
    execution = open_object(open_object(tool).get("execution", b""))
    return execution.get("taskSupport") == b'"required"'
