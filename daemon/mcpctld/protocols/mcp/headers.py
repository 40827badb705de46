"""The standard request headers of Streamable HTTP (MCP 2026-07-28, Transports, "Standard Request Headers").

Which era a request belongs to stands in the request itself: from 2026-07-28 on, `params._meta` names the revision.
"""

import base64
import re

from mcpctld.protocols.jsonrpc import Kind, Message, Params, read_params

VERSION_KEY = b"io.modelcontextprotocol/protocolVersion"
NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "task_id",
    "tasks/update": "task_id",
    "tasks/cancel": "task_id",
}
"""What `Mcp-Name` repeats, by method."""

_PLAIN = re.compile(r"(?![ \t])[\x20-\x7e]*(?<![ \t])")
_SENTINEL = re.compile(r"=\?base64\?.*\?=", re.DOTALL)


def modern_params(message: Message) -> Params | None:
    """The parameters of a message that carries its own revision (2026-07-28 on); None for every other.

    `initialize` belongs to the older revisions whatever it carries.
    """
    if VERSION_KEY not in message.raw or message.method in ("", "initialize"):
        return None
    params = read_params(message)
    return params if params.protocol_version is not None else None


def standard_headers(message: Message, params: Params | None) -> tuple[tuple[str, str], ...]:
    """The headers of one POST; `params` is what `modern_params` said of the message.

    `Mcp-Method` goes on requests of every era: older servers ignore it, and what routes by it sees all.
    """
    if message.kind is not Kind.REQUEST and params is None:
        return ()
    headers = [("Mcp-Method", encode_value(message.method))]
    if params is not None:
        headers.append(("MCP-Protocol-Version", encode_value(params.protocol_version or "")))
        name = getattr(params, NAMED_BY.get(message.method, ""), None)
        if name is not None:
            headers.append(("Mcp-Name", encode_value(name)))
    return tuple(headers)


def encode_value(value: str) -> str:
    """A string as a header value; what a header cannot hold is wrapped in base64 (2026-07-28, "Value Encoding")."""
    if _PLAIN.fullmatch(value) and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="
