"""Log messages: a level for each request in 2026-07-28, one for the whole session before.

The server is told the most verbose level that was ever asked for, and what it sends is filtered.
"""

from collections.abc import Hashable
from functools import partial

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import id_key
from mcpctld.protocols.mcp.modern_to_legacy.requests import LEVELS, Request
from mcpctld.protocols.mcp.modern_to_legacy.session import Go
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ServerSide
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers
from mcpctld.protocols.mcp.objects import close_object, close_text

SETTING_BOUND_S = 5.0
"""A request waits so long for its level to be set; then it goes without."""


class Levels:
    """Sets the level before the first request that needs it: requests may overtake each other on their way."""

    def __init__(self, server_side: ServerSide, timers: Timers) -> None:
        self._server_side = server_side
        self._timers = timers
        self._set: int | None = None
        self._setting: int | None = None
        self._waiting: dict[Hashable, tuple[int, Go]] = {}

    def prepare(self, request: Request, go: Go, now: float) -> None:
        """Do something once the server sends the messages that the request wants."""
        if request.level is None or (self._set is not None and request.level >= self._set):
            go(now)
            return
        self._waiting[id_key(request.id)] = (request.level, go)
        if self._setting is None:
            self._start(request.level, now)

    def drop(self, id: bytes) -> None:
        """The client does not wait for the request any more."""
        self._waiting.pop(id_key(id), None)

    def _start(self, level: int, now: float) -> None:
        self._setting = level
        params = close_object({"level": close_text(LEVELS[level])})
        id = self._server_side.new_id()
        self._server_side.ask(id, "logging/setLevel", params, partial(self._answered, level))
        self._timers.set(self, now, SETTING_BOUND_S, partial(self._end, level))

    def _answered(self, level: int, answer: Answer, now: float) -> None:
        if self._setting == level:  # else it took too long
            self._end(level, now, came=not isinstance(answer, McpctlError))

    def _end(self, level: int, now: float, *, came: bool = True) -> None:
        """Let those go whose level is set, or could not be; then set the next one.

        A server that refuses to set it, or does not answer, will always do so: it is not asked again.
        """
        self._timers.drop(self)
        self._setting = None
        if came:
            self._set = level
        for key, (wanted, go) in tuple(self._waiting.items()):
            if wanted >= level:
                del self._waiting[key]
                go(now)
        if self._waiting:
            self._start(min(wanted for wanted, _ in self._waiting.values()), now)
