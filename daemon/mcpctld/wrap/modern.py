"""2026-07-28: every request says all, so any process can answer it; a few warm ones serve all clients.

    request -> Pool -> Line (`Sharing` over one process) -> the process

A server that speaks that revision is shared by everybody. One that does not is bridged, and then its session is tied to
what the client said of itself: requests that say the same share a line.

Log messages are not tied to requests on stdio (2026-07-28, stdio), so of the requests that ask for them each process
has one at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import trio

from mcpctld.drivers.http.server import Reply
from mcpctld.errors import McpctlError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, new_result
from mcpctld.protocols.mcp.asides import envelope_of
from mcpctld.protocols.mcp.inbound import status_of
from mcpctld.protocols.mcp.listening import LISTEN
from mcpctld.protocols.mcp.methods import PREFIX
from mcpctld.protocols.mcp.objects import close_object
from mcpctld.protocols.mcp.sharing.calls import Member
from mcpctld.protocols.mcp.sharing.events import Deliver
from mcpctld.protocols.mcp.sharing.session import Sharing
from mcpctld.protocols.mcp.tools import read_tools
from mcpctld.upstreams._tools import learn_tools
from mcpctld.wrap.answers import EVENTS, JSON, failure_line, failure_status, head_of
from mcpctld.wrap.children import Busy
from mcpctld.wrap.conversation import Conversation
from mcpctld.wrap.streamable import STREAM_AFTER_S
from mcpctld.wrap.streams import KEEP_ALIVE, event
from mcpctld.wrap.world import World

WAY = "modern"
MOST_LINES = 4
"""Processes for requests that ask for log messages; all others fit on one."""
BRIDGED_IDLE_S = 600.0
"""A bridged session is kept for so long: questions to the client may be open in it."""
LAG_S = 10.0
"""For so long all wait for one client that does not read what it is told; then it has to go."""

_LOGS = f"{PREFIX}logLevel".encode()
_OWN = ("notifications/progress", "notifications/message", "notifications/cancelled")
"""What may be said on a request's stream, beside what belongs to a subscription."""


class Asker(Protocol):
    """Who waits for the answer to one request."""

    def take(self, message: Message) -> None:
        """A message that belongs to the request; the answer is the last."""

    def fail(self, error: McpctlError) -> None:
        """There will be no answer."""

    @property
    def full(self) -> bool:
        """Whether what was taken has not gone out."""

    async def wait_room(self) -> None:
        """Wait until it has."""


@dataclass(slots=True, eq=False)
class Question:
    """A request on a line."""

    message: Message
    asker: Asker
    member: Member
    began: float

    @property
    def logs(self) -> bool:
        """Whether it may be told log messages: who listens has no call that anything could be logged about."""
        return _may_log(self.message)


