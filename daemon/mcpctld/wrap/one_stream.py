"""What HTTP+SSE and the fly dialect have in common: all that the server says goes out on one GET."""

import abc
from collections.abc import Hashable

from mcpctld.errors import McpctlError, TimedOut
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key, read_params
from mcpctld.wrap.answers import failure_line
from mcpctld.wrap.session import Session, parts_of
from mcpctld.wrap.world import World


class OneStream(Session):
    """Knows which requests have no answer yet, so that none is left without."""

    def __init__(self, world: World, id: str, principal: str) -> None:
        super().__init__(world, id, principal)
        self._open: dict[Hashable, bytes] = {}

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send a message on the GET."""

    @abc.abstractmethod
    def hang_up(self) -> None:
        """End the GET: all is said."""

    def say(self, message: Message | Batch) -> None:
        """Hand a message of the client to the process."""
        for part in parts_of(message):
            if part.kind is Kind.REQUEST:
                self._open[id_key(part.id)] = part.id
            elif part.method == "notifications/cancelled":
                self._settle(read_params(part).request_id)
        super().say(message)

    def deliver(self, message: Message | Batch) -> None:
        """All goes one way."""
        self.write(message.raw)
        for part in parts_of(message):
            if not part.method:
                self._settle(part.id)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer a request with an error of ours."""
        self.write(failure_line(id, error))
        self._settle(id)

    def _settle(self, id: bytes) -> None:
        self._open.pop(id_key(id), None)
        if self.world.draining:
            self.drain()

    def ended(self, error: McpctlError | None) -> None:
        """What waits for an answer gets an error, and the stream ends with the process."""
        for id in tuple(self._open.values()):
            self.fail(id, error or TimedOut("the session was closed"))
        self.hang_up()
        super().ended(error)
