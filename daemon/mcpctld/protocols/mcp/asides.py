"""Requests of our own to a server of 2026-07-28, made for several clients or between two requests of one.

Each must say what the client says of itself (MCP 2026-07-28, base protocol, "_meta").
"""

from collections.abc import Mapping

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.methods import PREFIX
from mcpctld.protocols.mcp.objects import close_object, close_text, open_object

Envelope = Mapping[str, bytes]
"""Members of `params._meta` as JSON text."""

_OWN = tuple(f"{PREFIX}{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo"))


def envelope_of(params: bytes) -> Envelope:
    """What a request says of its client; not what belongs to it alone (progress, logs, tracing)."""
    meta = open_object(open_object(params).get("_meta", b""))
    return {name: meta[name] for name in _OWN if name in meta}


def make_request(id: bytes, method: str, envelope: Envelope, members: Envelope) -> Message:
    """A request; `id` and the `members` of its params are JSON text."""
    params = close_object({"_meta": close_object(envelope), **members})
    text = b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (id, close_text(method), params)
    message = parse(text)
    assert isinstance(message, Message)
    return message
