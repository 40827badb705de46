"""What a server means that answers an HTTP request with something else than MCP, and what the user may do about it."""

from typing import NamedTuple

from mcpctld.errors import Conflict, Denied, McpctlError, NotFound, PeerError, TimedOut, Unreachable
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import Kind, Malformed, Message, one_line, parse
from mcpctld.upstreams._http import Endpoint

MAX_ERROR_BODY = 64 * 1024
"""More of a refusal is not read."""
MAX_QUOTED = 200
PATH_ADVICE = "check the path (often /mcp or /sse)"


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
    return message if isinstance(message, Message) and message.kind is Kind.ERROR else None


def explain(refusal: Refusal, server: str, endpoint: Endpoint) -> McpctlError:
    """What it means to the user, and what to do about it."""
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
    if media_type(refusal.head) not in (
        "text/plain",
        "application/json",
        "application/problem+json",
        "",
    ):
        return ""
    text = " ".join(refusal.body[: 4 * MAX_QUOTED].decode("utf-8", "replace").split())
    text = "".join(char for char in endpoint.redact(text) if char.isprintable())
    return f" ({text[:MAX_QUOTED]})" if text else ""