class Line:
    """One process, and the requests that it has. Implements `conversation.Listener`."""

    def __init__(
        self,
        world: World,
        key: str,
        name: str,
        on_end: Callable[["Line"], None],
        *,
        bridges: bool,
    ) -> None:
        self.key = key
        """For whom it is; empty: for everybody."""
        self.used_at = trio.current_time()
        self._world = world
        self._on_end = on_end
        self._sharing = Sharing(first_id=1)
        self._sharing.join()  # ourselves: so the last client's request is cancelled when it goes
        self._questions: dict[Member, Question] = {}
        self._waiting: deque[Question] = deque()
        """Those that ask for log messages while another one hears them."""
        self._hearing: Question | None = None
        self._ended = False
        self.conversation = Conversation(world, name, self, bridges=bridges)
        self.conversation.begin()

    def __len__(self) -> int:
        return len(self._questions)

    def __iter__(self) -> Iterator[Question]:
        return iter(tuple(self._questions.values()))

    @property
    def hears_logs(self) -> bool:
        """Whether a request that asks for log messages is under way."""
        return self._hearing is not None

    # ------------------------------------------------------------ requests

    def ask(self, message: Message, asker: Asker) -> Question:
        """Bring a request to the process."""
        self.used_at = now = trio.current_time()
        member = self._sharing.join()
        member.answered = True  # there is no handshake before which it may hear nothing
        question = Question(message, asker, member, now)
        self._questions[question.member] = question
        if question.logs and self._hearing is not None:
            self._waiting.append(question)
        else:
            self._send(question)
        return question

    def _send(self, question: Question) -> None:
        if question.logs:
            self._hearing = question
        self._sharing.send(question.member, question.message)
        self._pump()

    def leave(self, question: Question) -> None:
        """The client has gone, which cancels its request; or it has its answer."""
        if self._questions.pop(question.member, None) is None:
            return
        self.used_at = trio.current_time()
        self._sharing.leave(question.member, Unreachable("the client has gone"))
        while self._sharing.next_event() is not None:
            pass  # it was about the one who has gone
        if question in self._waiting:
            self._waiting.remove(question)
        if self._hearing is question:
            self._hearing = None
            if self._waiting:
                self._send(self._waiting.popleft())
        self._pump()

    def _pump(self) -> None:
        while (outgoing := self._sharing.next_message()) is not None:
            self.conversation.send_line(outgoing.body)

    # ------------------------------------------------------------ from the process

    def deliver(self, message: Message | Batch) -> None:
        """A message of the server: to whom it belongs."""
        self._sharing.receive(message)
        self._tell()
        self._pump()

    def _tell(self) -> None:
        while (said := self._sharing.next_event()) is not None:
            question = self._questions.get(said.member)
            if question is None:
                continue
            if not isinstance(said, Deliver):
                question.asker.fail(said.error)
                self.leave(question)
            elif isinstance(said.message, Message) and _belongs(said.message):
                self._give(question, said.message)

    def _give(self, question: Question, message: Message) -> None:
        question.asker.take(message)
        if question.message.method == "tools/list" and message.kind is Kind.RESULT:
            self._learn(question.message, message)
        if message.kind is not Kind.NOTIFICATION or _ends(message):
            self.leave(question)

    def _learn(self, request: Message, answer: Message) -> None:
        """What calls must repeat in headers."""
        whole = b'"cursor"' not in request.params and b'"nextCursor"' not in answer.result
        learn_tools(self._world.shared, read_tools(answer.result), whole=whole)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """A request will not be answered."""
        self._sharing.fail(id, error)
        self._tell()
        self._pump()

    def ended(self, error: McpctlError | None) -> None:
        """There is no process any more."""
        self._ended = True
        self._on_end(self)
        for question in self:
            question.asker.fail(error or Unreachable("the server is being stopped"))
            self.leave(question)

    def close(self) -> None:
        """End it."""
        self.conversation.close()

    @property
    def full(self) -> bool:
        """Whether a client does not read: all wait for it, but not for long."""
        return any(question.asker.full for question in self._questions.values())

    async def wait_room(self) -> None:
        """Wait for that client; after `LAG_S` it has to go."""
        await trio.lowlevel.checkpoint()
        for question in self:
            with trio.move_on_after(LAG_S) as patience:
                await question.asker.wait_room()
            if patience.cancelled_caught:
                self._world.figures.dropped_readers += 1
                question.asker.fail(TimedOut("the client does not read what it asked for"))
                self.leave(question)


def _may_log(message: Message) -> bool:
    return _LOGS in message.raw and message.method != LISTEN


def _belongs(message: Message) -> bool:
    """Whether it may be said on a request's stream."""
    return (
        message.kind in (Kind.RESULT, Kind.ERROR)
        or message.method in _OWN
        or b"subscriptionId" in message.raw
    )


def _ends(message: Message) -> bool:
    """Whether a server on stdio ends a subscription with it."""
    return message.method == "notifications/cancelled"


