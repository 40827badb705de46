"""The session that clients share: who gets what.

Requests get ids of ours, answers go back under the client's own; so do progress tokens and the ids of subscriptions.
The first client's `initialize` makes the session, the others are answered with what came of it. What belongs to no
request goes to those whom it concerns, or to all. Works for both eras: a process speaks one of them, and refuses the
other by itself.

The process reads one line after the other, so messages wait here until `next_message` fetches them: only when the one
before has arrived. After every other call take `next_event` until it is None.
"""

from collections import deque

import msgspec

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Message,
    error_line,
    id_key,
    new_notification,
    new_result,
    parse,
    read_params,
    request_line,
    result_line,
    with_id,
)
from mcpctld.protocols.mcp.eras import METHOD_NOT_FOUND
from mcpctld.protocols.mcp.methods import LASTING, PREFIX
from mcpctld.protocols.mcp.objects import close_array, close_text, open_object, open_text
from mcpctld.protocols.mcp.paths import Path, replace_at, value_at
from mcpctld.protocols.mcp.script import promised_lists
from mcpctld.protocols.mcp.sharing.calls import Call, Calls, Member, as_ours
from mcpctld.protocols.mcp.sharing.events import Deliver, Event, Fail, Outgoing, Said
from mcpctld.protocols.mcp.sharing.handshake import Handshake
from mcpctld.protocols.mcp.sharing.questions import Questions
from mcpctld.protocols.mcp.sharing.wishes import Wishes
from mcpctld.protocols.splice import replace_id

MAX_OWN = 4096
"""A server that makes us answer more than it reads gets no answer."""

_CAPABILITIES: Path = ("params", "capabilities")
_TOKEN_OF_REQUEST: Path = ("params", "_meta", "progressToken")
_TOKEN_OF_PROGRESS: Path = ("params", "progressToken")
_CANCELLED: Path = ("params", "requestId")
_LEVEL: Path = ("params", "level")
_SUBSCRIPTION: Path = ("params", "_meta", f"{PREFIX}subscriptionId")
_SUBSCRIPTION_OF_RESULT: Path = ("result", "_meta", f"{PREFIX}subscriptionId")


