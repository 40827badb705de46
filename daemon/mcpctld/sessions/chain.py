"""The layers between a client and its server, put together: see `layer`."""

from collections.abc import Callable

from mcpctld.sessions.early import Early
from mcpctld.sessions.gate import Gate
from mcpctld.sessions.keeper import Keeper
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Context, Upstream

MakeUpstream = Callable[[Context], Upstream]


class Chain:
    """From the client's edge (`top`) to the transport."""

    def __init__(self, context: Context, shelf: Shelf, make_transport: MakeUpstream) -> None:
        """Raises `McpctlError` when the server's file makes no sense."""
        self.gate: Gate
        self._make_transport = make_transport
        self.top: Upstream = Early(context, shelf, self._make_gate)

    def _make_gate(self, context: Context) -> Upstream:
        self.gate = Gate(context, self._make_keeper)
        return self.gate

    def _make_keeper(self, context: Context) -> Upstream:
        return Keeper(context, self._make_transport)
