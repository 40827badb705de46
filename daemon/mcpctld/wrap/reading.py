"""What a request says, before anybody acts on it."""

from urllib.parse import parse_qs

from mcpctld.drivers.http.server import Reply, Request
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, parse
from mcpctld.protocols.mcp.objects import open_text
from mcpctld.protocols.mcp.paths import value_at
from mcpctld.wrap import answers
from mcpctld.wrap.answers import SESSION

FLY_PROXY = "mcp-bridge-client"
"""As `fly mcp proxy` calls itself when it hands lines on."""
EVENTS_TYPE, JSON_TYPE = "text/event-stream", "application/json"


def version(request: Request) -> str | None:
    """`MCP-Protocol-Version`."""
    return request.headers.get("mcp-protocol-version")


def session_id(request: Request) -> str | None:
    """Of the header, or of the query with which HTTP+SSE names a session."""
    id = request.headers.get(SESSION)
    if id is None and "sessionId=" in request.query:
        id = parse_qs(request.query).get("sessionId", [None])[0]
    return id


def request_state(message: Message) -> str | None:
    """What the answer to a question names it by (2026-07-28, "Multi Round-Trip Requests")."""
    if b"requestState" not in message.raw:
        return None
    return open_text(value_at(message.params, ("requestState",)))


def speaks_fly(request: Request, accept: str) -> bool:
    """Whether a POST comes from `fly mcp proxy`, or from a curl like that of Fly's guide.

    Every client of Streamable HTTP says that it takes JSON and events (MUST, 2025-03-26 on). So does `fly mcp proxy`,
    whose name is all that tells it from one; in its other modes it goes by another name.
    """
    if request.headers.get(SESSION) is not None or version(request) is not None:
        return False
    if request.headers.get("user-agent") == FLY_PROXY:
        return True
    said = accept.lower()
    return EVENTS_TYPE not in said and JSON_TYPE not in said


def read_message(request: Request, reply: Reply) -> Message | Batch | None:
    """The body as a message; None when that was refused."""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        reason = f"the body is {kind or 'of no type'}, and should be {JSON_TYPE}"
        answers.refuse(reply, 415, answers.INVALID_REQUEST, reason)
        return None
    revision = version(request)
    try:
        message = parse(request.body.strip())
    except Malformed as exc:
        answers.refuse(reply, 400, exc.code, exc.reason, id=exc.id)
        return None
    if isinstance(message, Batch) and revision not in (None, "2025-03-26"):
        answers.refuse(reply, 400, answers.INVALID_REQUEST, f"MCP {revision} has no batches")
        return None
    return message
