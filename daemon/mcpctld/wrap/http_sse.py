"""HTTP+SSE (2024-11-05): one GET carries all that the server says, POSTs go where its first event says.

The stream is the session: it ends with its connection.
"""

import trio

from mcpctld.drivers.http.server import Reply
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.wrap.answers import EVENTS
from mcpctld.wrap.one_stream import OneStream
from mcpctld.wrap.streams import KEEP_ALIVE, event
from mcpctld.wrap.world import World


class SseSession(OneStream):
    """One client, one process, one stream."""

    way = "http-sse"

    def __init__(self, world: World, id: str, principal: str, reply: Reply, endpoint: str) -> None:
        """`endpoint`: where the client is to POST, relative to the stream's own URL (RFC 3986 §4.2)."""
        super().__init__(world, id, principal)
        self._reply = reply
        reply.on_gone = self.close
        reply.start(200, EVENTS)
        reply.write(b"event: endpoint\ndata: %b\n\n" % endpoint.encode())

    def post(self, message: Message | Batch, reply: Reply) -> None:
        """A POST: its answer comes on the stream."""
        self.say(message)
        reply.send(202, (("Content-Type", "text/plain"),), b"Accepted")

    def write(self, data: bytes) -> None:
        """Send a message as an event."""
        self._reply.write(event(data))

    def hang_up(self) -> None:
        """End the stream, which is no news to us."""
        self._reply.on_gone = _nothing
        self._reply.end()

    @property
    def busy(self) -> bool:
        """The client listens as long as the session lasts."""
        return True

    def on_beat(self, now: float) -> None:
        """Keep the stream alive."""
        self._reply.write(KEEP_ALIVE)

    def drain(self) -> None:
        """Let it end once nothing is under way; the client makes a new session then."""
        if not self._open:
            self.close()

    @property
    def full(self) -> bool:
        """Whether the stream is not read."""
        return not self._reply.gone and self._reply.full

    async def wait_room(self) -> None:
        """Wait until it is."""
        await trio.lowlevel.checkpoint()
        await self._reply.wait_room()


def _nothing() -> None:
    """The end of the connection is our own doing."""
