"""Where a request is to go, and how that changes when an answer says `fly-replay`, or nobody is there."""

from dataclasses import dataclass, field, replace

from mcpctld.localfly.edge.headers import Field
from mcpctld.localfly.edge.remembering import Source
from mcpctld.localfly.edge.replay import (
    Reason,
    Replay,
    Transform,
    failed_header,
    source_header,
)
from mcpctld.localfly.edge.routing import Wish
from mcpctld.protocols.http1 import Headers


class Unanswerable(Exception):
    """A request cannot be served. `code` as in Fly's logs, if it has one; the text is for people, the client's too."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code

    @property
    def line(self) -> str:
        """For the log."""
        return f"[{self.code}] {self}" if self.code else str(self)


class Nowhere(Unanswerable):
    """No machine can have the request: it was sent nowhere, and may go another way."""

    def __init__(self, code: str, text: str, reason: Reason) -> None:
        super().__init__(503, code, text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request is to go now. `replay` has led here from the machine `source` of `source_app`, if it is set."""

    app: str
    wish: Wish = field(default_factory=Wish)
    fields: tuple[Field, ...] = ()
    """What the machine is told besides."""
    transform: Transform = field(default_factory=Transform)
    replay: Replay | None = None
    source_app: str = ""
    source: str = ""
    recalled: bool = False
    """It was remembered, not asked for by an answer to this request."""


def read_wish(headers: Headers) -> Wish:
    """What the client wants (Fly.io, "Dynamic Request Routing", request headers)."""
    region = headers.get("fly-force-region")
    return Wish(
        instance=headers.get("fly-force-instance-id") or "",
        prefer_instance=headers.get("fly-prefer-instance-id") or "",
        regions=frozenset({region}) if region else frozenset(),
        prefer_region=headers.get("fly-prefer-region") or "",
    )


def follow(replay: Replay, app: str, source: Source, at_us: int) -> Way:
    """Where the answer of `source`, a machine of `app`, leads."""
    told_source = source_header(source.machine, source.region, at_us, replay.state)
    return Way(
        app=replay.app or app,
        wish=replay.wish(source.machine),
        fields=(told_source,),
        transform=replay.transform,
        replay=replay,
        source_app=app,
        source=source.machine,
    )


def told(way: Way, machine: str) -> Way:
    """With what a machine hears that is not the one preferred."""
    preferred = way.wish.prefer_instance
    if not preferred or preferred == machine:
        return way
    unavailable = ("fly-preferred-instance-unavailable", preferred)
    return replace(way, fields=(*way.fields, unavailable))


def fall_back(way: Way, reason: Reason, elapsed_s: float) -> Way | None:
    """Back to whom the request was replayed from, if that is wanted."""
    replay = way.replay
    if replay is None or not replay.fallback:
        return None
    failed = failed_header(replay, way.source_app, way.source, reason, round(elapsed_s * 1000))
    forced = replay.fallback == "force_self"
    wish = Wish(instance=way.source) if forced else Wish(prefer_instance=way.source)
    return Way(way.source_app, wish, (failed,))
