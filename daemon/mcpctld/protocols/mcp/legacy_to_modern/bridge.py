"""A legacy client, a modern server: what the client says is said anew, message by message.

MCP 2026-07-28, Versioning, "Compatibility Matrix". What the bridge cannot give: requests of the server's outside one of
the client's, logs outside requests, tasks of 2025-11-25, and tool lists that differ from connection to connection.
"""

import enum
from collections.abc import Hashable, MutableSet

from mcpctld.errors import McpctlError, TimedOut, UserError
from mcpctld.protocols.jsonrpc import INVALID_REQUEST, Batch, Kind, Message, id_key, read_params
from mcpctld.protocols.mcp.bridge import Bridge, WrongEra
from mcpctld.protocols.mcp.eras import METHOD_NOT_FOUND
from mcpctld.protocols.mcp.legacy_to_modern.envelope import (
    LEVELS,
    is_marked,
    strip_meta,
    subscription_of,
)
from mcpctld.protocols.mcp.legacy_to_modern.errors import INVALID_PARAMS
from mcpctld.protocols.mcp.legacy_to_modern.forwarding import Forwarding
from mcpctld.protocols.mcp.legacy_to_modern.initialize import (
    Client,
    Discovery,
    is_invited,
    read_client,
    read_discovery,
)
from mcpctld.protocols.mcp.legacy_to_modern.listens import Listens
from mcpctld.protocols.mcp.legacy_to_modern.outbound import Outbound
from mcpctld.protocols.mcp.methods import MODERN
from mcpctld.protocols.mcp.objects import close_object, open_object, open_text, read_part

BATCHING = "2025-03-26"
"""The one revision with batches."""

MODERN_ONLY = frozenset({"server/discover", "subscriptions/listen"})
"""Requests that a legacy client does not know, and that are made in its name."""

LEGACY_ONLY = frozenset({
    "notifications/initialized", "notifications/cancelled", "notifications/progress",
    "notifications/roots/list_changed", "notifications/tasks/status",
})  # fmt: skip
"""Notifications of the client that 2026-07-28 does not know, or not over HTTP: they end here."""


class _Stage(enum.Enum):
    NEW = enum.auto()
    DISCOVERING = enum.auto()
    """The client has sent `initialize`, and the server is asked what it is."""
    READY = enum.auto()
    USELESS = enum.auto()
    """The server is of another era."""


