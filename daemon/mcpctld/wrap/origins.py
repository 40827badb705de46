"""Which names we answer to, and which web pages may speak to us (DNS rebinding, CORS).

A web page may send requests to any address that the browser reaches, a server on loopback included.
`Origin` tells which page it is. A page whose own name is made to point at us (DNS rebinding) counts
as the same origin for its browser, but the name it used stands in `Host`.

On loopback `Host` must therefore be a name of this machine, or one that was allowed. Elsewhere any
name will do unless some are listed: behind proxies and custom domains we cannot know our names, and
credentials protect us, which a page under a foreign name does not have. Where there are none because
the network is private, the browser of somebody on that network could be used; there names count that
nobody outside can point at us: literal addresses, `.internal`, `.flycast`.
"""

import re

from mcpctld.config.check import split_url
from mcpctld.protocols.http1 import Headers
from mcpctld.wrap.callers import parse_address
from mcpctld.wrap.options import Options
from mcpctld.wrap.verdicts import Fields, Refusal, refuse

MAX_AGE_S = 600
"""How long a browser remembers what it was allowed."""

EXPOSED = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After"
"""What the code of a page may read of an answer."""

METHODS = "GET, POST, DELETE, OPTIONS"
HEADERS = "Authorization, Content-Type, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID"
"""Allowed where a browser does not say what it wants to send."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/?#@,\s]+)(?::([0-9]{1,5})?)?")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)")  # RFC 6454 §6.2
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: *, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_PORTS = {"http": 80, "https": 443}
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PRIVATE_SUFFIXES = (".internal", ".flycast")

_NO_HOST = "the request does not say in one Host header whom it is for (RFC 9112 §3.2)"

Authority = tuple[str, int | None]
"""A host in lower case, IPv6 in brackets; and a port, None where none is named."""


class Origins:
    """The rules of one server. What was allowed last is remembered: clients repeat themselves."""

    def __init__(self, options: Options) -> None:
        self._on_loopback = options.on_loopback
        self._is_guarded = options.is_guarded
        self._any_origin = "*" in options.allowed_origins
        self._origins = frozenset(options.allowed_origins)
        self._hosts = _known_hosts(options)
        self._is_strict = "*" not in options.allowed_hosts and (
            options.on_loopback
            or bool(options.allowed_hosts)
            or (options.private and not options.is_guarded)
        )
        self._takes_private_names = not options.on_loopback and not options.allowed_hosts
        self._allowed: tuple[object, ...] | None = None

    def check(self, headers: Headers, *, forwarded: bool) -> Refusal | None:
        """None when `Host` and `Origin` are fine. `forwarded`: `X-Forwarded-*` may be believed."""
        host, origin = headers.get("host"), headers.get("origin")
        via = _last(headers.get("x-forwarded-host")) if forwarded else None
        scheme = _last(headers.get("x-forwarded-proto")) if forwarded else None
        asked = (host, origin, via, scheme)
        if asked == self._allowed:
            return None
        refusal = self._check_hosts(host, via) or self._check_origin(*asked)
        if refusal is None:
            self._allowed = asked
        return refusal

    def cors(self, origin: str | None) -> Fields:
        """What an answer needs for a page of another origin to read it; empty when it may not."""
        if origin is None or not self._may_cross(origin.lower()):
            return ()
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", EXPOSED),
            ("Vary", "Origin"),
        )

    def preflight(self, headers: Headers) -> Refusal | None:
        """The answer to a browser that asks beforehand (Fetch §4.8); None for any other request."""
        if headers.get("origin") is None or headers.get("access-control-request-method") is None:
            return None
        wanted = headers.get("access-control-request-headers") or ""
        allowed = [
            ("Access-Control-Allow-Methods", METHODS),
            # Echoed, for `Mcp-Param-*` has no end, and `*` does not stand for Authorization.
            ("Access-Control-Allow-Headers", wanted if _NAMES.fullmatch(wanted) else HEADERS),
            ("Access-Control-Max-Age", str(MAX_AGE_S)),
        ]
        if headers.get("access-control-request-private-network") == "true":
            allowed.append(("Access-Control-Allow-Private-Network", "true"))
        cors = self.cors(headers.get("origin"))
        return Refusal(204, (*cors, *allowed) if cors else ())

    # ------------------------------------------------------------ names

    def _check_hosts(self, host: str | None, via: str | None) -> Refusal | None:
        if host is None and self._is_strict:
            return refuse(400, _NO_HOST)
        for text in (host, via):
            if text is not None and (refusal := self._check_host(text)):
                return refusal
        return None

    def _check_host(self, text: str) -> Refusal | None:
        authority = parse_authority(text)
        if authority is None:
            return refuse(400, _NO_HOST)
        if self._is_strict and not self._is_ours(authority):
            return refuse(403, _foreign_host(authority[0]))
        return None

    def _is_ours(self, authority: Authority) -> bool:
        return self._is_known(authority) or (
            self._takes_private_names and _is_private_name(authority[0])
        )

    def _is_known(self, authority: Authority) -> bool:
        return authority in self._hosts or (authority[0], None) in self._hosts

    # ------------------------------------------------------------ origins

    def _check_origin(
        self, host: str | None, origin: str | None, via: str | None, scheme: str | None
    ) -> Refusal | None:
        if origin is None or self._may_cross(origin.lower()):
            return None
        for authority in (host, via):
            if authority is not None and self._is_same(origin.lower(), authority, scheme):
                return None
        return refuse(
            403,
            "this web page may not use the server; start mcpctl wrap with --allowed-origin ORIGIN "
            "if it should",
        )

    def _may_cross(self, origin: str) -> bool:
        if self._any_origin or origin in self._origins:
            return True
        parts = _split_origin(origin)
        return self._on_loopback and parts is not None and parts[1][0] in _OWN_NAMES

    def _is_same(self, origin: str, text: str, scheme: str | None) -> bool:
        """Whether the page comes from the host that it speaks to, by a name that cannot be anybody's."""
        authority, parts = parse_authority(text), _split_origin(origin)
        if authority is None or parts is None or (scheme and scheme.lower() != parts[0]):
            return False
        usual = _PORTS.get(parts[0])
        of_page = (parts[1][0], parts[1][1] or usual)
        return of_page == (authority[0], authority[1] or usual) and self._is_vouched(authority)

    def _is_vouched(self, authority: Authority) -> bool:
        return self._is_guarded or self._is_known(authority) or _is_private_name(authority[0])


