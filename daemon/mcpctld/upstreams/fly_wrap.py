"""The dialect of `fly mcp wrap`: POST goes to the process's stdin, one GET carries its stdout, line by line.

There is one process with one session, so all sessions of ours share it: `_wrap_core` holds the connection, and
`protocols.mcp.sharing` says who gets what.
"""

from typing import TYPE_CHECKING

import trio

from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.protocols.mcp.sharing.calls import Member
from mcpctld.upstreams._base import Context, Upstream, give_back, never_sent

if TYPE_CHECKING:
    from mcpctld.upstreams._wrap_core import WrapCore


class FlyWrap(Upstream):
    """A session's part in a process behind `fly mcp wrap`. It has one from its first message to its end."""

    transport = "fly-wrap"

    def __init__(
        self, context: Context, *, within_line: bool = False, guessed: bool = False
    ) -> None:
        """`within_line`: the process may have got a message without the newline that ends it.

        `guessed`: should it prove wrong, another transport gets what was not sent.
        """
        super().__init__(context)
        self._within_line = within_line
        self._guessed = guessed
        self._core: WrapCore | None = None
        self._member = Member()
        self._unsent: list[Message | Batch] = []
        self._error: McpctlError | None = None
        self._ended = trio.Event()
        self._closed = False

    async def run(self) -> None:
        """Share the process; raises why that has ended."""
        self._join()
        try:
            await self._ended.wait()
        finally:
            self._leave()
        assert self._error is not None
        if not self._guessed:
            self.give_back(self._error)
        raise self._error

    def _join(self) -> None:
        from mcpctld.upstreams._wrap_core import core_of  # late: most daemons have no such server

        if self._core is None and not self._closed:
            self._core = core_of(self.context)
            self._member = self._core.join(self, within_line=self._within_line)

    def _leave(self) -> None:
        self._closed = True
        core, self._core = self._core, None
        if core is not None:
            error = Unreachable("the session with the server has ended")
            self._unsent += core.leave(self._member, error)

    def ended(self, error: McpctlError, unsent: list[Message | Batch]) -> None:
        """The process is of no more use."""
        self._core, self._closed = None, True
        self._unsent += unsent
        self._error = error
        self._ended.set()

    def give_back(self, error: McpctlError) -> None:
        """The session is over because of `error`: what was not sent can be sent in another one."""
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            give_back(self.downstream, message, never_sent(error))

    # ------------------------------------------------------------ Upstream

    def send(self, message: Message | Batch) -> None:
        """Bring it to the process when its turn comes; refused at once while a client of others holds the wrapper."""
        self._join()
        if self._core is not None:
            self._core.send(self._member, message)
        else:
            self._unsent.append(message)

    def forget(self, id: bytes) -> None:
        """Stop waiting for request `id`; the process is told."""
        if self._core is not None:
            self._core.forget(self._member, id)

    @property
    def full(self) -> bool:
        """True when the process does not read what it is sent."""
        return self._core is not None and self._core.full

    async def wait_room(self) -> None:
        """Wait until the process has read on."""
        await trio.lowlevel.checkpoint()
        if self._core is not None:
            await self._core.wait_room()

    def surrender(self) -> list[Message | Batch]:
        """Stop at once; what was not sent. The rest has failed."""
        self._leave()
        unsent, self._unsent = self._unsent, []
        return unsent

    def rest(self) -> None:
        """Let go of the GET, if no other session needs it."""
        if self._core is not None:
            self._core.rest()

    async def aclose(self) -> None:
        """Nothing is said to the process when nobody else uses it; it goes on living in its machine."""
        self.surrender()
        await trio.lowlevel.checkpoint()


UPSTREAM = FlyWrap
