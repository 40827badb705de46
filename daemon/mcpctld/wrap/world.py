"""What everything here has in common."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.logs import FieldLogger
from mcpctld.model import Server
from mcpctld.upstreams import Shared
from mcpctld.wrap.affinity import Affinity
from mcpctld.wrap.children import Children
from mcpctld.wrap.figures import Figures
from mcpctld.wrap.soon import Soon
from mcpctld.wrap.spares import Spares


@dataclass(slots=True)
class World:
    """One server behind one front."""

    server: Server
    """The command, and the environment that its processes get."""
    nursery: trio.Nursery
    http: HttpClient
    shared: Shared
    """What was learned of the server: its eras, its tools."""
    children: Children
    affinity: Affinity
    log: FieldLogger
    max_message_bytes: int
    idle_timeout_s: float
    soon: Soon
    spares: Spares
    figures: Figures = field(default_factory=Figures)
    draining: bool = False
    on_failure: Callable[[], None] = lambda: None
    """Called when a process has failed, or could not be started."""

    @property
    def call_timeout_s(self) -> float:
        """How long one request may take."""
        return self.server.spec.call_timeout_s
