"""What a server means that answers an HTTP request with something else than MCP, and what the user may do about it."""

import re
from typing import NamedTuple

from mcpctld.errors import (
    Conflict,
    Denied,
    McpctlError,
    NotFound,
    PeerError,
    SessionLost,
    TimedOut,
    Unreachable,
)
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, one_line, parse, read_error
from mcpctld.protocols.mcp.eras import METHOD_NOT_FOUND, MODERN_CODES
from mcpctld.upstreams._base import Downstream
from mcpctld.upstreams._http import Endpoint

MAX_ERROR_BODY = 64 * 1024
"""More of a refusal is not read."""
MAX_QUOTED = 200
PATH_ADVICE = "check the path (often /mcp or /sse)"

OF_A_PROXY = frozenset({502, 503, 504})
"""Statuses that as a rule come from something in front of the server, while that is away: maybe for good."""
ABOUT_THE_MESSAGE = MODERN_CODES | {-32700, METHOD_NOT_FOUND, -32602}
"""JSON-RPC errors that find fault with one message, whatever words they use."""
_OF_SESSIONS = re.compile(r"\bsession|\bnot (?:been |yet )*initiali[sz]ed", re.IGNORECASE)


class Refusal(NamedTuple):
    """An answer that is not the one asked for, and the beginning of its body."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.head.status


def media_type(head: Head) -> str:
    """The `Content-Type` without its parameters, lower case."""
    return (head.headers.get("content-type") or "").partition(";")[0].strip().lower()


def json_rpc_error(refusal: Refusal) -> Message | None:
    """The JSON-RPC error that its body is, on one line, if it is one."""
    try:
        message = parse(one_line(refusal.body))
    except Malformed:
        return None
    if not isinstance(message, Message) or message.kind is not Kind.ERROR:
        return None
    return message if message.error.startswith(b"{") else None  # `{"error": "…"}` is no JSON-RPC


def is_evidence(message: Message | Batch, refusal: Refusal, downstream: Downstream) -> bool:
    """Whether the layers above make something else of the refusal of a request: then it is not for us to answer."""
    if isinstance(message, Batch) or message.kind is not Kind.REQUEST:
        return False
    if refusal.status < 400 or refusal.status == 401:
        return False
    return downstream.evidence(message, refusal.status, json_rpc_error(refusal))


def explain_loss(
    refusal: Refusal, server: str, endpoint: Endpoint, *, named: bool
) -> SessionLost | None:
    """Why the session is lost, if that is what the refusal of a message in it says; then the message was not read.

    `named`: the session has an id. Without one there is nothing that a server could have forgotten, unless it says so.
    """
    if not _tells_loss(refusal, named=named):
        return None
    said = f"{endpoint.url} answered {refusal.status}{_quote(refusal, endpoint)}"
    return SessionLost(
        f"{server} does not know the session any more: {said}; start the client again"
    )


def _tells_loss(refusal: Refusal, *, named: bool) -> bool:
    """404 is the rule (MUST); the rest is what servers and gateways in use answer instead."""
    if refusal.status not in (400, 404, 409, 503):
        return False
    error = json_rpc_error(refusal)
    code, text = read_error(error) if error is not None else (0, _text(refusal))
    if refusal.status == 404 and named:
        return code != METHOD_NOT_FOUND
    if code in ABOUT_THE_MESSAGE:
        return False
    bare = refusal.status == 409 or (refusal.status == 400 and error is None)
    return (bare and named) or _OF_SESSIONS.search(text) is not None


def explain(refusal: Refusal, server: str, endpoint: Endpoint) -> McpctlError:
    """What it means to the user, and what to do about it."""
    error = _explain(refusal, server, endpoint)
    # RFC 6585 §4 and RFC 9110 §15.6.4: the load is refused, and by saying when to come again not an outage told.
    error.unprocessed = refusal.status == 429 or (
        refusal.status == 503 and refusal.head.headers.get("retry-after") is not None
    )
    return error


def _explain(refusal: Refusal, server: str, endpoint: Endpoint) -> McpctlError:
    status, url = refusal.status, endpoint.url
    if status < 300:
        return _not_mcp(refusal, server, url)
    said = f"{url} answered {status}{_quote(refusal, endpoint)}"
    if status < 400:
        location = refusal.head.headers.get("location") or "nowhere"
        return PeerError(f"{said} and redirects to {location}; use that URL if you trust it")
    if status in (404, 405) or (status < 500 and media_type(refusal.head) == "text/html"):
        return NotFound(f"no MCP server there: {said}; {PATH_ADVICE}")
    kind, text = _MEANINGS.get(status, (Unreachable if status >= 500 else PeerError, ""))
    text = text or (
        "{server} failed: {said}" if status >= 500 else "{server} refused the message: {said}"
    )
    return kind(text.format(server=server, said=said, url=url))


_CREDENTIALS = (
    "{server} wants credentials: {said}; "
    "give them with: mcpctl add --replace --server {server} --url {url} --bearer-token"
)
_MEANINGS: dict[int, tuple[type[McpctlError], str]] = {
    401: (Denied, _CREDENTIALS),
    403: (Denied, "{server} refused us: {said}; check the token and its rights"),
    407: (Denied, "the proxy wants credentials: {said}; put them into the proxy's URL"),
    408: (TimedOut, "{server} did not wait for the message: {said}; try again"),
    409: (Conflict, "{said}; another client holds it"),
    413: (PeerError, "{server} finds the message too long: {said}"),
    429: (Unreachable, "{server} has too many requests: {said}; try again later"),
    503: (Unreachable, "{server} is not available: {said}; try again later"),
    504: (TimedOut, "{server} did not answer in time: {said}"),
}


def _not_mcp(refusal: Refusal, server: str, url: str) -> McpctlError:
    """A success without the answer in it."""
    kind, status = media_type(refusal.head), refusal.status
    if kind == "text/html":
        return PeerError(f"{url} answered with a web page, not MCP; {PATH_ADVICE}")
    if not refusal.body.strip():
        return PeerError(f"{server} answered {status} without the response: {url}; {PATH_ADVICE}")
    if kind == "application/json":
        return PeerError(f"{server} answered {status} with something else than the response: {url}")
    return PeerError(f"{server} answered {status} with {kind or 'no content type'}, not MCP: {url}")


def _quote(refusal: Refusal, endpoint: Endpoint) -> str:
    """A short piece of a text body, without markup, control characters and what we sent ourselves."""
    text = "".join(char for char in endpoint.redact(_text(refusal)) if char.isprintable())
    return f" ({text[:MAX_QUOTED]})" if text else ""


def _text(refusal: Refusal) -> str:
    """The beginning of a text body; `""` for any other."""
    if media_type(refusal.head) not in (
        "text/plain",
        "application/json",
        "application/problem+json",
        "",
    ):
        return ""
    return " ".join(refusal.body[: 4 * MAX_QUOTED].decode("utf-8", "replace").split())
