"""What is known of MCP's methods, revisions and reserved keys, over all revisions."""

PREFIX = "io.modelcontextprotocol/"
"""Of the reserved keys of `_meta` (MCP 2026-07-28, base protocol, "_meta")."""

MODERN = "2026-07-28"
"""The first revision without a handshake, and the only one so far."""
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The revisions with an `initialize` handshake, the oldest first."""

REPEATABLE = frozenset({
    "initialize", "ping", "server/discover", "tools/list", "prompts/list", "prompts/get", "resources/list",
    "resources/templates/list", "resources/read", "completion/complete", "logging/setLevel", "resources/subscribe",
    "resources/unsubscribe", "subscriptions/listen",
})  # fmt: skip
"""Requests that only read, or set what is set already: to make one again changes nothing."""

LASTING = frozenset({"subscriptions/listen"})
"""Requests whose answer goes on and on."""

ASKING = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests in whose course a server may ask the client something (MCP 2026-07-28, "Multi Round-Trip Requests")."""

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""The member of the result that is the list, by method."""

CACHEABLE = frozenset({"initialize", "server/discover", *LISTS})
"""Requests that may be answered from what the server said before (`resources/read` is left to the server)."""
