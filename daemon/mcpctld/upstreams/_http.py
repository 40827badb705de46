"""What the HTTP transports share: the endpoint with its headers and cookies."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookies import CookieError, Morsel, SimpleCookie
from urllib.parse import urljoin

from mcpctl import wire
from mcpctld.drivers.http.client import split_url
from mcpctld.drivers.http.connection import Exchange
from mcpctld.drivers.http.request import Request, ResponseHandler
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head, Headers
from mcpctld.upstreams._base import Context

USER_AGENT = f"mcpctl/{wire.VERSION}"
ACCEPT = (("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json"))
"""What a POST of Streamable HTTP carries (MCP, Transports, "Sending Messages to the Server")."""
MAX_COOKIES = 50
MAX_REDIRECTS = 3
"""In a row, for one request."""

MAX_WORD = 6
"""Words of a header's value not longer than this (`Bearer`, say) are no secrets."""

_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]+")  # RFC 9110 §5.5, with UTF-8 read as Latin-1
_VISIBLE = re.compile(r"[!-~]{1,1024}")


class Endpoint:
    """A URL with what goes along on every request to it: configured headers, the pinned machine, cookies."""

    def __init__(self, context: Context, url: str) -> None:
        self.url = url
        self.origin, self.target = split_url(url)
        self._http = context.http
        self._spec = context.spec
        self._patience_s = context.spec.connect_timeout_s
        self._cookies: dict[str, str] = {}
        self._seen = dict(self._spec.headers)
        self._fixed = self._fixed_headers()

    def _fixed_headers(self) -> tuple[tuple[str, str], ...]:
        headers = {"User-Agent": USER_AGENT}
        # On loopback the server would only burn time compressing; elsewhere bytes are what costs.
        if not self.origin.is_loopback:
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
        lasting: bool = False,
        renewable: bool = False,
    ) -> Exchange:
        """Send a request to this endpoint; `handler` hears the answer. The flags are those of `Request`."""
        if self._spec.headers != self._seen:  # a secret was set anew
            self._seen = dict(self._spec.headers)
            self._fixed = self._fixed_headers()
        all_headers = (*headers, *self._fixed, *self._cookie_header())
        lasting = lasting or method == "GET"  # every GET of ours is a stream
        request = Request(method, self.target, all_headers, body, repeatable, lasting, renewable)
        return self._http.submit(self.origin, request, handler, patience_s=self._patience_s)

    def redact(self, text: str) -> str:
        """A text of the server's without our credentials, should it repeat them."""
        for value in self._spec.headers.values():
            for word in value.split():
                if len(word) > MAX_WORD:
                    text = text.replace(word, "...")
        return text

    def remember_cookies(self, headers: Headers) -> None:
        """Keep what the server sets, in memory: load balancers stick a session to a machine with it."""
        for line in headers.get_all("set-cookie"):
            try:
                cookies = SimpleCookie(line)
            except CookieError:
                continue
            for name, morsel in cookies.items():
                self._keep(name, morsel.coded_value, expired=_is_expired(morsel))

    def _keep(self, name: str, value: str, *, expired: bool) -> None:
        self._cookies.pop(name, None)
        if not expired and len(self._cookies) < MAX_COOKIES:
            self._cookies[name] = value

    def _cookie_header(self) -> tuple[tuple[str, str], ...]:
        if not self._cookies:
            return ()
        return (("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())),)

    def follow(self, head: Head, asked: str) -> bool:
        """From now on use the URL that a 307 or 308 to the URL `asked` names, if it is of the same origin.

        True when it was one; who asks again counts (`MAX_REDIRECTS`). Credentials never go elsewhere.
        """
        location = head.headers.get("location")
        return head.status in (307, 308) and bool(location) and self.move(asked, location or "")

    def move(self, base: str, reference: str) -> bool:
        """From now on use another URL of the same origin, given relative to `base`. False when it is none."""
        try:
            url = urljoin(base, reference)
            origin, target = split_url(url)
        except (McpctlError, ValueError):
            return False
        if origin != self.origin:
            return False
        self.url, self.target = url, target
        return True


def _is_expired(morsel: Morsel[str]) -> bool:
    """Whether a `Set-Cookie` says that the cookie is to be forgotten (RFC 6265 §5.2)."""
    if age := morsel["max-age"]:
        return not str(age).isdigit() or int(age) == 0
    try:
        return bool(morsel["expires"]) and parsedate_to_datetime(morsel["expires"]) <= datetime.now(
            UTC
        )
    except (ValueError, TypeError):
        return False


def header_text(text: str | None) -> str | None:
    """A text that the server chose, as the value of a header of ours (in UTF-8); None when none can carry it."""
    carried = (text or "").encode("utf-8", "replace").decode("latin-1")
    return carried if _HEADER_VALUE.fullmatch(carried) else None


def visible_text(text: str | None) -> str | None:
    """The same for what must be visible ASCII, as session ids must be (MCP, "Session Management")."""
    return text if text and _VISIBLE.fullmatch(text) else None
