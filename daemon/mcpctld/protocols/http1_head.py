"""The head of an HTTP/1.1 request, read strictly (RFC 9112 §2 to §6, §11.2).

Whatever two programs on the way could read differently is refused: that is how requests are smuggled. The field lines
are checked by llhttp, through httptools, in its strict mode; the request line and what the fields mean together here.
"""

import re

import httptools
import msgspec

from mcpctld.protocols.http1 import FIELD_NAME, Headers

BAD_REQUEST = 400
CONTENT_TOO_LARGE = 413
URI_TOO_LONG = 414
FIELDS_TOO_LARGE = 431
NOT_IMPLEMENTED = 501
VERSION_NOT_SUPPORTED = 505

_REQUEST_LINE = re.compile(rf"({FIELD_NAME}) ([!\"$-~]+) HTTP/([0-9])\.([0-9])\r\n".encode())  # §3
_AUTHORITY = re.compile(r"[0-9A-Za-z._~!$&'()*+,;=:%\[\]-]*")  # RFC 3986 §3.2, without userinfo
_ABSOLUTE = re.compile(r"https?://([^/?#]+)([/?].*)?", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")


class Bounds(msgspec.Struct, frozen=True):
    """How much a request may be. All in bytes, but `fields`: how many field lines."""

    head: int = 64 * 1024
    target: int = 8 * 1024
    fields: int = 100
    body: int = 64 * 1024 * 1024


class Head(msgspec.Struct, frozen=True):
    """The head of a request. `target` in origin-form (path and query), or `*`; `minor` of the version 1.x.

    `content_length` is None when there is no such field; `chunked`: the body tells its end itself.
    """

    method: str
    target: str
    headers: Headers
    minor: int
    keep_alive: bool
    expects_continue: bool
    content_length: int | None
    chunked: bool

    def __repr__(self) -> str:  # a query may hold a secret
        return f"<Head {self.method} {self.target.partition('?')[0]} {self.headers!r}>"


class Broken(msgspec.Struct, frozen=True, gc=False):
    """What came cannot be answered but with `status`; the connection is of no more use. `reason` is for people."""

    status: int
    reason: str


class _Refused(Exception):
    """The head is not acceptable."""

    def __init__(self, reason: str, status: int = BAD_REQUEST) -> None:
        super().__init__(reason)
        self.broken = Broken(status, reason)


class _Fields:
    """What llhttp tells of the field lines."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def parse_head(data: bytes, bounds: Bounds) -> Head | Broken:
    """A head from its bytes, the empty line at its end included."""
    try:
        return _parse(data, bounds)
    except _Refused as exc:
        return exc.broken


def _parse(data: bytes, bounds: Bounds) -> Head:
    line = _REQUEST_LINE.match(data)
    if line is None:
        raise _Refused("the request line is not one of HTTP/1.1")
    if line[3] != b"1" or line[4] not in (b"0", b"1"):
        raise _Refused("only HTTP/1.1 and HTTP/1.0 are spoken here", VERSION_NOT_SUPPORTED)
    if len(line[2]) > bounds.target:
        raise _Refused(f"the target is longer than {bounds.target} bytes", URI_TOO_LONG)
    headers = _parse_fields(data, bounds)
    method, minor = line[1].decode("ascii"), int(line[4])
    if method == "CONNECT":
        raise _Refused("CONNECT is for proxies, and this is none", NOT_IMPLEMENTED)
    target = _origin_form(line[2].decode("ascii"), method, _host(headers, minor))
    chunked = _is_chunked(headers, minor)
    length = _content_length(headers, bounds)
    expects = minor == 1 and (headers.get("expect") or "").lower() == "100-continue"
    expects_continue = expects and (chunked or bool(length))
    keep_alive = _keep_alive(headers, minor)
    return Head(method, target, headers, minor, keep_alive, expects_continue, length, chunked)


def _parse_fields(data: bytes, bounds: Bounds) -> Headers:
    told = _Fields()
    try:
        httptools.HttpRequestParser(told).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # an offer to switch protocols, which may be passed over (RFC 9110 §7.8)
    except httptools.HttpParserInvalidMethodError:
        raise _Refused("the method is not known here", NOT_IMPLEMENTED) from None
    except httptools.HttpParserError as exc:
        raise _Refused(f"not an HTTP/1.1 request: {exc}") from None
    if len(told.fields) > bounds.fields:
        raise _Refused(f"there are more than {bounds.fields} fields", FIELDS_TOO_LARGE)
    return Headers(told.fields)


def _host(headers: Headers, minor: int) -> str | None:
    """The one `Host`, which only HTTP/1.0 may lack (RFC 9112 §3.2)."""
    hosts = headers.get_all("host")
    if len(hosts) > 1:
        raise _Refused("there are several Host fields")
    if not hosts and minor == 1:
        raise _Refused("there is no Host field")
    if hosts and not _AUTHORITY.fullmatch(hosts[0]):
        raise _Refused("the Host field is not a host")
    return hosts[0] if hosts else None


def _origin_form(target: str, method: str, host: str | None) -> str:
    """Path and query of a target in any form that a server takes (RFC 9112 §3.2)."""
    if target.startswith("/"):
        return target
    if target == "*" and method == "OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _Refused("the target is neither a path nor a URL")
    if host is not None and absolute[1].lower() != host.lower():
        raise _Refused("the target names another host than the Host field")
    path = absolute[2] or "/"
    return path if path.startswith("/") else f"/{path}"


def _is_chunked(headers: Headers, minor: int) -> bool:
    codings = headers.get("transfer-encoding")
    if codings is None:
        return False
    if minor == 0:
        raise _Refused("HTTP/1.0 has no Transfer-Encoding")
    # llhttp refuses a length beside it; so that nothing depends on that, it is refused here, too.
    if codings.lower() != "chunked" or headers.get("content-length") is not None:
        raise _Refused("the only transfer coding taken is chunked, without a Content-Length")
    return True


def _content_length(headers: Headers, bounds: Bounds) -> int | None:
    told = headers.get("content-length")
    if told is None:
        return None
    if not _LENGTH.fullmatch(told):
        raise _Refused("the Content-Length is not one number")
    if int(told) > bounds.body:
        raise _Refused(f"the body is longer than {bounds.body} bytes", CONTENT_TOO_LARGE)
    return int(told)


def _keep_alive(headers: Headers, minor: int) -> bool:
    """Whether the client would use the connection again (RFC 9112 §9.3)."""
    told = headers.get("connection")
    if told is None:
        return minor == 1
    options = [option.strip() for option in told.lower().split(",")]
    return "close" not in options and (minor == 1 or "keep-alive" in options)
