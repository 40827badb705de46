"""What the front answers by itself: JSON-RPC errors with the HTTP status that goes with them."""

from mcpctld.drivers.http.server import Reply
from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import INTERNAL_ERROR, error_line
from mcpctld.wrap.children import Busy

Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("Content-Type", "application/json"),)
EVENTS: Headers = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),  # nginx would keep events back (MCP 2026-07-28, Transports)
)
TEXT: Headers = (("Content-Type", "text/plain; charset=utf-8"),)

RETRY_AFTER_S = 5
RETRY: Headers = (*JSON, ("Retry-After", str(RETRY_AFTER_S)))
"""Of an answer that says: not now."""

SESSION = "Mcp-Session-Id"
SERVER_ERROR = -32000
SESSION_NOT_FOUND = -32001
INVALID_REQUEST = -32600


def refuse(
    reply: Reply,
    status: int,
    code: int,
    reason: str,
    *,
    id: bytes = b"null",
    headers: Headers = (),
    data: dict[str, object] | None = None,
) -> None:
    """Answer with an error; `id` is raw JSON."""
    reply.send(status, (*head_of(status), *headers), error_line(id, code, reason, data))


def failure_line(id: bytes, error: McpctlError) -> bytes:
    """The error that a request gets in place of the server's answer."""
    data: dict[str, object] = {"source": "mcpctl", "kind": error.kind, **error.rpc_data}
    return error_line(id, error.rpc_code or INTERNAL_ERROR, f"mcpctl: {error}", data)


def failure_status(error: McpctlError) -> int:
    """The HTTP status of it, when nothing else was said yet."""
    return 503 if isinstance(error, Busy) else 200


def head_of(status: int) -> Headers:
    """What stands above an answer in one piece."""
    return RETRY if status == 503 else JSON


def retry_later(reply: Reply, reason: str) -> None:
    """Answer that this is not the moment. Not as a JSON-RPC error: a client would take it for the server's answer."""
    text = f"mcpctl: {reason}; try again later\n".encode()
    reply.send(503, (*TEXT, ("Retry-After", str(RETRY_AFTER_S))), text)
