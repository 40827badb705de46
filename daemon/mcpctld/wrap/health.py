"""Whether the server answers: asked once at the start, in the newest revision, and again after it has failed.

What the question finds out is kept: whether the server speaks 2026-07-28, and what headers its tools want. The process
that was asked stays, warm, for modern clients, unless it had to be bridged.
"""

import random

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Kind, Message, read_error
from mcpctld.protocols.mcp.asides import make_request
from mcpctld.protocols.mcp.methods import MODERN, PREFIX
from mcpctld.protocols.mcp.objects import close_text, open_object, open_text
from mcpctld.wrap.children import Busy
from mcpctld.wrap.modern import Line, Pool
from mcpctld.wrap.world import World

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
ANSWER_S = 60.0
"""`npx` and `uvx` may have to fetch the server first."""
MAX_PAGES = 20
OURS = "health"
"""The key of the line on which we ask: no client's, for those have a space."""

_ENVELOPE = {
    f"{PREFIX}protocolVersion": close_text(MODERN),
    f"{PREFIX}clientCapabilities": b"{}",
    f"{PREFIX}clientInfo": b'{"name":"mcpctl-wrap","version":"1"}',
}


class Asking:
    """One question of ours. Implements `modern.Asker`."""

    def __init__(self) -> None:
        self.answer: Message | None = None
        self.error: McpctlError | None = None
        self._done = trio.Event()

    def take(self, message: Message) -> None:
        """Notifications do not matter here."""
        if message.kind is not Kind.NOTIFICATION:
            self.answer = message
            self._done.set()

    def fail(self, error: McpctlError) -> None:
        """There is no answer."""
        self.error = error
        self._done.set()

    @property
    def full(self) -> bool:
        """We read at once."""
        return False

    async def wait_room(self) -> None:
        """There is room."""
        await trio.lowlevel.checkpoint()

    async def wait(self) -> Message | None:
        """The answer; None when there is none in time."""
        with trio.move_on_after(ANSWER_S):
            await self._done.wait()
        return self.answer


class Health:
    """Of the server."""

    def __init__(self, world: World, pool: Pool) -> None:
        self._world = world
        self._pool = pool
        self.ready = False
        self.reason = "the server has not answered yet"
        self._known = trio.Event()
        self._doubted = trio.Event()
        world.on_failure = self.doubt

    @property
    def known(self) -> bool:
        """Whether it is known how the server is to be spoken to; or the first question has failed."""
        return self._known.is_set()

    async def wait_known(self) -> None:
        """Wait until it is."""
        await self._known.wait()

    def doubt(self) -> None:
        """A process has died: ask again."""
        self._doubted.set()

    async def run(self) -> None:
        """Ask, until there is an answer; then again when there is doubt."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._doubted = trio.Event()
            if await self._ask():
                pause_s = FIRST_PAUSE_S
                await self._doubted.wait()
            else:
                await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _ask(self) -> bool:
        line = self._pool.new_line(OURS)
        asking = await self._say(line, "server/discover")
        answers = asking.answer is not None and asking.answer.kind is Kind.RESULT
        if not isinstance(asking.error, Busy):  # that says nothing of the server
            self.ready = answers
        if answers:
            await self._learn(line)
        else:
            self._pool.retire(line)
            self._world.log.warning("server.not_ready", extra={"reason": self.reason})
        self._known.set()
        return answers

    async def _learn(self, line: Line) -> None:
        """How it is to be spoken to; the line goes to all clients, if it may."""
        bridge = line.conversation.bridge
        await self._list_tools(line)
        self._pool.proven = bridge is None
        if self._pool.proven:
            line.key = ""
        else:
            self._pool.retire(line)
        self._world.spares.refill()
        self._world.log.info("server.ready", extra={"bridge": bridge})

    async def _list_tools(self, line: Line) -> None:  # noqa: ASYNC910  (a page at least is asked for)
        """What the tools want repeated in headers is learned as the lists go by."""
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = (await self._say(line, "tools/list", cursor)).answer
            result = open_object(answer.result) if answer is not None else {}
            cursor = open_text(result.get("nextCursor", b""))
            if not cursor:
                return

    async def _say(self, line: Line, method: str, cursor: str | None = None) -> Asking:
        members = {} if cursor is None else {"cursor": close_text(cursor)}
        asking = Asking()
        line.ask(make_request(b'"mcpctl:health"', method, _ENVELOPE, members), asking)
        answer = await asking.wait()
        if answer is None:
            self.reason = str(asking.error or f"no answer to {method} within {ANSWER_S:g} s")
        elif answer.kind is Kind.ERROR:
            self.reason = f"it answers {method} with: {read_error(answer)[1]}"
        return asking
