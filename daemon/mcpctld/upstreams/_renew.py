"""A session that the server has forgotten, made anew (MCP 2025-11-25, Transports, "Session Management").

The client of a stdio server knows of no sessions: it cannot be told to begin again. So what it said to make its
session is said again, in its own words, and the answers are kept from it.
"""

from collections.abc import Hashable
from typing import TYPE_CHECKING

import msgspec
import trio

from mcpctld.errors import McpctlError, PeerError, TimedOut
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Message,
    notification_line,
    parse,
    read_error,
    read_initialize_result,
    read_params,
)
from mcpctld.protocols.mcp.headers import standard_headers
from mcpctld.upstreams._base import Downstream
from mcpctld.upstreams._post import Post
from mcpctld.upstreams._refusals import Refusal, explain, json_rpc_error

if TYPE_CHECKING:
    from mcpctld.upstreams.streamable_http import StreamableHttp

BOUND_S = 60.0
"""How long it may take."""
METHOD_NOT_FOUND = -32601
MAX_SUBSCRIPTIONS = 1000


class Renewal:
    """Remembers how the session was made, and makes it again when the server has lost it."""

    def __init__(self, upstream: "StreamableHttp") -> None:
        self._upstream = upstream
        self._initialize: Message | None = None
        self._answer: Message | None = None
        self._initialized: Message | None = None
        self._level: Message | None = None
        self._subscriptions: dict[str, Message] = {}
        self._waiting: list[Post] = []
        self._running = False

    # ------------------------------------------------------------ what there is to say again

    def learn(self, message: Message | Batch, answer: Message | None = None) -> None:
        """The server has accepted this message of the client."""
        if isinstance(message, Batch):
            return
        match message.method:
            case "initialize":
                self._initialize, self._answer = message, answer
                self._initialized = self._level = None
                self._subscriptions.clear()
            case "notifications/initialized":
                self._initialized = message
            case "logging/setLevel":
                self._level = message
            case "resources/subscribe" if len(self._subscriptions) < MAX_SUBSCRIPTIONS:
                self._subscriptions[read_params(message).uri or ""] = message
            case "resources/unsubscribe":
                self._subscriptions.pop(read_params(message).uri or "", None)

    # ------------------------------------------------------------ when the session is lost

    def takes(self, post: Post, refusal: Refusal) -> bool:
        """Whether the refusal means that the session is lost; then the POST is sent again when there is a new one."""
        if self._initialize is None or post.session_id is None or not post.pending:
            return False
        # With trouble, an answer had begun: what was done must not be done twice.
        if post.renewed or post.trouble is not None or not _is_session_loss(refusal):
            return False
        post.renewed = True
        if self._running:
            self._waiting.append(post)
        elif post.session_id != self._upstream.session_id:  # there is a new one already
            self._upstream.submit(post)
        else:
            self._running = True
            self._waiting.append(post)
            self._upstream.lane.hold(self)
            self._upstream.context.nursery.start_soon(self._renew, refusal)
        return True

    async def _renew(self, refusal: Refusal) -> None:
        upstream = self._upstream
        old = upstream.session_id, upstream.version
        upstream.log.info("upstream.session_lost", extra={"status": refusal.status})
        error = await self._try_to_renew()
        if error is not None:
            upstream.session_id, upstream.version = old
        self._running = False
        waiting, self._waiting = self._waiting, []
        for post in waiting:
            upstream.resend(post, error)
        upstream.lane.release(self)
        if error is None:
            upstream.log.info("upstream.session_renewed")
            self._tell_client()

    async def _try_to_renew(self) -> McpctlError | None:
        """Why there is no new session, if there is none."""
        name = self._upstream.context.server.name
        try:
            with trio.fail_after(BOUND_S):
                await self._say_again()
        except trio.TooSlowError:
            error: McpctlError = TimedOut(f"opened no other within {BOUND_S:.0f} s")
        except McpctlError as exc:
            error = exc
        else:
            return None
        return type(error)(f"{name} has forgotten the session, and {error}")  # noqa: ASYNC910  (what failed has waited)

    async def _say_again(self) -> None:
        assert self._initialize is not None
        assert self._answer is not None
        answer = await Aside(self._upstream).say(self._initialize)
        if answer is None or answer.kind is not Kind.RESULT:
            said = read_error(answer)[1] if answer is not None else "nothing"
            raise PeerError(f"it does not open another: {said}")
        version = read_initialize_result(answer).protocol_version
        if version != read_initialize_result(self._answer).protocol_version:
            raise PeerError(f"now speaks another revision ({version}); start the client again")
        for message in (self._initialized, self._level, *self._subscriptions.values()):
            if message is not None:
                await Aside(self._upstream).say(message)
        self._upstream.begin_listening()

    def _tell_client(self) -> None:
        """What the client has cached may not hold any more."""
        assert self._answer is not None
        for name in _changing_lists(self._answer.result):
            message = parse(notification_line(f"notifications/{name}/list_changed"))
            self._upstream.downstream.deliver(message)


