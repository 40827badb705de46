"""A session goes on after its daemon was stopped or killed: the next daemon's first minutes with it.

The client sees nothing of it but what cannot be hidden. What made its session is said again, under ids of our own, and
what the server answers to that is not for the client. A request that the server may have got is made again if that
changes nothing; everything else gets one error.
"""

import random
from collections.abc import Callable, Hashable

import trio

from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols.checkpoint_format import Found, Mark
from mcpctld.protocols.jsonrpc import (
    INTERNAL_ERROR,
    Kind,
    Message,
    error_line,
    id_key,
    new_notification,
    parse,
    read_initialize_result,
    with_id,
)
from mcpctld.protocols.mcp.listening import read_honoured, say_changed
from mcpctld.protocols.mcp.tools import may_repeat
from mcpctld.sessions.answers import Answers, subscription_of
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.checkpoint import Logbook, message_of
from mcpctld.sessions.profile import Profile
from mcpctld.upstreams import Shared, Upstream

PATIENCE_S = 30.0
"""How long the server may take to begin a session again before the client's requests go to it all the same."""


class Recovery:
    """Of one session, once. Implements `answers.Aside`."""

    def __init__(
        self,
        found: Found,
        logbook: Logbook,
        calls: Calls,
        answers: Answers,
        profile: Profile,
        shared: Shared,
    ) -> None:
        self._found = found
        self._lines = logbook.lines
        self._calls = calls
        self._answers = answers
        self._profile = profile
        self._shared = shared
        self._mark = random.getrandbits(32)
        self._asked: dict[Hashable, _Answer] = {}
        self._again: list[Message] = []
        self._heard: set[Hashable] = set()
        self._initialize: Message | None = None
        self._rest: list[Message] = []

    # ------------------------------------------------------------ at once

    def begin(self) -> None:
        """Make calls of what was in flight, and answer what is lost."""
        self._answers.aside = self
        self._answers.take_over(self._found)
        for number, line in enumerate(self._found.lines, 1):
            message = message_of(line.text)
            if line.mark == Mark.KEPT and message is not None:
                self._said(message)
            elif line.mark not in (Mark.READ, Mark.KEPT):
                self._resume(number, line.mark, message)
        self._profile.resumed(self._found.notes, self._initialize)
        extra = {"again": len(self._again), "notes": repr(self._found.notes)}
        self._profile.log.info("session.resumed", extra=extra)

    def _said(self, message: Message) -> None:
        if message.method == "initialize":
            self._initialize = message
        else:
            self._rest.append(message)

    def _resume(self, number: int, mark: int, request: Message | None) -> None:
        if (
            request is None
            or request.kind is not Kind.REQUEST
            or not self._calls.begin(request, number)
        ):
            self._lines.finish(number)
        elif mark == Mark.LOST or not may_repeat(request, self._shared.facts.tools):
            self._answers.fail(request.id, _lost(self._profile.server.name))
        else:
            self._again.append(request)
            if mark == Mark.HEARD:
                self._heard.add(id_key(request.id))

    # ------------------------------------------------------------ with the server

    async def run(self, upstream: Upstream, refuse: Callable[[McpctlError], None]) -> None:
        """Make the session again, and repeat what may be repeated; `refuse` is for what the client asks later."""
        try:
            with trio.move_on_after(PATIENCE_S):
                await self._make_session(upstream)
        except PeerError as exc:
            self._answers.fail_all(exc)
            refuse(exc)
            return  # noqa: ASYNC910  (`_make_session` has waited)
        for request in self._again:
            if self._calls.find(request.id) is not None:
                upstream.send(request)
        for name in self._found.notes.promised:
            self._answers.deliver(new_notification(f"notifications/{name}/list_changed"))

    async def _make_session(self, upstream: Upstream) -> None:
        """Raises `PeerError` when the server has become another one."""
        await trio.lowlevel.checkpoint()
        if self._initialize is None:
            return
        try:
            answer = await self._ask(upstream, self._initialize)
        except McpctlError as exc:  # the next request of the client finds out more
            self._profile.note(exc)
            return  # noqa: ASYNC910  (asking has waited)
        self._check(answer)
        for message in self._rest:
            if message.kind is Kind.REQUEST:
                upstream.send(self._ours(message))
            else:
                upstream.send(message)

    def _check(self, answer: Message) -> None:
        name, promised = self._profile.server.name, self._found.notes.revision
        revision = read_initialize_result(answer).protocol_version
        if revision is not None and promised and revision != promised:
            raise PeerError(
                f"{name} speaks revision {revision} now, not {promised}; start the client again"
            )

    async def _ask(self, upstream: Upstream, request: Message) -> Message:
        message = self._ours(request)
        upstream.send(message)
        return await self._asked[id_key(message.id)].wait()

    def _ours(self, request: Message) -> Message:
        """The same under an id of ours, whose answer is taken."""
        id = b'"mcpctl:resume:%x:%d"' % (self._mark, len(self._asked))
        message = parse(with_id(request, id))
        assert isinstance(message, Message)
        self._asked[id_key(id)] = _Answer()
        return message

    # ------------------------------------------------------------ Aside

    def takes(self, message: Message) -> bool:
        """Answers to what we said again, and acknowledgements that the client has got before."""
        if message.method:
            return self._takes_acknowledgement(message)
        asked = self._asked.get(id_key(message.id))
        if asked is not None:
            asked.set(message)
        return asked is not None

    def takes_failure(self, id: bytes, error: McpctlError) -> bool:
        """Failures of what we said again."""
        asked = self._asked.get(id_key(id))
        if asked is not None:
            asked.fail(error)
        return asked is not None

    def _takes_acknowledgement(self, message: Message) -> bool:
        id = subscription_of(message)
        if id_key(id) not in self._heard:
            return False
        self._heard.discard(id_key(id))
        for told in say_changed(id, read_honoured(message)):  # all of it may have, meanwhile
            self._answers.deliver(told)
        return True


def last_words(found: Found, error: McpctlError) -> bytes:
    """What a client is owed whose session cannot go on: errors for all that it has asked."""
    messages = [message_of(line.text) for line in found.lines if line.mark != Mark.KEPT]
    details: dict[str, object] = {"source": "mcpctl", "kind": error.kind}
    errors = [
        error_line(message.id, INTERNAL_ERROR, f"mcpctl: {error}", details) + b"\n"
        for message in messages
        if message is not None and message.kind is Kind.REQUEST
    ]
    owed = found.notes.output[found.sent :] or b"\n" * found.midline
    return owed + b"".join(errors)


class _Answer:
    """To what we said again."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._message: Message | None = None
        self._error: McpctlError = Unreachable("the session has ended")

    def set(self, message: Message) -> None:
        self._message = message
        self._over.set()

    def fail(self, error: McpctlError) -> None:
        self._error = error
        self._over.set()

    async def wait(self) -> Message:
        await self._over.wait()
        if self._message is None:
            raise self._error
        return self._message


def _lost(name: str) -> McpctlError:
    return Unreachable(
        f"the daemon was restarted while {name} worked on the call; its result is lost"
    )
