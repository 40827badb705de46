"""Requests that wait for a server which is not up: the client hears that it is waited for, and hears the end of it.

A client that gave a progress token is told every two seconds (MCP, Utilities, "Progress"); some clients wait longer
then. Clients whose own bound is known get an error that says why, just before they would give up without one.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import msgspec
import trio

from mcpctld.errors import TimedOut
from mcpctld.protocols.jsonrpc import Message, id_key, new_notification, read_params
from mcpctld.protocols.mcp.methods import LASTING
from mcpctld.upstreams import Context
from mcpctld.upstreams._deadlines import Deadlines

PROGRESS_S = 2.0
"""How long the client hears nothing."""

BOUNDS_S = {"claude-ai": 55.0, "claude desktop": 55.0, "claude-code": 28.0}
"""A little less than clients wait (60 s and 30 s), by how their name begins, in lower case.

Claude Desktop calls itself `claude-ai`. What other clients bear is not known: of them the transport's bound for a
server that cannot be reached holds, and the one for calls.
"""


def bound_of(client: str | None) -> float:
    """How long (s) the client of this name may be kept waiting for a server that is not up."""
    name = (client or "").casefold()
    return next((bound for known, bound in BOUNDS_S.items() if name.startswith(known)), math.inf)


@dataclass(slots=True, eq=False)
class _Waiting:
    request: Message
    token: bytes
    began: float
    bound: float
    said: int = 0

    @property
    def waited(self) -> float:
        """Seconds so far."""
        return trio.current_time() - self.began

    @property
    def pause(self) -> float:
        """Seconds until there is something to do."""
        return min(PROGRESS_S if self.token else math.inf, self.bound - self.waited)


class Patience:
    """The requests of one session that wait for its server to come up."""

    def __init__(self, context: Context, give_up: Callable[[Message, TimedOut], None]) -> None:
        self._name = context.server.name
        self._downstream = context.downstream
        self._give_up = give_up
        self._waiting: dict[Hashable, _Waiting] = {}
        self._deadlines: Deadlines[_Waiting] = Deadlines(context.nursery)

    def begin(self, request: Message, client: str | None) -> None:
        """A request of the client of this name waits from now on."""
        if request.method in LASTING:  # meant to stay open
            return
        # Before `initialize` is answered the client expects nothing but its answer (MCP, "Lifecycle").
        token = b"" if request.method == "initialize" else read_params(request).progress_token
        waiting = _Waiting(request, token, trio.current_time(), bound_of(client))
        if waiting.pause < math.inf:
            self._waiting[id_key(request.id)] = waiting
            self._deadlines.set(waiting, waiting.pause, self._on_time)

    def end(self, key: Hashable) -> None:
        """It does not wait any more (`key`: see `id_key`)."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._deadlines.drop(waiting)

    def clear(self) -> None:
        """The server is up: from now on only the bound for calls holds."""
        self._waiting.clear()
        self._deadlines.clear()

    def _on_time(self, waiting: _Waiting) -> None:
        if waiting.pause <= 0:
            self.end(id_key(waiting.request.id))
            bound = f"{waiting.bound:g} s"
            self._give_up(waiting.request, TimedOut(f"{self._name} did not come up within {bound}"))
            return
        if waiting.token and not self._downstream.client_full:
            self._say(waiting)
        self._deadlines.set(waiting, waiting.pause, self._on_time)

    def _say(self, waiting: _Waiting) -> None:
        """Progress must increase, and what the server will say begins at 0 or above: so -1, -1/2, -1/3 …"""
        waiting.said += 1
        text = f"waiting for {self._name} ({waiting.waited:.0f} s)"
        values = (waiting.token, -1 / waiting.said, msgspec.json.encode(text))
        params = b'{"progressToken":%b,"progress":%r,"message":%b}' % values
        self._downstream.deliver(new_notification("notifications/progress", params))
