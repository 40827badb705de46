"""A session that outlives its server side.

What the client (or a bridge) said to make its session is remembered. When the transport tells that the server has
lost it, or ends, the same is said again in a new one, and messages wait here meanwhile.

A request is made again only if the server provably did not act on it, or if that changes nothing: methods that only
read, and tools that the server calls read-only or idempotent. Everything else gets one error.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace

from mcpctld.errors import (
    Conflict,
    Denied,
    McpctlError,
    NotFound,
    SessionLost,
    TimedOut,
    Unreachable,
    UserError,
)
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key, parse, read_params, result_line
from mcpctld.protocols.mcp.methods import LISTS
from mcpctld.protocols.mcp.script import SETTLING, Script
from mcpctld.protocols.mcp.tools import read_tools
from mcpctld.sessions.closing import Closing
from mcpctld.sessions.layer import Layer
from mcpctld.sessions.renewal import Renewal
from mcpctld.sessions.retries import Retries
from mcpctld.sessions.waiting import Waiting
from mcpctld.upstreams import Context, Upstream
from mcpctld.upstreams._tools import learn_tools

FINAL = (Denied, NotFound, UserError, Conflict)
"""Errors that another attempt would meet again."""
LEARNED = SETTLING | frozenset(LISTS)
"""Requests whose answers are looked at."""
OF_THE_OLD_SESSION = ("", "notifications/cancelled", "notifications/progress")
"""Methods (`""` of a response) of messages that mean nothing in another session."""
MARGIN_S = 0.5
"""What waits for a session waits longer by this than an attempt to make one: that knows better why it fails."""


class Keeper(Layer):
    """Stands right above the transport, and makes it anew when that is needed."""

    def __init__(self, context: Context, make_transport: Callable[[Context], Upstream]) -> None:
        super().__init__(context)
        self._make_transport = make_transport
        self._closing = Closing(context.nursery)
        self.below = self._fresh()
        self.script = Script()
        self._sent: dict[Hashable, Message] = {}  # by `id_key` of the id that the server sees
        patience_s = context.spec.connect_timeout_s + MARGIN_S
        self._waiting = Waiting(context.nursery, patience_s, self._lose_patience)
        self._retries = Retries(context)
        self._renewal = Renewal(self)
        self._live = True
        self._handshake: Message | None = None
        """The client's `initialize` that has no answer yet: only pings may be sent before (MCP, Lifecycle)."""
        self._closed = False
        self._why: McpctlError | None = None
        """What came of the last attempt to make a session anew."""
        self._proven = False  # the server was there once: it is worth waiting for

    def _fresh(self) -> Upstream:
        return self._make_transport(replace(self.context, downstream=self))

    async def run(self) -> None:
        """Run the transport; another one when it has ended and somebody needs it. Raises why there is no use."""
        while True:
            try:
                await self.below.run()
            except McpctlError as exc:
                if self._closed or not self._proven or isinstance(exc, FINAL):
                    raise
                self._ended(exc)
            await self._renewal.wait_needed()

    def _ended(self, error: McpctlError) -> None:
        """The transport is dead: decide on all that was under way."""
        self.log.info("upstream.ended", extra={"error": str(error)})
        self._closing.close(self.below)
        self.below = self._fresh()
        self._live = False
        self._renewal.broke(error)
        sent, self._sent = self._sent, {}
        for key, request in sent.items():
            self._retry_or_fail(key, request, error)
        if self._handshake is not None:
            self._break_handshake()

    def surrender(self) -> list[Message | Batch]:
        """Stop at once: what was not sent, or waits for a session."""
        self._renewal.cancel()
        self._live = False
        return [*self.below.surrender(), *self._waiting.take()]

    async def aclose(self) -> None:
        """End the session with the server."""
        self._closed = True
        self._renewal.cancel()
        self._retries.close()
        await self.below.aclose()
        await self._closing.wait()

    # ------------------------------------------------------------ from the client

    def send(self, message: Message | Batch) -> None:
        """Hand it down, or keep it until there is a session again."""
        if not self._live:
            self._send_later(message)
        elif isinstance(message, Batch) or message.kind is not Kind.REQUEST:
            self._send_other(message)
        elif message.method == "ping" and not self._sent and self._in_session:
            self._answer_ping(message)  # nobody up there is waited for: not worth waking a machine
        elif self._renewal.suspects and message.method != "initialize":
            self._live = False
            self._send_later(message)
        else:
            self._send_request(message)

    def _send_request(self, request: Message) -> None:
        if request.method == "initialize":
            self.script.begin(request)
            self._handshake, self._live = request, False
        self._sent[id_key(request.id)] = request
        self.below.send(request)

    def _send_other(self, message: Message | Batch) -> None:
        if isinstance(message, Batch):
            for part in message.messages:
                if part.kind is Kind.REQUEST:
                    self._sent[id_key(part.id)] = part
        elif message.method == "notifications/initialized":
            self.script.initialized(message)
        elif message.method == "notifications/cancelled":
            self._cancel(message)
            return
        self.below.send(message)

    def _cancel(self, message: Message) -> None:
        """The client has given a request up: it is not made again. Its late answer, if any, goes up as it comes."""
        id = read_params(message).request_id
        alias = self._drop(id)
        self.below.send(message if alias is None else cancelled(alias))

    def _drop(self, id: bytes) -> bytes | None:
        """Forget a request; the id by which the server knows it, if that is another one."""
        alias = self._retries.drop(id)
        self._sent.pop(id_key(alias or id), None)
        return alias

    def forget(self, id: bytes) -> None:
        """The client's request was answered, because it took too long."""
        self._waiting.remove(id)
        alias = self._drop(id)
        self.below.forget(alias or id)
        if self._handshake is not None and id_key(self._handshake.id) == id_key(id):
            self._break_handshake()

    @property
    def _in_session(self) -> bool:
        """Whether the client has one. From 2026-07-28 on there are none, and no pings: the server says so."""
        return self.script.initialize is not None

    def _answer_ping(self, ping: Message) -> None:
        message = parse(result_line(ping.id, b"{}"))
        self.above.deliver(message)

    def _send_later(self, message: Message | Batch) -> None:
        """There is no session; the first message that needs one has it made."""
        if self._handshake is not None:
            self._send_after_handshake(message)
        elif isinstance(message, Batch):
            self._wait(message)
        elif message.method == "initialize":  # the client begins anew by itself
            self._live = True
            self._renewal.cancel()
            self._send_request(message)
        elif message.method == "notifications/initialized":
            self.script.initialized(message)
        elif message.method == "notifications/cancelled":
            self._waiting.remove(read_params(message).request_id)
        elif message.method == "ping" and message.kind is Kind.REQUEST and self._in_session:
            self._answer_ping(message)
        elif message.method not in OF_THE_OLD_SESSION:
            self._wait(message)

    def _send_after_handshake(self, message: Message | Batch) -> None:
        """A client that was answered from the disk, or by a script, does not wait for the server's answer."""
        method = "batch" if isinstance(message, Batch) else message.method
        if method == "notifications/cancelled" and isinstance(message, Message):
            if not self._waiting.remove(read_params(message).request_id):
                self._cancel(message)
        elif method in ("", "ping"):
            if isinstance(message, Message) and message.kind is Kind.REQUEST:
                self._sent[id_key(message.id)] = message
            self.below.send(message)
        elif method == "initialize" and isinstance(message, Message):
            self._send_request(message)
        else:
            self._waiting.add(message, patiently=True)

    def _end_handshake(self) -> None:
        """The server has answered, in whatever way."""
        self._handshake = None
        self.renewed()

    def _break_handshake(self) -> None:
        """It will not: who waits now waits for another attempt."""
        self._handshake = None
        for message in self._waiting.take():
            self._send_later(message)

    def _wait(self, message: Message | Batch) -> None:
        self._waiting.add(message)
        self._renewal.need()

    @property
    def full(self) -> bool:
        """True when the transport lags behind, or so much waits for a session that it must not become more."""
        return self.below.full or self._waiting.full

    async def wait_room(self) -> None:
        """Wait for both."""
        await self._waiting.wait_room()
        await self.below.wait_room()

    # ------------------------------------------------------------ from the server

    def deliver(self, message: Message | Batch) -> None:
        """Hand it up, and learn from it."""
        if isinstance(message, Batch):
            for part in message.messages:
                self._settle(part)
            self.above.deliver(message)
        elif message.method:
            self.above.deliver(message)
        else:
            self._deliver_answer(message)

    def _deliver_answer(self, answer: Message) -> None:
        request = self._settle(answer)
        if request is None and self._renewal.takes(answer):
            return
        if self._retries.active:
            answer = self._retries.restore(answer)
        self.above.deliver(answer)
        if request is not None and request is self._handshake:
            self._end_handshake()

    def _settle(self, answer: Message) -> Message | None:
        """The request that it answers, if it is one of ours to know."""
        request = self._sent.pop(id_key(answer.id), None)
        if request is not None:
            self._proven = True
            if request.method in LEARNED:
                self._learn(request, answer)
        return request

    def _learn(self, request: Message, answer: Message) -> None:
        self.script.succeeded(request, answer)
        if request.method in LISTS and answer.kind is Kind.RESULT:
            self._renewal.note_list(request, answer)
            if request.method == "tools/list" and self.script.initialize is not None:
                # Of modern servers over HTTP the transport has learned it: it needs it for headers.
                whole = b'"cursor"' not in request.params and b'"nextCursor"' not in answer.result
                learn_tools(self.context.shared, read_tools(answer.result), whole=whole)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """A request will not be answered: make it again if that is allowed."""
        key = id_key(id)
        request = self._sent.pop(key, None)
        if request is None:
            if not self._renewal.takes_failure(id, error):
                self.above.fail(id, error)
            return
        if request.method == "initialize":
            self._live = False  # what follows has it said again
            self._renewal.broke(error)
        self._retry_or_fail(key, request, error)
        if request is self._handshake:
            self._break_handshake()

    def _retry_or_fail(self, key: Hashable, request: Message, error: McpctlError) -> None:
        """`key`: of the id that the server saw."""
        original = self._retries.original(key, request)
        if request.method == "initialize" or not self._retries.allows(original, error):
            self._retries.drop(original.id)
            self.above.fail(original.id, error)
        elif not self._live:
            self._retries.again(original)
            self._wait(original)
        else:
            self._retries.later(original, error, self._resend)

    def _resend(self, request: Message) -> None:
        """Its time has come; `request` has a new id where the server may know the old one."""
        if self._live:
            self._send_request(request)
        else:
            self._wait(request)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """The server does not know the session any more, or maybe does not.

        What is refused so once more, in a session made for it, is not refused for want of one.
        """
        if message is None and not isinstance(error, SessionLost):
            self._renewal.suspect(error)
            return True
        if any(self._retries.was_lost(part.id) for part in _parts(message)):
            return False
        if self.script.answer is not None:
            self._live = False
            self._renewal.lose()
        for part in _parts(message):
            self._lose(part, error)
        return True

    def _lose(self, message: Message, error: McpctlError) -> None:
        """It was refused unread."""
        if message.kind is Kind.REQUEST:
            key = id_key(message.id)
            if self._sent.pop(key, None) is not None:
                original = self._retries.original(key, message)
                self._retry_or_fail(key, message, error)
                self._retries.note_lost(original.id)
            elif not self._renewal.takes_failure(message.id, error):
                self.above.fail(message.id, error)
        elif not self._live and message.method not in OF_THE_OLD_SESSION:
            self._wait(message)

    # ------------------------------------------------------------ what the renewal reports

    def renewed(self) -> None:
        """There is a session again: what waited may go."""
        self._live, self._why = True, None
        for message in self._waiting.take():
            self.send(message)

    def not_renewed(self, error: McpctlError) -> bool:
        """There is none. True while somebody waits for another attempt, if one makes sense."""
        self._why = error
        if error.exhausted or not isinstance(error, Unreachable | TimedOut):
            for message in self._waiting.take():
                self._refuse(message, error)
        return len(self._waiting) > 0

    def _lose_patience(self, message: Message | Batch) -> None:
        """It has waited long enough."""
        name = self.context.server.name
        self._refuse(message, self._why or TimedOut(f"{name} did not answer in time; try again"))

    def _refuse(self, message: Message | Batch, error: McpctlError) -> None:
        for part in _parts(message):
            if part.kind is Kind.REQUEST:
                self._retries.drop(part.id)
                self.above.fail(part.id, error)


def _parts(message: Message | Batch | None) -> list[Message]:
    if message is None:
        return []
    return message.messages if isinstance(message, Batch) else [message]


def cancelled(id: bytes) -> Message:
    """`notifications/cancelled` for a request."""
    line = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%b}}' % id
    message = parse(line)
    assert isinstance(message, Message)
    return message
