"""The bridge for a client of 2026-07-28 and a server of an older revision: which message goes where."""

import math
from collections.abc import Callable
from functools import partial

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import INVALID_REQUEST, Batch, Kind, Message, read_params
from mcpctld.protocols.mcp.bridge import Bridge, ToClient
from mcpctld.protocols.mcp.modern_to_legacy.exchanges import Exchanges
from mcpctld.protocols.mcp.modern_to_legacy.levels import Levels
from mcpctld.protocols.mcp.modern_to_legacy.listens import LISTED, UPDATED, Listens
from mcpctld.protocols.mcp.modern_to_legacy.requests import (
    Refusal,
    Request,
    level_of,
    read_request,
)
from mcpctld.protocols.mcp.modern_to_legacy.session import Session, discover_result
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ClientSide, ServerSide
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers
from mcpctld.protocols.mcp.objects import open_object

NOT_MODERN = frozenset({
    "notifications/elicitation/complete", "notifications/tasks/status", "notifications/initialized",
    "notifications/roots/list_changed", "notifications/subscriptions/acknowledged",
})  # fmt: skip
"""Notifications that a modern client does not know, or that only the bridge may send."""
NO_BATCHES = Refusal(INVALID_REQUEST, "MCP 2026-07-28 has no batches; send each message alone")


class ModernToLegacy(Bridge):
    """`make_token` gives text that nobody can guess (128 bits of entropy or more).

    `late_s` says for how long what the server sent before an answer may come after it; 0 where it cannot.
    """

    def __init__(self, make_token: Callable[[], str], late_s: float = 0.0) -> None:
        super().__init__()
        self._timers = timers = Timers()
        self._client = client = ClientSide(self._emit)
        self._server = server = ServerSide(self._emit)
        self._session = session = Session(client, server, self._emit)
        self._levels = Levels(server, timers)
        self._listens = Listens(client, server, session, timers)
        self._exchanges = Exchanges(client, server, session, timers, make_token, late_s)
        self._on_notification: dict[str, Callable[[Message], None]] = {
            "notifications/progress": self._exchanges.progress,
            "notifications/message": self._log,
            "notifications/cancelled": self._withdraw,
            UPDATED: self._listens.updated,
            **dict.fromkeys(LISTED, self._listens.list_changed),
            **dict.fromkeys(NOT_MODERN, _drop),
        }

    @property
    def deadline(self) -> float:
        """When `receive_time` is to be called next; `math.inf` for never."""
        return math.inf if self._session.refused else self._timers.deadline

    def receive_time(self, now: float) -> None:
        """Do what is due."""
        if not self._session.refused:
            self._timers.run(now)

    def close(self) -> None:
        """The server side ends for good: tell the client which subscriptions ended. It fails the rest itself."""
        self._listens.close()

    # ------------------------------------------------------------ the client

    def receive_client(self, message: Message | Batch, now: float) -> None:
        """A message of the client: a request, or that it gives one up."""
        if self._session.refused:
            return
        if isinstance(message, Batch):
            self._receive_batch(message, now)
        elif message.kind is Kind.REQUEST:
            self._receive_request(message, read_request(message), now)
        elif message.method == "notifications/cancelled":
            self.forget(read_params(message).request_id, now)

    def _receive_batch(self, batch: Batch, now: float) -> None:
        for message in batch.messages:
            if message.kind is Kind.REQUEST:
                self._receive_request(message, NO_BATCHES, now)
            else:
                self.receive_client(message, now)

    def _receive_request(self, message: Message, request: Request | Refusal, now: float) -> None:
        if not self._client.begin(message.id):
            return  # the caller refuses an id that is in use
        if isinstance(request, Request):
            self._session.open_for(request, partial(self._begin, request), now)
        elif self._session.opening:
            self._session.wait(message.id, partial(self._refuse, message.id, request))
        else:
            self._client.refuse(message.id, request)

    def _refuse(self, id: bytes, refusal: Refusal, now: float) -> None:
        self._client.refuse(id, refusal)

    def _begin(self, request: Request, now: float) -> None:
        """The session is open."""
        server = self._session.server
        assert server is not None
        if request.method == "server/discover":
            self._client.answer(request.id, discover_result(server))
        elif request.method == "subscriptions/listen":
            self._listens.begin(request, server, now)
        elif server.offers("logging"):
            self._levels.prepare(request, partial(self._exchanges.begin, request), now)
        else:
            self._exchanges.begin(request, now)

    def forget(self, id: bytes, now: float) -> None:
        """The client's request `id` is not to be answered any more: drop all of it."""
        self._client.leave(id)
        self._session.drop(id)
        self._levels.drop(id)
        self._listens.leave(id)
        self._exchanges.leave(id)

    # ------------------------------------------------------------ the server

    def receive_server(self, message: Message | Batch, now: float) -> None:
        """A message of the server: an answer to what the bridge asked, a question, or news."""
        for part in message.messages if isinstance(message, Batch) else (message,):
            if self._session.refused:
                return
            if part.kind is Kind.NOTIFICATION:
                self._on_notification.get(part.method, self._pass)(part)
            elif part.kind is not Kind.REQUEST:
                self._take(part.id, part, now)
            elif part.method == "ping":
                self._server.answer(part.id, b"{}")
            else:
                self._exchanges.ask(part, now)

    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        """The request `id` that the bridge gave the server will not be answered: why."""
        if not self._session.refused:
            self._take(id, error, now)

    def _take(self, id: bytes, answer: Answer, now: float) -> None:
        self._server.answered(id, answer, now)

    def _withdraw(self, message: Message) -> None:
        """The server has cancelled a request of its own."""
        self._exchanges.withdraw(read_params(message).request_id)

    def _log(self, message: Message) -> None:
        level = level_of(open_object(message.params).get("level", b""))
        if level is not None and self._exchanges.wants_log(level):
            self._emit(ToClient(message))

    def _pass(self, message: Message) -> None:
        """One that MCP does not define: the server's own business with its client."""
        if self._client.proven:
            self._emit(ToClient(message))


def _drop(message: Message) -> None:
    """It means nothing to the client."""
