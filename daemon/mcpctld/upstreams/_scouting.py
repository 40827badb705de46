"""One session finds out how a server is spoken to; others that come meanwhile wait for what it finds.

Not only is that cheaper. Behind `fly mcp wrap` a first message goes to the process without the newline that ends it:
two of them at once, or one amid the messages of a session that knows better, would be one broken line.
"""

import trio

from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._shared import Shared

HUB = "scouting"
BOUND_S = 10.0
"""How long others wait for one that finds nothing out."""


class Scouting:
    """Of one server, as long as nobody knows."""

    def __init__(self) -> None:
        self._scout: object | None = None
        self._over = trio.Event()

    @classmethod
    def of(cls, shared: Shared) -> "Scouting":
        """The one that all sessions with the server share."""
        hub = shared.hubs.setdefault(HUB, cls())
        assert isinstance(hub, cls)
        return hub

    def begin(self, scout: object) -> bool:
        """Whether `scout` is the one to find out."""
        if self._scout is None:
            self._scout = scout
        return self._scout is scout

    def end(self, scout: object) -> None:
        """It has found out, or will not."""
        if self._scout is scout:
            self._scout = None
            self._over.set()
            self._over = trio.Event()

    async def wait_end(self) -> None:
        """Wait until the one that is under way has ended."""
        await self._over.wait()


class Waiting(Upstream):
    """Keeps messages until it is known how to send them; `run` returns then."""

    transport = "auto"

    def __init__(self, context: Context, scout: object) -> None:
        """`scout` may be the next one to find out."""
        super().__init__(context)
        self._scout = scout
        self._scouting = Scouting.of(context.shared)
        self._queue: list[Message | Batch] = []

    async def run(self) -> None:
        """Wait until the transport is known, or for our turn to find out, but not for ever."""
        facts = self.context.shared.facts
        with trio.move_on_after(BOUND_S):
            while facts.transport is None and not self._scouting.begin(self._scout):
                await self._scouting.wait_end()
        await trio.lowlevel.checkpoint()

    def send(self, message: Message | Batch) -> None:
        """Keep it."""
        self._queue.append(message)

    def forget(self, id: bytes) -> None:
        """It need not be sent any more."""
        self._queue = [message for message in self._queue if not _asks(message, id)]

    @property
    def full(self) -> bool:
        """True with more than a handshake's worth."""
        size = sum(len(message.raw) for message in self._queue)
        return size > self.context.max_message_bytes

    async def wait_room(self) -> None:
        """Wait until some of it may have been sent."""
        with trio.move_on_after(BOUND_S):
            await self._scouting.wait_end()

    def surrender(self) -> list[Message | Batch]:
        """All of it."""
        queue, self._queue = self._queue, []
        return queue

    async def aclose(self) -> None:
        """Nothing was begun."""
        await trio.lowlevel.checkpoint()


def _asks(message: Message | Batch, id: bytes) -> bool:
    return (
        isinstance(message, Message)
        and message.kind is Kind.REQUEST
        and id_key(message.id) == id_key(id)
    )