class LegacyToModern(Bridge):
    """Between a client of 2024-11-05 to 2025-11-25 and a server of 2026-07-28.

    Requests that come before `initialize` is answered wait for it. The id of a request in flight must not come again:
    who reads the client's messages sees to that.
    """

    def __init__(self, wrapped: MutableSet[str] | None = None) -> None:
        """`wrapped`: names of tools that were listed with an output schema of ours; to be kept with such a list."""
        super().__init__()
        self._out = Outbound(self._emit)
        self._listens = Listens(self._out)
        self._forwarding = Forwarding(self._out, set() if wrapped is None else wrapped)
        self._stage = _Stage.NEW
        self._client = Client()
        self._changes: tuple[str, ...] = ()
        self._initialize = b""  # ids, while they wait for an answer
        self._discover = b""
        self._asked_again = False
        self._initialized = False
        self._queue: dict[Hashable, Message] = {}

    @property
    def deadline(self) -> float:
        """When `receive_time` is to be called next; `math.inf` for never."""
        return min(self._listens.deadline, self._forwarding.deadline)

    def receive_time(self, now: float) -> None:
        """Do what is due."""
        if now >= self._listens.deadline:
            self._listens.receive_time(now)
        if now >= self._forwarding.deadline:
            self._forwarding.receive_time(now)

    # ------------------------------------------------------------ from the client

    def receive_client(self, message: Message | Batch, now: float) -> None:
        """A message of the client."""
        if self._stage is _Stage.USELESS:
            return
        if isinstance(message, Batch):
            self._receive_batch(message, now)
        elif message.kind is Kind.REQUEST:
            self._receive_request(message, now)
        elif message.kind is Kind.NOTIFICATION:
            self._receive_notification(message, now)
        else:
            self._forwarding.receive_answer(message, now)

    def _receive_batch(self, batch: Batch, now: float) -> None:
        ids = [part.id for part in batch.messages if part.kind is Kind.REQUEST]
        allowed = self._stage is not _Stage.NEW and self._client.version == BATCHING
        if allowed:
            self._out.batches.begin(ids)
        for part in batch.messages:
            if allowed or part.kind is not Kind.REQUEST:
                self.receive_client(part, now)
            else:
                self._out.fail(part.id, UserError(f"only MCP {BATCHING} has batches"))

    def _receive_request(self, request: Message, now: float) -> None:
        if self._stage is _Stage.DISCOVERING:
            self._queue[id_key(request.id)] = request
        elif request.method == "ping":
            self._out.answer(request.id, b"{}")
        elif self._stage is _Stage.READY:
            self._dispatch(request, now)
        elif request.method == "initialize":
            self._begin(request)
        else:
            self._out.fail(request.id, UserError(f"{request.method} came before `initialize`"))

    def _dispatch(self, request: Message, now: float) -> None:
        match request.method:
            case "initialize":
                self._out.refuse(request.id, INVALID_REQUEST, "the session is initialized already")
            case "logging/setLevel":
                self._set_level(request)
            case "resources/subscribe" | "resources/unsubscribe":
                self._change_subscription(request, now)
            case method if method in MODERN_ONLY or method.startswith("tasks/"):
                self._out.refuse(request.id, METHOD_NOT_FOUND, f"there is no method {method}")
            case _:
                self._forwarding.receive_request(request)

    def _set_level(self, request: Message) -> None:
        """There is no such request any more: each one says which logs it wants."""
        level = open_text(open_object(read_part(request, "params")).get("level", b""))
        if level in LEVELS:
            self._out.set_level(level)
            self._out.answer(request.id, b"{}")
        else:
            text = f"the level is none of {', '.join(sorted(LEVELS))}"
            self._out.refuse(request.id, INVALID_PARAMS, text)

    def _change_subscription(self, request: Message, now: float) -> None:
        uri = open_text(open_object(read_part(request, "params")).get("uri", b""))
        if uri is None:
            self._out.refuse(request.id, INVALID_PARAMS, f"{request.method} needs a `uri`")
        elif request.method == "resources/subscribe":
            self._listens.subscribe(request.id, uri, now)
        else:
            self._listens.unsubscribe(request.id, uri, now)

    def _receive_notification(self, message: Message, now: float) -> None:
        match message.method:
            case "notifications/initialized":
                self._receive_initialized(now)
            case "notifications/cancelled":
                self._cancel(read_params(message).request_id, now)
            case "notifications/progress":
                self._forwarding.receive_client_progress(message, now)
            case method if method not in LEGACY_ONLY and self._stage is _Stage.READY:
                # An extension may have defined it.
                self._out.tell_server(method, open_object(read_part(message, "params")))

    def _receive_initialized(self, now: float) -> None:
        if self._stage is _Stage.READY and not self._initialized:
            self._listens.begin(self._changes, now)
        self._initialized = True

    def _cancel(self, id: bytes, now: float) -> None:
        if not self._is_initialize(id):  # which "MUST NOT be cancelled" (MCP, Cancellation)
            self.forget(id, now)

    def forget(self, id: bytes, now: float) -> None:
        """The client's request `id` was answered by somebody else, because it took too long: drop all of it."""
        if self._stage is _Stage.USELESS:
            return
        self._out.drop(id)
        if self._is_initialize(id):
            self._out.give_up(self._discover)
            self._give_up_handshake(TimedOut("`initialize` was not answered in time"))
        elif not self._forwarding.forget(id):
            self._queue.pop(id_key(id), None)
            self._listens.forget(id)

    def _is_initialize(self, id: bytes) -> bool:
        return bool(self._initialize) and id_key(id) == id_key(self._initialize)

    # ------------------------------------------------------------ the handshake

    def _begin(self, request: Message) -> None:
        """Ask the server what it is, in the client's name."""
        self._stage = _Stage.DISCOVERING
        self._client = read_client(read_part(request, "params"))
        self._out.speak_for(self._client)
        self._forwarding.speak_for(self._client)
        self._initialized = self._asked_again = False
        self._initialize = request.id
        self._ask()

    def _ask(self) -> None:
        self._discover = self._out.new_id()
        self._out.ask_server(self._discover, "server/discover", {})

    def _receive_discovery(self, message: Message, now: float) -> None:
        found = None
        if message.kind is Kind.RESULT:
            found = read_discovery(read_part(message, "result"), self._client)
        elif not self._asked_again and is_invited(read_part(message, "error")):
            self._asked_again = True
            self._ask()
            return
        if found is None:
            self._stage = _Stage.USELESS
            self._emit(WrongEra(f"the server does not answer `server/discover` as MCP {MODERN}"))
        else:
            self._go(found, now)

    def _go(self, found: Discovery, now: float) -> None:
        """The server can be spoken to: answer `initialize`, and see to what came meanwhile."""
        self._stage = _Stage.READY
        self._changes = found.changes
        self._out.answer(self._initialize, found.result)
        self._initialize = self._discover = b""
        if self._initialized:
            self._listens.begin(self._changes, now)
        queue, self._queue = self._queue, {}
        for request in queue.values():
            self._receive_request(request, now)

    def _give_up_handshake(self, error: McpctlError) -> None:
        """The client may try again."""
        self._stage = _Stage.NEW
        self._initialize = self._discover = b""
        queue, self._queue = self._queue, {}
        for request in queue.values():
            self._out.fail(request.id, error)

    # ------------------------------------------------------------ from the server

    def receive_server(self, message: Message | Batch, now: float) -> None:
        """A message of the server: an answer to what the bridge asked, or something else."""
        if isinstance(message, Batch):
            for part in message.messages:
                self.receive_server(part, now)
        elif message.kind is Kind.NOTIFICATION:
            if self._stage is _Stage.READY:
                self._receive_server_notification(message, now)
        elif message.kind is not Kind.REQUEST:  # which servers MUST NOT send
            self._receive_server_answer(message, now)

    def _receive_server_answer(self, message: Message, now: float) -> None:
        if self._is_discovery(message.id):
            self._receive_discovery(message, now)
        elif not self._forwarding.receive_server(message, now):
            reason = message if message.kind is Kind.ERROR else None
            self._listens.receive_end(message.id, reason, now)

    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        """The request `id` that the bridge gave the server will not be answered: why."""
        if self._is_discovery(id):
            self._out.fail(self._initialize, error)
            self._give_up_handshake(error)
        elif not self._forwarding.receive_failure(id, error):
            self._listens.receive_end(id, error, now)

    def _is_discovery(self, id: bytes) -> bool:
        return self._stage is _Stage.DISCOVERING and id_key(id) == id_key(self._discover)

    def _receive_server_notification(self, message: Message, now: float) -> None:
        match message.method:
            case "notifications/cancelled":
                # Of a process: the end of a listen request; servers "MUST NOT" cancel anything else.
                self._listens.receive_end(read_params(message).request_id, None, now)
            case "notifications/subscriptions/acknowledged":
                params = open_object(read_part(message, "params"))
                id = subscription_of(params) or b""
                self._listens.receive_acknowledged(id, params.get("notifications", b""), now)
            case "notifications/progress" if not self._forwarding.is_progress(message):
                pass
            case _:
                self._relay(message)

    def _relay(self, message: Message) -> None:
        """As it is, but for what says to which listen request it belongs."""
        if not is_marked(message.raw):
            self._out.relay(message)
            return
        params = open_object(read_part(message, "params"))
        listen = subscription_of(params)
        if listen is None or self._listens.knows(listen):  # else: of one that was given up
            strip_meta(params)
            self._out.tell_client(message.method, close_object(params))