def _is_session_loss(refusal: Refusal) -> bool:
    """404 (MUST), or 400 that speaks of the session, which the TypeScript SDK's examples answer."""
    error = json_rpc_error(refusal)
    code, text = read_error(error) if error is not None else (0, "")
    if refusal.status == 404:
        return code != METHOD_NOT_FOUND
    return refusal.status == 400 and "session" in text.lower()


class _List(msgspec.Struct):
    changes: bool = msgspec.field(default=False, name="listChanged")


class _Capabilities(msgspec.Struct):
    tools: _List | None = None
    prompts: _List | None = None
    resources: _List | None = None


class _Result(msgspec.Struct):
    capabilities: _Capabilities


def _changing_lists(result: bytes) -> list[str]:
    """The lists of which the server said that it tells when they change."""
    try:
        capabilities = msgspec.json.decode(result, type=_Result).capabilities
    except msgspec.DecodeError:
        return []
    lists = {name: getattr(capabilities, name) for name in ("tools", "prompts", "resources")}
    return [name for name, found in lists.items() if found is not None and found.changes]


class Aside:
    """Says one message to the server whose answer the client does not hear; other messages reach it."""

    def __init__(self, upstream: "StreamableHttp") -> None:
        self.downstream: Downstream = self
        self.max_message_bytes = upstream.max_message_bytes
        self.log = upstream.log
        self._upstream = upstream
        self._real = upstream.downstream
        self._over = trio.Event()
        self._answer: Message | None = None
        self._error: McpctlError | None = None

    async def say(self, message: Message) -> Message | None:
        """Send it and wait for its answer, None for a notification. Raises why there is none."""
        post = Post(self, message, headers=standard_headers(message, None))
        self._upstream.submit(post)
        try:
            await self._over.wait()
        finally:
            if post.exchange is not None:
                post.exchange.cancel()
        if self._error is not None:
            raise self._error
        return self._answer

    # ------------------------------------------------------------ Owner

    def accepted(self, post: Post, head: Head) -> None:
        """The new session's id is in the answer to `initialize`."""
        self._upstream.read_head(post, head)

    def answered(self, post: Post, message: Message) -> None:
        """The answer: kept."""
        self._answer = message
        if post.method == "initialize" and message.kind is Kind.RESULT:
            self._upstream.learn_version(message)
        self._over.set()

    def waits_for(self, key: Hashable) -> bool:
        """Nobody else is answered here."""
        return False

    def lingers(self, post: Post) -> None:
        """Whatever else comes is not waited for."""
        self._over.set()

    def refused(self, post: Post, refusal: Refusal) -> None:
        """Not this time, either."""
        self._fail(explain(refusal, self._upstream.context.server.name, self._upstream.endpoint))

    def broke(self, post: Post, error: McpctlError) -> None:
        """Nor this way."""
        self._fail(error)

    def finished(self, post: Post) -> None:
        """Accepted."""
        self._over.set()

    def _fail(self, error: McpctlError) -> None:
        self._error = error
        self._over.set()

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Answers stay here."""
        if isinstance(message, Message) and message.kind in (Kind.REQUEST, Kind.NOTIFICATION):
            self._real.deliver(message)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """An answer that could not be read."""
        self._fail(error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> None:
        """Not while the session is being made."""

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """The era of the server is known."""
        return False

    def stderr(self, data: bytes) -> None:
        """Never called: HTTP has no such thing."""
        raise NotImplementedError

    @property
    def client_full(self) -> bool:
        """As the client."""
        return self._real.client_full

    async def wait_client(self) -> None:
        """As the client."""
        await self._real.wait_client()
