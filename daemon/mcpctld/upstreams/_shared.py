"""What all sessions with one server, and with the same credentials, have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import trio

from mcpctld.protocols.mcp.eras import Era
from mcpctld.protocols.mcp.tools import ToolFacts


class Facts(msgspec.Struct):
    """What the daemon has learned of a server. Kept on disk, so nothing here is a secret."""

    transport: str | None = None
    """What `auto` found."""
    refused: dict[str, float] = msgspec.field(default_factory=dict)
    """When (Unix time) the server was last seen not to speak an era, by `Era.value`."""
    lists_changed: dict[str, float] = msgspec.field(default_factory=dict)
    """When (Unix time) the server last said that a list has changed, by the notification's method."""
    wrapped: set[str] = msgspec.field(default_factory=set)
    """Tools whose structured output a bridge wraps into an object for clients of the legacy era."""
    tools: dict[str, ToolFacts] = msgspec.field(default_factory=dict)
    """What calls need to know of a tool, by name."""


@dataclass(slots=True)
class Shared:
    """The common ground of some sessions. `nursery` is the daemon's: what runs in it outlives them."""

    key: str
    """Names server and credentials, and shows neither."""
    nursery: trio.Nursery
    facts: Facts = field(default_factory=Facts)
    changed: Callable[[], None] = lambda: None
    """To be called after a change of `facts`."""
    hubs: dict[str, object] = field(default_factory=dict)
    """What several sessions use together, by its maker's own key: a listen stream, a wrapper's process."""
    sharing: int = 0
    """How many sessions share one session with the server (the fly wrapper's); 0 when none do."""

    def learn_transport(self, transport: str | None) -> None:
        """Keep what `auto` found; None when it does not hold any more."""
        if self.facts.transport != transport:
            self.facts.transport = transport
            self.changed()

    def learn_era(self, era: Era, refused_at: float | None) -> None:
        """Keep whether the server refuses an era: since when (Unix time), None when it speaks it."""
        if refused_at is None and era.value not in self.facts.refused:
            return
        self.facts.refused.pop(era.value, None)
        if refused_at is not None:
            self.facts.refused[era.value] = refused_at
        self.changed()

    def learn_change(self, notification: str, at: float) -> None:
        """Keep when (Unix time) the server said that a list has changed."""
        self.facts.lists_changed[notification] = at
        self.changed()