def parse_authority(text: str) -> Authority | None:
    """The value of `Host`; None for what is none."""
    match = _AUTHORITY.fullmatch(text.lower())
    return (match[1].rstrip("."), int(match[2]) if match[2] else None) if match else None


def _split_origin(origin: str) -> tuple[str, Authority] | None:
    match = _ORIGIN.fullmatch(origin)
    authority = parse_authority(match[2]) if match else None
    return (match[1], authority) if match and authority else None


def _known_hosts(options: Options) -> frozenset[Authority]:
    named = {parse_authority(host) for host in options.allowed_hosts}
    bound = {(f"[{host}]" if ":" in host else host.lower(), None) for host in options.hosts}
    public = split_url(options.public_url or "")
    if public is not None and public.hostname:
        host = public.hostname
        bound.add((f"[{host}]" if ":" in host else host, None))
    return frozenset(
        known for known in {*named, *bound, *((own, None) for own in _OWN_NAMES)} if known
    )


def _is_private_name(host: str) -> bool:
    return host.endswith(_PRIVATE_SUFFIXES) or parse_address(host.strip("[]")) is not None


def _last(value: str | None) -> str | None:
    """Of a list the member that the nearest proxy has added."""
    return value.rpartition(",")[2].strip() if value is not None else None


def _foreign_host(host: str) -> str:
    return (
        f"this server is not called {host}; start mcpctl wrap with --allowed-host {host} if it is "
        "(this keeps web pages out that have their own name point here)"
    )
