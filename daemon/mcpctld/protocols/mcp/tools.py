"""What calls need to know of a tool, read from `tools/list`: its parameter headers, and whether it may be repeated.

MCP 2026-07-28, Transports, "Custom Headers from Tool Parameters"; MCP, Tools, "Tool Annotations".
"""

import msgspec


class ToolFacts(msgspec.Struct, frozen=True):
    """Of one tool."""

    headers: dict[str, list[str]] = {}
    """The path of the argument (names of properties from the root on) by the name after `Mcp-Param-`."""
    repeatable: bool = False
    """The server calls it read-only or idempotent: a call that may have got lost can be made again."""