class Sharing:
    """The clients, and what is between them and the process.

    `first_id` should be far from that of others who use the process, before and after: what it answers to them late
    must not be taken for an answer to ours.
    """

    def __init__(self, first_id: int) -> None:
        self.members: dict[Member, None] = {}
        """In the order in which they came."""
        self.queued = 0
        """The bytes of what waits."""
        self._queue: deque[Said] = deque()
        self._own: deque[Outgoing] = deque()
        """What we have to say ourselves; it goes before what clients say."""
        self._events: deque[Event] = deque()
        self._calls = Calls(first_id)
        self._handshake = Handshake()
        self._questions = Questions(self._calls, self._handshake)
        self._wishes: Wishes[Member] = Wishes()
        self._renewing = b""
        """The id of our own `initialize`, while all others wait for its answer."""

    @property
    def in_flight(self) -> bool:
        """Whether a client waits for an answer of the process."""
        return any(True for _ in self._calls)

    def next_event(self) -> Event | None:
        """What is to be done next; None when that is all."""
        return self._events.popleft() if self._events else None

    def _deliver(self, member: Member, message: Message | Batch) -> None:
        self._events.append(Deliver(member, message))

    # ------------------------------------------------------------ clients

    def join(self) -> Member:
        """One more client."""
        member = Member()
        self.members[member] = None
        return member

    def leave(self, member: Member, error: McpctlError) -> list[Message | Batch]:
        """A client goes: its requests have failed with `error`. What it said and was not fetched, in order."""
        del self.members[member]
        unsent = [said for said in self._queue if said.member is member]
        for said in unsent:
            self._unqueue(said)
        for id in self._calls.of(member):
            self._events.append(Fail(member, self._calls[id].id, error))
            self._abandon(id)
        for id in self._questions.drop(member):
            self._refuse(id, "the client that was asked has gone")
        self._forget_wishes(member)
        return [said.message for said in unsent]

    def _forget_wishes(self, member: Member) -> None:
        before = self._wishes.level
        for uri in self._wishes.drop(member):
            self._ask("resources/unsubscribe", {"uri": uri})
        if self._wishes.level not in (None, before):
            self._ask("logging/setLevel", {"level": self._wishes.level})

    def send(self, member: Member, message: Message | Batch) -> None:
        """A client says something."""
        self._queue.append(Said(member, message))
        self.queued += len(message.raw)

    def forget(self, member: Member, id: bytes) -> None:
        """The client does not wait for the answer to its request `id` any more."""
        found = self._calls.find(member, id)
        if found is not None:
            self._handshake.end(found, None)
            self._abandon(found)
            return
        for said in self._queue:
            if said.member is member and _is_request(said.message, id):
                self._unqueue(said)
                if _method(said.message) == "initialize":  # it has waited for another's, too long
                    self._handshake.broke()
                return

    def _unqueue(self, said: Said) -> None:
        self._queue.remove(said)
        self.queued -= len(said.message.raw)

    def _abandon(self, id: bytes) -> None:
        """Nobody waits for the answer. `initialize` MUST NOT be cancelled, and what comes of it is for all."""
        if self._calls[id].method == "initialize":
            self._calls.orphan(id)
        else:
            self._calls.cancel(id)
            self._say(new_notification("notifications/cancelled", b'{"requestId":%b}' % id).raw)

    # ------------------------------------------------------------ to the process

    def next_message(self) -> Outgoing | None:
        """What to write to the process next; None when there is nothing, or what there is has to wait."""
        if self._own:
            return self._own.popleft()
        if self._renewing:
            return None
        while (said := self._pick()) is not None:
            outgoing = self._address(said)
            if outgoing is not None:
                return outgoing
        return None

    def _pick(self) -> Said | None:
        """The oldest message that may go: during the handshake only what its founder says."""
        speaker = self._handshake.speaker
        for index, said in enumerate(self._queue):
            if speaker is None or said.member is speaker:
                del self._queue[index]
                self.queued -= len(said.message.raw)
                return said
        return None

    def take_back(self, outgoing: Outgoing) -> None:
        """The process has not got it: it is as if it had not been fetched."""
        for id in outgoing.ids:
            self._end(id)
        if outgoing.said is not None:
            self._queue.appendleft(outgoing.said)
            self.queued += len(outgoing.said.message.raw)

    def _address(self, said: Said) -> Outgoing | None:
        """The message as the process is to see it; None when it need not."""
        ids: list[bytes] = []
        if isinstance(said.message, Batch):
            parts = [self._rewrite(said.member, part, ids) for part in said.message.messages]
            wanted = [part for part in parts if part is not None]
            body = close_array(wanted) if wanted else None
        else:
            body = self._rewrite(said.member, said.message, ids)
        return None if body is None else Outgoing(body, tuple(ids), said)

    def _rewrite(self, member: Member, message: Message, ids: list[bytes]) -> bytes | None:
        match message.kind:
            case Kind.REQUEST:
                return self._rewrite_request(member, message, ids)
            case Kind.NOTIFICATION:
                return self._rewrite_notification(member, message)
            case _:  # to a question of the process: only from the one who was asked, and only once
                return message.raw if self._questions.answer(member, message.id) else None

    def _rewrite_request(self, member: Member, request: Message, ids: list[bytes]) -> bytes | None:
        raw = request.raw
        match request.method:
            case "initialize" if self._greets(member, request):
                return None
            case "logging/setLevel":
                raw = self._rewrite_level(member, request)
            case "resources/subscribe":
                self._wishes.subscribe(member, read_params(request).uri or "")
            case "resources/unsubscribe" if not self._unsubscribes(member, request):
                return None
        id = self._calls.begin(member, request)
        ids.append(id)
        if request.method == "initialize":
            self._handshake.begin(member, request, id)
        if self._calls[id].token:
            raw = replace_at(raw, _TOKEN_OF_REQUEST, id)
        return replace_id(raw, id)

    def _greets(self, member: Member, initialize: Message) -> bool:
        """Answer a later client's handshake from the first one's; False when there was none.

        Whatever revision it asked for: the server has chosen, and MCP lets a client that cannot use it disconnect.
        """
        member.capabilities = frozenset(open_object(value_at(initialize.raw, _CAPABILITIES)))
        if self._handshake.answer is None:
            return False
        member.answered = True
        self._deliver(member, _with_id(self._handshake.answer, initialize.id))
        return True

    def _rewrite_level(self, member: Member, request: Message) -> bytes:
        """`logging/setLevel` with the most verbose level that any client wants."""
        self._wishes.want_level(member, open_text(value_at(request.raw, _LEVEL)))
        level = self._wishes.level
        return replace_at(request.raw, _LEVEL, close_text(level)) if level else request.raw

    def _unsubscribes(self, member: Member, request: Message) -> bool:
        """Whether the process is to hear of it: only when no other client wants the resource."""
        if self._wishes.unsubscribe(member, read_params(request).uri or ""):
            return True
        self._deliver(member, new_result(request.id, b"{}"))
        return False

    def _rewrite_notification(self, member: Member, message: Message) -> bytes | None:
        match message.method:
            case "notifications/cancelled":
                return self._rewrite_cancelled(member, message)
            case "notifications/initialized":  # the first to say it says it for all
                if not self._handshake.say_initialized(message.raw):
                    return None
                self._questions.rooted = member
            case "notifications/roots/list_changed":
                self._questions.rooted = member
        return message.raw

    def _rewrite_cancelled(self, member: Member, message: Message) -> bytes | None:
        found = self._calls.find(member, read_params(message).request_id)
        if found is None or self._calls[found].method == "initialize":
            return None
        self._calls.cancel(found)
        return replace_at(message.raw, _CANCELLED, found)

    # ------------------------------------------------------------ our own words

    def _say(self, line: bytes, *ids: bytes) -> None:
        """Nothing is said when nobody is left: the session with the process is over then."""
        if self.members:
            self._own.append(Outgoing(line, ids))

    def _ask(self, method: str, params: object) -> None:
        """A request of ours whose answer does not matter."""
        id = self._calls.begin_own(method)
        self._say(request_line(id, method, params), id)

    def _reply(self, line: bytes) -> None:
        if len(self._own) < MAX_OWN:
            self._say(line)

    def _refuse(self, id: bytes, reason: str) -> None:
        """Answer a question of the process with an error."""
        self._reply(error_line(id, METHOD_NOT_FOUND, f"mcpctl: {reason}"))

    # ------------------------------------------------------------ the connection to the process

    def broke(self, error: McpctlError) -> None:
        """What the process says does not reach us any more: what it has must be taken for lost. What waits, waits."""
        for call in self._calls.clear():
            assert call.member is not None
            self._events.append(Fail(call.member, call.id, error))
        self._handshake.broke()
        self._own.clear()
        self._renewing = b""
        # The process may be another one when it is back, with questions of its own under the same ids.
        for member, id in self._questions.clear():
            params = b'{"requestId":%b,"reason":"the connection to the server broke"}' % id
            self._deliver(member, new_notification("notifications/cancelled", params))

    def fail_queued(self, error: McpctlError) -> None:
        """The process cannot be reached: give up on what waits for it."""
        queued, self._queue, self.queued = self._queue, deque(), 0
        for member, message in queued:
            for id in requests_in(message):
                self._events.append(Fail(member, id, error))

    def renew(self) -> None:
        """The process is back, but maybe another one: its machine may have slept, and it knows of no session.

        Then the handshake is made again, in the founder's words, before anybody else says anything, and what the
        clients had asked for is asked for again. A process that has gone on all the time answers an error or a second
        result, and no harm is done.
        """
        if self._handshake.answer is not None:
            assert self._handshake.initialize is not None
            self._renewing = id = self._calls.begin_own("initialize")
            self._say(replace_id(self._handshake.initialize.raw, id), id)

    def stop_waiting(self) -> None:
        """Go on without the answer to the handshake of `renew`, if that has not come."""
        if self._renewing:
            self._end(self._renewing)

    def _renewed(self, answer: Message | None) -> None:
        self._renewing = b""
        self._handshake.say_initialized()
        self._say(self._handshake.initialized)
        if self._wishes.level:
            self._ask("logging/setLevel", {"level": self._wishes.level})
        for uri in self._wishes.uris:
            self._ask("resources/subscribe", {"uri": uri})
        before = self._handshake.answer
        assert before is not None
        if answer is None or answer.kind is Kind.ERROR or answer.result == before.result:
            return
        self._handshake.answer = answer
        for name in promised_lists(before.result):  # it is another server now
            self._tell_all(new_notification(f"notifications/{name}/list_changed"))

    def fail(self, id: bytes, error: McpctlError) -> None:
        """The process will not answer the request `id` (as it knows it), or its answer cannot be used."""
        call = self._end(as_ours(id))
        if call is not None and call.member is not None:
            self._events.append(Fail(call.member, call.id, error))

    def _end(self, id: bytes) -> Call | None:
        """A request is over without an answer."""
        call = self._calls.end(id)
        self._handshake.end(id, None)
        if call is not None and id == self._renewing:
            self._renewed(None)
        return call

    # ------------------------------------------------------------ from the process

    def receive(self, message: Message | Batch) -> None:
        """The process says something."""
        if isinstance(message, Batch):
            self._receive_batch(message)
            return
        match message.kind:
            case Kind.REQUEST:
                self._take_question(message)
            case Kind.NOTIFICATION:
                self._take_notification(message)
            case _:
                self._take_answer(message)

    def _receive_batch(self, batch: Batch) -> None:
        """Each client gets its part as a batch again (2025-03-26)."""
        before, self._events = self._events, deque()
        for part in batch.messages:
            self.receive(part)
        parts: dict[Member, list[Message]] = {}
        for member, message, *_ in self._events:
            assert isinstance(message, Message)
            parts.setdefault(member, []).append(message)
        self._events = before
        for member, messages in parts.items():
            self._deliver(member, Batch(close_array(part.raw for part in messages), messages))

    def _take_answer(self, answer: Message) -> None:
        id = as_ours(answer.id)
        call = self._calls.answer(id)
        if call is None:
            return
        if id == self._renewing:
            self._renewed(answer)
        elif call.method == "initialize":
            self._handshake.end(id, answer)
        elif call.uri and call.member is not None and answer.kind is Kind.ERROR:
            self._wishes.unsubscribe(call.member, call.uri)
        if call.member is None:
            return
        call.member.answered = True
        if call.method in LASTING:
            answer = _replaced(answer, _SUBSCRIPTION_OF_RESULT, call.id)
        self._deliver(call.member, _with_id(answer, call.id))

    def _take_question(self, question: Message) -> None:
        if question.method == "ping":
            self._reply(result_line(question.id, b"{}"))
            return
        asked = self._questions.ask(question, self.members)
        if isinstance(asked, Member):
            self._deliver(asked, question)
        else:
            self._refuse(question.id, asked)

    # ------------------------------------------------------------ notifications of the process

    def _take_notification(self, message: Message) -> None:
        match message.method:
            case "notifications/progress":
                self._pass_progress(message)
            case "notifications/cancelled":
                self._pass_cancelled(message)
            case _ if b"subscriptionId" in message.raw and self._pass_subscribed(message):
                pass
            case "notifications/message":
                self._pass_log(message)
            case "notifications/resources/updated":
                self._pass_updated(message)
            case _:
                self._tell_all(message)

    def _pass_progress(self, message: Message) -> None:
        call = self._calls.by_token(as_ours(value_at(message.raw, _TOKEN_OF_PROGRESS)))
        if call is not None and call.member is not None:
            self._deliver(call.member, _replaced(message, _TOKEN_OF_PROGRESS, call.token))

    def _pass_cancelled(self, message: Message) -> None:
        """The process gives up a question of its own, or ends a subscription (2026-07-28, Subscriptions, stdio)."""
        id = read_params(message).request_id
        asked = self._questions.cancel(id)
        if asked is not None:
            self._deliver(asked, message)
        elif (call := self._calls.end(as_ours(id))) is not None and call.member is not None:
            self._deliver(call.member, _replaced(message, _CANCELLED, call.id))

    def _pass_subscribed(self, message: Message) -> bool:
        """Whether it belongs to a `subscriptions/listen`."""
        call = self._calls.open(as_ours(value_at(message.raw, _SUBSCRIPTION)))
        if call is None or call.member is None:
            return False
        self._deliver(call.member, _replaced(message, _SUBSCRIPTION, call.id))
        return True

    def _pass_log(self, message: Message) -> None:
        """To those who asked in the request (2026-07-28), else by the level that each has set."""
        asked = {call.member for call in self._calls if call.logs}
        level = open_text(value_at(message.raw, _LEVEL))
        for member in self._audience():
            if member in asked if asked else self._wishes.hears(member, level):
                self._deliver(member, message)

    def _pass_updated(self, message: Message) -> None:
        wanted = self._wishes.subscribers(read_params(message).uri or "")
        for member in self._audience():
            if member in wanted or len(self.members) == 1:
                self._deliver(member, message)

    def _tell_all(self, message: Message) -> None:
        for member in self._audience():
            self._deliver(member, message)

    def _audience(self) -> list[Member]:
        """The clients that may hear notifications: a handshake is answered first."""
        if len(self.members) == 1:
            return list(self.members)
        return [member for member in self.members if member.answered]


def requests_in(message: Message | Batch) -> list[bytes]:
    """The ids of the requests in it."""
    parts = message.messages if isinstance(message, Batch) else (message,)
    return [part.id for part in parts if part.kind is Kind.REQUEST]


def _is_request(message: Message | Batch, id: bytes) -> bool:
    wanted = id_key(id)
    return isinstance(message, Message) and wanted in map(id_key, requests_in(message))


def _method(message: Message | Batch) -> str:
    return "" if isinstance(message, Batch) else message.method


def _with_id(message: Message, id: bytes) -> Message:
    """The same under another id; what else was read of it stands."""
    return msgspec.structs.replace(message, raw=with_id(message, id), id=id)


def _replaced(message: Message, path: Path, value: bytes) -> Message:
    replaced = parse(replace_at(message.raw, path, value))
    assert isinstance(replaced, Message)
    return replaced
