"""A session with the server made anew, for one client: what made the old one is said again.

Attempts are spaced out, and made for as long as somebody waits. Of all sessions with a server that is down, one
tries; the others go when it has been seen again.
"""

import hashlib
import random
from collections.abc import Hashable
from typing import TYPE_CHECKING

import trio

from mcpctld.errors import McpctlError, PeerError, TimedOut
from mcpctld.protocols.jsonrpc import (
    Kind,
    Message,
    id_key,
    notification_line,
    parse,
    read_error,
    read_initialize_result,
    request_line,
    with_id,
)
from mcpctld.sessions.probing import Probing

if TYPE_CHECKING:
    from mcpctld.sessions.keeper import Keeper

BOUND_S = 30.0
"""How long one attempt may take."""
PING_BOUND_S = 10.0
LIST_BOUND_S = 30.0


class Renewal:
    """Makes the session again when somebody needs it: one task, and none at rest."""

    def __init__(self, keeper: "Keeper") -> None:
        self._keeper = keeper
        self._context = keeper.context
        self._asked: dict[Hashable, _Answer] = {}
        self._lists: dict[str, bytes] = {}
        self._mark = random.getrandbits(32)
        self._numbers = 0
        self._suspicion: McpctlError | None = None
        self._running: trio.CancelScope | None = None
        self._needed = trio.Event()
        probing = self._context.shared.hubs.setdefault("probing", Probing())
        assert isinstance(probing, Probing)
        self._probing = probing

    # ------------------------------------------------------------ when it is needed

    @property
    def suspects(self) -> bool:
        """Whether the session may be lost: then it is tried before it is used."""
        return self._suspicion is not None

    def suspect(self, error: McpctlError) -> None:
        """Something on the way failed that may have taken the session along."""
        if self._running is None and self._keeper.script.answer is not None:
            self._suspicion = error

    def broke(self, error: McpctlError) -> None:
        """There is no session, and maybe no transport; both are made when they are needed."""
        self._suspicion = None
        self._needed = trio.Event()
        for answer in tuple(self._asked.values()):
            answer.fail(error)

    def lose(self) -> None:
        """The server has lost it: make it now, for the client may wait for what the server says unasked."""
        self._suspicion = None
        self.need()

    def need(self) -> None:
        """Somebody waits for a session."""
        self._needed.set()
        if self._running is None:
            self._running = trio.CancelScope()
            self._context.nursery.start_soon(self._run, self._running)

    async def wait_needed(self) -> None:
        """Wait until a transport is needed again."""
        await self._needed.wait()

    def cancel(self) -> None:
        """The client begins anew by itself, or has gone."""
        self._suspicion = None
        self._needed.set()
        if self._running is not None:
            self._running.cancel()
            self._running = None

    # ------------------------------------------------------------ making it

    async def _run(self, scope: trio.CancelScope) -> None:  # noqa: ASYNC910  (a task of its own)
        with scope:
            if await self._is_alive() or not await self._make():
                return
            await self._compare_lists()

    async def _is_alive(self) -> bool:
        """Whether the session is there still, when it was only suspected to be lost."""
        suspicion, self._suspicion = self._suspicion, None
        if suspicion is None:
            return False  # noqa: ASYNC910  (nothing to wait for)
        try:
            with trio.fail_after(PING_BOUND_S):
                await self._ask(_request("ping"))
        except trio.TooSlowError:
            return False  # noqa: ASYNC910  (asking has waited)
        except McpctlError as exc:
            self._keeper.not_renewed(exc)
            return False  # noqa: ASYNC910  (asking has waited)
        self._go()
        return True

    async def _make(self) -> bool:
        """Try until there is a session; False when nobody waits for one any more."""
        while True:
            self._needed.set()
            async with self._probing.turn() as turn:
                error = turn.error = await self._attempt()
            if error is None:
                self._context.log.info("upstream.session_renewed")
                self._go()
                return True
            self._context.log.info("upstream.not_renewed", extra={"error": str(error)})
            waited_for = self._keeper.not_renewed(error)
            if not waited_for:
                self._running = None
                return False

    def _go(self) -> None:
        self._running = None
        self._keeper.renewed()

    async def _attempt(self) -> McpctlError | None:
        """Say it all again: why there is no session, if there is none."""
        name = self._context.server.name
        try:
            with trio.fail_after(BOUND_S):
                await self._say_again()
        except trio.TooSlowError:
            text = f"{name} has lost the session, and opened no other within {BOUND_S:g} s"
            return TimedOut(text)  # noqa: ASYNC910  (that was a wait)
        except McpctlError as exc:
            return exc  # noqa: ASYNC910  (what failed has waited)
        return None

    async def _say_again(self) -> None:
        script = self._keeper.script
        if script.initialize is None:  # a server of the modern era has no sessions
            await trio.lowlevel.checkpoint()
            return
        first = (
            script.answer is None
        )  # the client's own `initialize` failed, and it went on regardless
        answer = await self._ask(script.initialize)
        self._check(answer)
        script.succeeded(script.initialize, answer)
        if first:
            self._keeper.above.deliver(_with_id(answer, script.initialize.id))
        for message in script.rest:
            if message.kind is Kind.REQUEST:
                await self._ask(message)
            else:
                self._keeper.below.send(message)

    def _check(self, answer: Message) -> None:
        """Raises `PeerError` when the new session is not what the client was promised."""
        name, before = self._context.server.name, self._keeper.script.answer
        if answer.kind is not Kind.RESULT:
            code, said = read_error(answer)
            raise PeerError(f"{name} has lost the session and opens no other: {said} ({code})")
        version = read_initialize_result(answer).protocol_version
        promised = read_initialize_result(before).protocol_version if before else version
        if version != promised:
            raise PeerError(
                f"{name} speaks revision {version} now, not {promised}; start the client again"
            )

    # ------------------------------------------------------------ what the client knows of lists

    def note_list(self, request: Message, answer: Message) -> None:
        """Remember what the client was told, the first page of each list."""
        if b'"cursor"' not in request.params:
            self._lists[request.method] = _digest(answer.result)

    async def _compare_lists(self) -> None:  # noqa: ASYNC910  (the end of a task)
        """Tell the client which lists have changed, of those that it has asked for and was promised to hear of."""
        told = set()
        for method, before in tuple(self._lists.items()):
            name = method.partition("/")[0]
            wanted = name in self._keeper.script.promised_lists and name not in told
            if wanted and await self._list(method) != before:
                told.add(name)
                self._tell(f"notifications/{name}/list_changed")

    async def _list(self, method: str) -> bytes | None:
        """The digest of a list as it is now; None when that cannot be known, as of one with many pages."""
        with trio.move_on_after(LIST_BOUND_S):
            try:
                answer = await self._ask(_request(method))
            except McpctlError:
                return None  # noqa: ASYNC910  (asking has waited)
            if answer.kind is Kind.RESULT and b'"nextCursor"' not in answer.result:
                self._lists[method] = _digest(answer.result)
                return self._lists[method]
        return None

    def _tell(self, method: str) -> None:
        self._keeper.above.deliver(parse(notification_line(method)))

    # ------------------------------------------------------------ questions of our own

    async def _ask(self, request: Message) -> Message:
        """Ask the server under an id of our own. Raises why there is no answer."""
        self._numbers += 1
        id = b'"mcpctl:keep:%x:%d"' % (self._mark, self._numbers)
        message = _with_id(request, id)
        answer = self._asked[id_key(id)] = _Answer()
        try:
            self._keeper.below.send(message)
            return await answer.wait()
        finally:
            del self._asked[id_key(id)]
            self._keeper.below.forget(id)  # given up: nothing may wait behind it

    def takes(self, answer: Message) -> bool:
        """Whether it answers a question of ours."""
        asked = self._asked.get(id_key(answer.id)) if self._asked else None
        if asked is not None:
            asked.set(answer)
        return asked is not None

    def takes_failure(self, id: bytes, error: McpctlError) -> bool:
        """Whether it was a question of ours that failed."""
        asked = self._asked.get(id_key(id)) if self._asked else None
        if asked is not None:
            asked.fail(error)
        return asked is not None


class _Answer:
    """To a question of ours."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._message: Message | None = None
        self._error: McpctlError | None = None

    def set(self, message: Message) -> None:
        self._message = message
        self._over.set()

    def fail(self, error: McpctlError) -> None:
        self._error = error
        self._over.set()

    async def wait(self) -> Message:
        await self._over.wait()
        if self._message is None:
            assert self._error is not None
            raise self._error
        return self._message


def _request(method: str) -> Message:
    message = parse(request_line(b"0", method))
    assert isinstance(message, Message)
    return message


def _with_id(message: Message, id: bytes) -> Message:
    renamed = parse(with_id(message, id))
    assert isinstance(renamed, Message)
    return renamed


def _digest(result: bytes) -> bytes:
    return hashlib.blake2b(result, digest_size=16).digest()
