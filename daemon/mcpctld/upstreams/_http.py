"""What the HTTP transports share: the endpoint with its headers and cookies, and what a refusal means."""

from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import urljoin

from mcpctl import wire
from mcpctld.drivers.http.client import split_url
from mcpctld.drivers.http.connection import Exchange
from mcpctld.drivers.http.request import Origin, Request, ResponseHandler
from mcpctld.errors import Conflict, Denied, McpctlError, NotFound, PeerError, Unreachable
from mcpctld.protocols.http1 import Head, Headers
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, parse
from mcpctld.upstreams._base import Context

USER_AGENT = f"mcpctl/{wire.VERSION}"
MAX_COOKIES = 50
MAX_ERROR_BODY = 64 * 1024
MAX_REDIRECTS = 3


class Refusal(NamedTuple):
    """An answer with a status that is not a success, and the beginning of its body."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.head.status


class Endpoint:
    """A URL with what goes along on every request to it: configured headers, the pinned machine, cookies."""

    def __init__(self, context: Context, url: str) -> None:
        self.url = url
        self.origin, self.target = split_url(url)
        self._http = context.http
        self._spec = context.spec
        self._patience_s = context.spec.connect_timeout_s
        self._cookies: dict[str, str] = {}
        self._fixed = self._fixed_headers()

    def _fixed_headers(self) -> tuple[tuple[str, str], ...]:
        headers = {"User-Agent": USER_AGENT}
        # On loopback the server would only burn time compressing; elsewhere bytes are what costs.
        if not _is_loopback(self.origin):
            headers["Accept-Encoding"] = "gzip, deflate"
        if self._spec.instance:
            headers["Fly-Force-Instance-Id"] = self._spec.instance
        own = {name.lower() for name in self._spec.headers}
        kept = [(name, value) for name, value in headers.items() if name.lower() not in own]
        return (*kept, *self._spec.headers.items())

    def submit(
        self,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None,
        handler: ResponseHandler,
        *,
        repeatable: bool = False,
    ) -> Exchange:
        """Send a request to this endpoint; `handler` hears the answer."""
        all_headers = (*headers, *self._fixed, *self._cookie_header())
        request = Request(method, self.target, all_headers, body, repeatable)
        return self._http.submit(self.origin, request, handler, patience_s=self._patience_s)

    def remember_cookies(self, headers: Headers) -> None:
        """Keep what the server sets, in memory: load balancers stick a session to a machine with it."""
        for line in headers.get_all("set-cookie"):
            try:
                cookies = SimpleCookie(line)
            except CookieError:
                continue
            for name, morsel in cookies.items():
                self._keep(name, morsel.coded_value, expired=morsel["max-age"] in ("0", 0))

    def _keep(self, name: str, value: str, *, expired: bool) -> None:
        self._cookies.pop(name, None)
        if not expired and len(self._cookies) < MAX_COOKIES:
            self._cookies[name] = value

    def _cookie_header(self) -> tuple[tuple[str, str], ...]:
        if not self._cookies:
            return ()
        return (("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())),)

    def redirect(self, head: Head) -> bool:
        """Follow a 307 or 308 within the same origin; credentials never go elsewhere. True when it was one."""
        location = head.headers.get("location")
        if head.status not in (307, 308) or not location:
            return False
        url = urljoin(self.url, location)
        try:
            origin, target = split_url(url)
        except McpctlError:
            return False
        if origin != self.origin or target == self.target:
            return False
        self.url, self.target = url, target
        return True


def _is_loopback(origin: Origin) -> bool:
    return origin.host in ("localhost", "::1") or origin.host.startswith("127.")


def media_type(head: Head) -> str:
    """The `Content-Type` without its parameters, lower case."""
    return (head.headers.get("content-type") or "").partition(";")[0].strip().lower()


def json_rpc_error(body: bytes) -> Message | None:
    """The JSON-RPC error that a body is, if it is one."""
    try:
        message = parse(body)
    except Malformed:
        return None
    return message if not isinstance(message, Batch) and message.error else None


def explain(refusal: Refusal, server: str, url: str) -> McpctlError:
    """What a refusal means to the user, and what to do about it."""
    status = refusal.status
    said = _quote(refusal)
    if status in (401, 407):
        return Denied(
            f"{server} wants credentials: {url} answered {status}{said}; "
            f"give them with: mcpctl add --replace --server {server} --url {url} --bearer-token"
        )
    if status == 403:
        return Denied(
            f"{server} refused us: {url} answered 403{said}; check the token and its rights"
        )
    if status in (301, 302, 303, 307, 308):
        location = refusal.head.headers.get("location") or "nowhere"
        return PeerError(f"{url} redirects to {location}; use that URL if you trust it")
    if status == 409:
        return Conflict(f"{url} answered 409{said}; another client holds it")
    if status >= 500:
        return Unreachable(f"{server} failed: {url} answered {status}{said}")
    if media_type(refusal.head) == "text/html" or status in (404, 405):
        return NotFound(
            f"no MCP server at {url}: it answered {status}{said}; check the path (often /mcp or /sse)"
        )
    return PeerError(f"{server} refused the message: {url} answered {status}{said}")


def not_mcp(head: Head, server: str, url: str) -> McpctlError:
    """What a success with a body of the wrong kind means."""
    kind = media_type(head) or "no content type"
    if kind == "text/html":
        return PeerError(
            f"{url} answered with a web page, not MCP; check the path (often /mcp or /sse)"
        )
    return PeerError(f"{server} answered {head.status} with {kind}, not MCP: {url}")


def _quote(refusal: Refusal) -> str:
    """A short piece of a text body; markup and control characters are left out."""
    if media_type(refusal.head) not in ("text/plain", "application/json", ""):
        return ""
    text = " ".join(refusal.body[:400].decode("utf-8", "replace").split())
    return f" ({''.join(char for char in text if char.isprintable())[:200]})" if text else ""