class Pool:
    """The lines."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lines: list[Line] = []
        self._made = 0
        self.proven = False
        """The server is known to speak this revision: so a line is for everybody, and is never bridged."""

    @property
    def idle(self) -> bool:
        """Whether no client waits for anything; what we ask ourselves does not count."""
        return not any(
            isinstance(question.asker, HttpAsker) for line in self._lines for question in line
        )

    def ask(self, message: Message, asker: Asker, principal: str) -> tuple[Line, Question]:
        """Have a request answered. Raises `Busy` when the process does not read."""
        self._world.figures.count(WAY)
        line = self._pick(message, principal)
        if line.conversation.lags:
            raise Busy("the server does not read what it is sent; try again later")
        return line, line.ask(message, asker)

    def _pick(self, message: Message, principal: str) -> Line:
        key = "" if self.proven else _key_of(message, principal)
        lines = [line for line in self._lines if line.key == key]
        if not _may_log(message):
            return lines[0] if lines else self._add_line(key)
        free = next((line for line in lines if not line.hears_logs), None)
        if free is not None:
            return free
        may_grow = len(lines) < MOST_LINES and not self._world.children.full
        return self._add_line(key) if may_grow or not lines else min(lines, key=len)

    def _add_line(self, key: str) -> Line:
        return self.new_line(key, bridges=not self.proven)

    def new_line(self, key: str, *, bridges: bool = True) -> Line:
        """Another process, bridged if need be and allowed."""
        self._made += 1
        name = f"{WAY}-{self._made}"
        line = Line(self._world, key, name, self._forget, bridges=bridges)
        self._lines.append(line)
        return line

    def _forget(self, line: Line) -> None:
        if line in self._lines:
            self._lines.remove(line)

    def retire(self, line: Line) -> None:
        """Give a line up: nothing new comes on it."""
        self._forget(line)
        line.close()

    def on_beat(self, now: float) -> None:
        """Keep streams alive, give up on what takes too long, and on lines that nobody uses."""
        for line in tuple(self._lines):
            for question in line:
                if now - question.began > self._world.call_timeout_s and not _lasts(question):
                    question.asker.fail(TimedOut("the server did not answer in time"))
                    line.leave(question)
                elif isinstance(question.asker, HttpAsker):
                    question.asker.keep_alive(now - question.began)
            spare = line.key or line is not self._lines[0]
            if spare and not len(line) and now - line.used_at > BRIDGED_IDLE_S:
                self.retire(line)

    def evict(self) -> bool:
        """Give up a line that nobody uses; the last one too, when a place is wanted."""
        unused = [line for line in self._lines if not len(line)]
        if unused:
            self.retire(min(unused, key=lambda line: line.used_at))
        return bool(unused)

    def drain(self) -> None:
        """End subscriptions as a server does that stops: with an empty result (2026-07-28, Subscriptions)."""
        for line in tuple(self._lines):
            for question in filter(_lasts, line):
                question.asker.take(new_result(question.message.id, _end_of(question)))
                line.leave(question)

    def close(self) -> None:
        """End all of them."""
        for line in tuple(self._lines):
            line.close()


def _end_of(question: Question) -> bytes:
    meta = close_object({f"{PREFIX}subscriptionId": question.message.id})
    return close_object({"resultType": b'"complete"', "_meta": meta})


def _lasts(question: Question) -> bool:
    return question.message.method == LISTEN


def _key_of(message: Message, principal: str) -> str:
    """Who asks, and what the client says of itself: a bridged session is that client's, with the questions in it."""
    return f"{principal} {close_object(envelope_of(message.params)).decode('utf-8', 'replace')}"


class HttpAsker:
    """The POST that waits for the answer. Implements `Asker`."""

    def __init__(self, message: Message, reply: Reply, *, takes_events: bool) -> None:
        self._id = message.id
        self._reply = reply
        self._takes_events = takes_events
        self._streaming = False

    def take(self, message: Message) -> None:
        """The answer alone goes out in one piece, with its status; what comes before it makes a stream."""
        answer = message.kind is not Kind.NOTIFICATION
        if answer and not self._streaming:
            self._reply.send(status_of(message), JSON, message.raw)
            return
        self._stream()
        if self._streaming:
            self._reply.write(event(message.raw))
            if answer or _ends(message):
                self._reply.end()

    def _stream(self) -> None:
        if not self._streaming and self._takes_events:
            self._streaming = True
            self._reply.start(200, EVENTS)

    def fail(self, error: McpctlError) -> None:
        """Say so instead of the answer."""
        line = failure_line(self._id, error)
        if self._streaming:
            self._reply.write(event(line))
            self._reply.end()
        else:
            status = failure_status(error)
            self._reply.send(status, head_of(status), line)

    def keep_alive(self, waited_s: float) -> None:
        """Proxies close what is silent for a minute."""
        if waited_s > STREAM_AFTER_S:
            self._stream()
        if self._streaming:
            self._reply.write(KEEP_ALIVE)

    @property
    def full(self) -> bool:
        """Whether the client does not read."""
        return not self._reply.gone and self._reply.full

    async def wait_room(self) -> None:
        """Wait until it has read on."""
        await self._reply.wait_room()
