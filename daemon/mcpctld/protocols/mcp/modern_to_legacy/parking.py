"""Exchanges that wait for the client's answers, each under a handle that works once.

MCP 2026-07-28, Multi Round-Trip Requests, "Server Requirements": what comes back as `requestState` is the client's
word. So the handle is random, says nothing, and is good for the same method and target only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mcpctld.protocols.mcp.modern_to_legacy.questions import Question
from mcpctld.protocols.mcp.modern_to_legacy.requests import Request
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers
from mcpctld.protocols.mcp.modern_to_legacy.unplaced import EXPIRY_S

MAX_PARKED = 256


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """One request at the server, over all requests that the client makes for it."""

    request: Request
    """The client's latest."""
    upstream: bytes = b""
    """The id at the server; empty while it is not there: held back, or answered."""
    questions: list[Question] = field(default_factory=list)
    handle: str = ""
    """While it is parked."""
    outcome: Answer | None = None
    """What the server answered while it was parked."""
    refusal: bytes = b""
    """The error (JSON text) by which the server demanded that the client visits URLs first."""

    def continues_with(self, request: Request) -> bool:
        """Whether the request may go on with it."""
        same_method = self.request.method == request.method
        return same_method and self.request.target == request.target


class Parking:
    """The parked ones, the oldest first."""

    def __init__(
        self, timers: Timers, make_token: Callable[[], str], abandon: Callable[[Exchange], None]
    ) -> None:
        """`abandon`: the client's answers will not come."""
        self._timers = timers
        self._make_token = make_token
        self._abandon = abandon
        self._parked: dict[str, Exchange] = {}

    def park(self, exchange: Exchange, now: float) -> None:
        """Give it a handle; the oldest of too many is abandoned."""
        if len(self._parked) >= MAX_PARKED:
            self._expire(next(iter(self._parked.values())), now)
        exchange.handle = self._make_token()
        self._parked[exchange.handle] = exchange
        self._timers.set(exchange, now, EXPIRY_S, partial(self._expire, exchange))

    def take(self, request: Request) -> Exchange | None:
        """What the request goes on with; None when there is nothing."""
        exchange = self._parked.get(request.state or "")
        if exchange is None or not exchange.continues_with(request):
            return None
        self._leave(exchange)
        return exchange

    def _expire(self, exchange: Exchange, now: float) -> None:
        self._leave(exchange)
        self._abandon(exchange)

    def _leave(self, exchange: Exchange) -> None:
        self._timers.drop(exchange)
        del self._parked[exchange.handle]
        exchange.handle = ""
