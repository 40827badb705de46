"""Starts the edge."""

import functools

import trio

from mcpctld.localfly.edge.holding import Patience
from mcpctld.localfly.edge.loads import Loads
from mcpctld.localfly.edge.proxying import Edge
from mcpctld.localfly.edge.resting import Rest
from mcpctld.localfly.fleet import Fleet

AUTOSTOP_PERIOD_S = 300.0
"""Fly looks every few minutes."""
REGION = "iad"
"""Where the edge says it is."""
BACKLOG = 1024


async def serve(
    nursery: trio.Nursery,
    fleet: Fleet,
    port: int,
    *,
    autostop_period_s: float = AUTOSTOP_PERIOD_S,
    region: str = REGION,
    patience: Patience | None = None,
) -> int:
    """Serve the apps of `fleet` on a port of loopback, in `nursery`: the port, also where 0 was asked for.

    Raises `OSError` when it cannot listen.
    """
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=BACKLOG)
    loads = Loads()
    edge = Edge(nursery, fleet, loads, region, patience or Patience())
    nursery.start_soon(functools.partial(trio.serve_listeners, edge.serve, listeners))
    nursery.start_soon(Rest(fleet, loads, region, autostop_period_s).run)
    return int(listeners[0].socket.getsockname()[1])
