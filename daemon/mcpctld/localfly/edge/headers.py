"""What the edge adds to requests and answers, and what it takes away.

Hop-by-hop fields end here (RFC 9110 §7.6.1). So does what only the edge may say: a client could claim to be somebody
else, or to have been replayed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mcpctld.localfly.edge.replay import Transform
from mcpctld.localfly.edge.settings import Service
from mcpctld.protocols import http1
from mcpctld.protocols.http1_head import Head

VIA = "1.1 fly.io"
SERVER = "Fly/localfly"

_HOP_BY_HOP = frozenset({
    "te",  # codespell:ignore te
    "connection", "keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade",
    "proxy-authorization",
})  # fmt: skip
_OURS = frozenset({
    "expect", "fly-client-ip", "fly-forwarded-port", "fly-forwarded-proto", "fly-forwarded-ssl", "fly-region",
    "fly-request-id", "fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable",
    "fly-replay-cache-control", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-ssl",
})  # fmt: skip
_FOR_THE_EDGE = frozenset({
    "fly-replay", "fly-replay-cache", "fly-replay-cache-ttl-secs", "fly-replay-cache-allow-bypass",
})  # fmt: skip

Field = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a request comes from: the client's address, the edge's region; `private`: over flycast."""

    id: str
    client: str
    region: str
    private: bool


def encode_request(
    head: Head, visit: Visit, service: Service, transform: Transform, more: Iterable[Field]
) -> bytes:
    """A request's head as a machine gets it. `more`: what this attempt has to say."""
    named = _named(head.headers)
    gone = _HOP_BY_HOP | _OURS | named | transform.delete_headers
    gone |= {name.lower() for name, _ in transform.set_headers}
    kept = [pair for pair in head.headers.items() if pair[0] not in gone]
    fields = [*_joined(kept, head), *_added(head, visit, service), *transform.set_headers, *more]
    line = http1.encode_head(head.method, transform.path or head.target, ())
    return line + http1.encode_fields((*fields, *_framing(head), *_upgrade(head))) + b"\r\n"


def _joined(fields: list[Field], head: Head) -> list[Field]:
    """Without those that get one more member."""
    return [pair for pair in fields if pair[0] not in ("x-forwarded-for", "via", "content-length")]


def _added(head: Head, visit: Visit, service: Service) -> list[Field]:
    proto, ssl = ("http", "off") if visit.private else ("https", "on")
    before = head.headers.get("x-forwarded-for")
    via = head.headers.get("via")
    return [
        ("fly-client-ip", visit.client),
        ("fly-forwarded-port", str(service.port)),
        ("fly-region", visit.region),
        ("fly-request-id", visit.id),
        ("x-forwarded-for", f"{before}, {visit.client}" if before else visit.client),
        ("x-forwarded-proto", proto),
        ("x-forwarded-port", str(service.port)),
        ("x-forwarded-ssl", ssl),
        ("via", f"{via}, {VIA}" if via else VIA),
    ]


def _framing(head: Head) -> list[Field]:
    if head.chunked:
        return [("transfer-encoding", "chunked")]
    return [] if head.content_length is None else [("content-length", str(head.content_length))]


def wants_upgrade(head: Head) -> bool:
    """Whether the client asks for another protocol, WebSocket say."""
    return (
        head.minor == 1 and "upgrade" in _named(head.headers) and bool(head.headers.get("upgrade"))
    )


def _upgrade(head: Head) -> list[Field]:
    if not wants_upgrade(head):
        return [("connection", "close")]
    return [("connection", "upgrade"), ("upgrade", head.headers.get("upgrade") or "")]


def _named(headers: http1.Headers) -> frozenset[str]:
    """The options of `Connection`: they name fields that end here, too."""
    told = (headers.get("connection") or "").lower().split(",")
    return frozenset(option.strip() for option in told)


# ------------------------------------------------------------ answers


@dataclass(frozen=True, slots=True)
class Framing:
    """How an answer's end is told to the client. Neither `chunked` nor a `length`: by the end of the connection."""

    chunked: bool
    length: int | None
    has_body: bool

    @property
    def by_close(self) -> bool:
        """Whether only the connection's end is the body's."""
        return self.has_body and not self.chunked and self.length is None


def frame(request: Head, answer: http1.Head) -> Framing:
    """The framing of an answer that comes through."""
    length = answer.headers.get("content-length")
    known = int(length) if length and length.isascii() and length.isdigit() else None
    has_body = request.method != "HEAD" and answer.status not in (204, 304)
    return Framing(has_body and known is None and request.minor == 1, known, has_body)


def encode_answer(
    request: Head, answer: http1.Head, framing: Framing, visit: Visit, service: Service,
    *, keep_alive: bool, more: Iterable[Field] = (),
) -> bytes:  # fmt: skip
    """An answer's head as the client gets it."""
    fields = [*_answered(answer, visit, service), *more]
    if answer.status == 101:
        fields += [("connection", "upgrade"), ("upgrade", answer.headers.get("upgrade") or "")]
    elif framing.chunked:
        fields.append(("transfer-encoding", "chunked"))
    elif framing.length is not None:
        fields.append(("content-length", str(framing.length)))
    if answer.status != 101:
        fields += _persistence(request, keep_alive=keep_alive)
    line = f"HTTP/1.1 {answer.status} {answer.reason}\r\n".encode("latin-1")
    return line + http1.encode_fields(tuple(fields)) + b"\r\n"


def _persistence(request: Head, *, keep_alive: bool) -> list[Field]:
    if not keep_alive:
        return [("connection", "close")]
    return [] if request.minor else [("connection", "keep-alive")]


def _answered(answer: http1.Head, visit: Visit, service: Service) -> list[Field]:
    """The machine's fields and ours; Fly's own are left out of what is to be `pristine`."""
    replaced = {name.lower() for name, _ in service.set_headers} | service.drop_headers
    gone = _HOP_BY_HOP | _FOR_THE_EDGE | _named(answer.headers) | replaced | {"content-length"}
    fields = [pair for pair in answer.headers.items() if pair[0] not in gone]
    fields += service.set_headers
    if service.pristine:
        return fields
    told = {"server": SERVER, "via": VIA, "fly-request-id": visit.id}
    via = answer.headers.get("via")
    if via:
        told["via"] = f"{via}, {VIA}"
    ours = {name: value for name, value in told.items() if name not in replaced}
    return [pair for pair in fields if pair[0] not in ours] + list(ours.items())
