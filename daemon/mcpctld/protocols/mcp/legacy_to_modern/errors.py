"""The server's errors, for a client that does not know the codes of 2026-07-28.

MCP 2026-07-28, base protocol, "Error Codes".
"""

from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.jsonrpc import Message, read_error
from mcpctld.protocols.mcp.eras import MODERN_CODES
from mcpctld.protocols.mcp.objects import open_object, read_part

INVALID_PARAMS = -32602
MISSING_CAPABILITY = -32021
MAX_SHOWN = 200
"""Characters of the server's text that our own carries."""


def foreign_error(answer: Message, method: str) -> McpctlError | None:
    """What to say instead of the server's error; None if the client understands it as it is.

    A client that has negotiated revision and capabilities once cannot do anything about codes that speak of them.
    """
    error = read_part(answer, "error")
    if not error.startswith(b"{"):
        return PeerError(f"the server answered {method} with an error that is not an object")
    code, text = read_error(answer)
    if code == MISSING_CAPABILITY:
        missing = ", ".join(filter(str.isprintable, _required(error))) or text
        return PeerError(f"{method} needs what this client does not offer: {missing[:MAX_SHOWN]}")
    if code in MODERN_CODES:
        return PeerError(f"the server refused the form of {method}: {text[:MAX_SHOWN]}")
    return None


def _required(error: bytes) -> dict[str, bytes]:
    data = open_object(open_object(error).get("data", b""))
    return open_object(data.get("requiredCapabilities", b""))
