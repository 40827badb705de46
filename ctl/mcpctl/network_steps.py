"""The steps of `mcpctl doctor` between here and an HTTP server: its name, TCP, TLS, HTTP.

What is found wrong is a finding, never an exception; no text shows more of the URL than its host and port.
"""

import http.client
import ipaddress
import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from mcpctl import reaching, shapes
from mcpctl.findings import Finding, found
from mcpctl.reaching import Target

ENDS_SOON_DAYS = 14
EVENTS = "text/event-stream"


# ---------------------------------------------------------------- its name


class Name(NamedTuple):
    """What the host's name leads to."""

    finding: Finding
    addresses: list[str]
    """None at all when the next steps are left to the daemon."""


def name(at: Target, tunnels: Sequence[shapes.TunnelInfo]) -> Name:
    """Look the host up, unless a tunnel or a proxy leads there."""
    tunnel = next((one for one in tunnels if leads_to(one["hosts"], at.host)), None)
    if tunnel is not None:
        return Name(_through(at, tunnel), [])
    if reaching.is_proxied(at):
        text = f"{at.authority} is reached through the proxy of the environment"
        return Name(found("name", "ok", text), [])
    try:
        addresses = reaching.within(lambda: reaching.resolve(at))
    except (OSError, UnicodeError) as exc:
        return Name(found("name", "problem", _unknown(at, exc)), [])
    return Name(found("name", "ok", f"{at.host} is {', '.join(addresses)}"), addresses)


def leads_to(patterns: Sequence[str], host: str) -> bool:
    """Whether one of a tunnel's `hosts` covers a host: a name, `*.SUFFIX`, an address, or a network of them."""
    return any(_covers(pattern, host.lower().rstrip(".")) for pattern in patterns)


def _covers(pattern: str, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return fnmatchcase(host, pattern.lower())
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _through(at: Target, tunnel: shapes.TunnelInfo) -> Finding:
    text = f"{at.host} is reached through tunnel {tunnel['name']}, which is {tunnel['state']}"
    if tunnel["state"] != "up" and tunnel["last_error"]:
        advice = f"try: mcpctl tunnels probe {tunnel['name']}"
        return found("name", "warning", f"{text}: {tunnel['last_error']}; {advice}")
    return found("name", "ok", text)


def _unknown(at: Target, exc: Exception) -> str:
    advice = "check the URL, and the network"
    if at.host.rstrip(".").endswith((".internal", ".flycast")):
        advice = "it is in a private network: docs/tunnels.md says how to reach it"
    return f"cannot look up {at.host}: {_reason(exc)}; {advice}"


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return str(exc.verify_message)
    if isinstance(exc, ssl.SSLError):
        return str(exc.reason or exc).replace("_", " ").lower()
    if isinstance(exc, OSError):
        return exc.strerror or str(exc)[:200] or type(exc).__name__
    if isinstance(exc, ValueError | http.client.InvalidURL):  # their texts quote the URL
        return "the URL cannot be used as it stands"
    return str(exc)[:200] or type(exc).__name__


# ---------------------------------------------------------------- TCP, TLS, HTTP


class Layers:
    """What is found at each layer; `broken` when the way ends there."""

    def __init__(self, at: Target, addresses: list[str]) -> None:
        self.broken = False
        self.reply: reaching.Reply | None = None
        self._at = at
        self._addresses = addresses

    def findings(self) -> Iterator[Finding]:
        """One after the other, as far as it goes."""
        yield self._try("tcp", self._tcp, "is the server running?")
        if not self.broken and self._at.scheme == "https":
            yield self._try("tls", self._tls, "clients refuse it, too")
        if not self.broken:
            yield self._try("http", self._http, "is that an HTTP server?")
        if not self.broken and (health := self._health()):
            yield health

    def _try(self, step: str, check: Callable[[], Finding], advice: str) -> Finding:
        try:
            return reaching.within(check)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            self.broken = True
            where = f"{self._at.host}:{self._at.port}"
            return found(step, "problem", f"{where}: {_reason(exc)}; {advice}")

    def _tcp(self) -> Finding:
        begun = time.monotonic()
        with reaching.connect(self._at, self._addresses) as connection:
            took = 1000 * (time.monotonic() - begun)
            where = connection.getpeername()[0]
        return found("tcp", "ok", f"{where} port {self._at.port} answers in {took:.0f} ms")

    def _tls(self) -> Finding:
        plain = reaching.connect(self._at, self._addresses)
        with reaching.secure(self._at, plain) as secured:
            return certificate(reaching.days_left(secured))

    def _http(self) -> Finding:
        self.reply = reaching.get(self._at, self._addresses, self._at.path, EVENTS)
        return page(self.reply)

    def _health(self) -> Finding | None:
        """None for servers that have no such thing."""
        try:
            accept = "application/json"
            reply = reaching.within(
                lambda: reaching.get(self._at, self._addresses, "/health", accept)
            )
        except (OSError, ValueError, http.client.HTTPException):
            return None
        return health(reply)


def certificate(days: float) -> Finding:
    """What to say of one that is valid for so many days more."""
    text = f"the certificate is good, for {int(days)} days more"
    if days < ENDS_SOON_DAYS:
        return found("tls", "warning", f"{text}; renew it")
    return found("tls", "ok", text)


def page(reply: reaching.Reply) -> Finding:
    """What an answer to a GET without credentials and without a session means."""
    status = reply.status
    said = f"GET without credentials is answered with {status}"
    if 300 <= status < 400:
        to = _host_of(reply.location)
        return found(
            "http", "problem", f"{said}, which leads to {to}; use that URL if you trust it"
        )
    if status < 300 and reply.media_type == "text/html":
        text = "a page for people is there, and no MCP server; check the path (often /mcp or /sse)"
        return found("http", "problem", text)
    if status == 404:
        return found("http", "warning", f"{said}; check the path (often /mcp or /sse)")
    if status >= 500:
        text = f"{said}: the server, or a proxy before it, is in trouble; see its log"
        return found("http", "warning" if status == 501 else "problem", text)
    meaning = {401: ": it wants credentials", 403: ": it lets nobody in like that"}.get(status, "")
    return found("http", "ok", said + meaning)


def _host_of(location: str) -> str:
    """Of a redirect's goal only what can hold no secret."""
    try:
        return f"{(at := reaching.target(location)).scheme}://{at.authority}"
    except ValueError:
        return "another path there"


def health(reply: reaching.Reply) -> Finding | None:
    """What `mcpctl wrap` says of itself at `/health`; None when that is somebody else."""
    try:
        said = json.loads(reply.body or b"null")
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("status") not in ("ready", "unready"):
        return None
    if said["status"] == "ready":
        return found("health", "ok", "mcpctl wrap is there, and its server answers")
    text = f"mcpctl wrap is there, and its server is not ready: {str(said.get('reason'))[:300]}"
    return found("health", "problem", f"{text}; see its log")
