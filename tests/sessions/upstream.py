"""An upstream in the test's hand: what sessions are tested with when the transport does not matter."""

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.upstreams import Context, Upstream


class Puppet(Upstream):
    """Keeps what it is sent; says what it is told to."""

    transport = "puppet"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sent: list[bytes] = []
        self.forgotten: list[bytes] = []
        self.closed = 0
        self.lagging = False
        self.error: McpctlError | None = None
        self.changed = trio.Event()
        self._over = trio.Event()
        self._room = trio.Event()

    async def run(self) -> None:
        await self._over.wait()
        assert self.error is not None
        raise self.error

    def end(self, error: McpctlError) -> None:
        """The server ends the session."""
        self.error = error
        self._over.set()

    def send(self, message: Message | Batch) -> None:
        self.sent.append(message.raw)
        self._wake()

    def forget(self, id: bytes) -> None:
        self.forgotten.append(id)
        self._wake()

    @property
    def full(self) -> bool:
        return self.lagging

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.lagging:
            await self._room.wait()

    def make_room(self) -> None:
        """Take more again."""
        self.lagging = False
        self._room.set()

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # ------------------------------------------------------------ for the test

    async def heard(self, count: int) -> list[bytes]:
        """Wait until so many messages have come."""
        while len(self.sent) < count:
            await self.changed.wait()
        return self.sent

    def say(self, line: bytes) -> None:
        """A message of the server."""
        self.downstream.deliver(parse(line))

    def answer(self, id: bytes, result: bytes = b"{}") -> None:
        """A response of the server."""
        self.say(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, result))
