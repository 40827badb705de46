"""What `fly mcp proxy` speaks: lines in the body of a POST, answered 202, and lines out on one GET.

There is one session for each caller, and it belongs to whoever holds the GET. What is said while nobody listens waits
for a while: the original drops it. An `initialize` begins a new process, for the client may be another one.
"""

from collections import deque

import trio

from mcpctld.drivers.http.server import Reply
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, parse
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.wrap.one_stream import OneStream
from mcpctld.wrap.world import World

HEAD = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
"""Which it is not; but so it says, and clients look at it."""
MAX_WAITING = 1024 * 1024
"""Bytes kept for a client that does not listen yet."""
BLANK = b"\n"
"""Keeps the connection alive: blank lines are no messages (JSON Lines; `fly mcp proxy` hands them on)."""


class FlySession(OneStream):
    """One process and the one client."""

    way = "fly-wrap"

    def __init__(self, world: World, id: str, principal: str) -> None:
        super().__init__(world, id, principal)
        self._reply: Reply | None = None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self.begun = False
        """Whether it has had an `initialize`."""

    @property
    def held(self) -> bool:
        """Whether somebody listens."""
        return self._reply is not None and not self._reply.gone

    def listen(self, reply: Reply) -> None:
        """The GET."""
        self._reply = reply
        reply.start(200, HEAD)
        for line in self._waiting:
            reply.write(line)
        self._waiting.clear()
        self._size = 0

    def adopt(self, other: "FlySession") -> None:
        """Take over the GET of the session before this one."""
        if other.held:
            self._reply, other._reply = other._reply, None

    def post(self, message: Message | Batch) -> None:
        """One line."""
        if isinstance(message, Message) and message.method == "initialize":
            self.begun = True
        self.say(message)

    def write(self, data: bytes) -> None:
        """Send a line, now or when somebody listens."""
        line = data + b"\n"
        if self.held:
            assert self._reply is not None
            self._reply.write(line)
            return
        self._waiting.append(line)
        self._size += len(line)
        while self._size > MAX_WAITING:
            self._size -= len(self._waiting.popleft())

    def hang_up(self) -> None:
        """End the GET."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.end()

    @property
    def busy(self) -> bool:
        """Whether somebody listens."""
        return self.held

    def on_beat(self, now: float) -> None:
        """Keep the connection alive."""
        if self.held:
            assert self._reply is not None
            self._reply.write(BLANK)

    def drain(self) -> None:
        """Nothing tells when such a client may go: the bound of draining does."""

    @property
    def full(self) -> bool:
        """Whether the GET is not read."""
        return self._reply is not None and self.held and self._reply.full

    async def wait_room(self) -> None:
        """Wait until it is."""
        await trio.lowlevel.checkpoint()
        if self._reply is not None:
            await self._reply.wait_room()


def read_lines(body: bytes, limit: int) -> list[Message | Batch | Malformed]:
    """The messages in the body of a POST, one a line, or what is wrong with a line."""
    reader = LineReader(limit)
    reader.receive_data(body)
    reader.receive_eof()
    found: list[Message | Batch | Malformed] = []
    while (line := reader.next_event()) is not None:
        found.append(_read(line))
    return found


def _read(line: bytes | HalfLine | TooLong) -> Message | Batch | Malformed:
    if isinstance(line, TooLong):
        return Malformed(-32600, f"a line of {line.length} bytes is too long")
    try:
        return parse(line.data if isinstance(line, HalfLine) else line)
    except Malformed as exc:
        return exc
