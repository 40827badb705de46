"""A legacy session: one client and one process, whatever way the client speaks over HTTP.

What the subclasses differ in is where a message of the server goes.
"""

import abc

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Kind, Message
from mcpctld.wrap.conversation import Conversation
from mcpctld.wrap.world import World


class Session(abc.ABC):
    """Begins with its first message, and ends with `close` or with its process. Implements `conversation.Listener`."""

    way = ""
    """How the client speaks, for the figures."""

    def __init__(self, world: World, id: str, principal: str) -> None:
        self.world = world
        self.id = id
        self.principal = principal
        """Who began it: nobody else may use it."""
        self.conversation = Conversation(world, _shown(id), self)
        self.used_at = trio.current_time()
        self.closed = False
        world.figures.opened(self.way)

    def begin(self) -> None:
        """Have a process."""
        self.conversation.begin()

    def touch(self) -> None:
        """The client was here."""
        self.used_at = trio.current_time()

    def say(self, message: Message | Batch) -> None:
        """Hand a message of the client to the process."""
        self.touch()
        self.world.figures.count(self.way)
        self.conversation.send(message)

    @abc.abstractmethod
    def deliver(self, message: Message | Batch) -> None:
        """A message of the server."""

    @abc.abstractmethod
    def fail(self, id: bytes, error: McpctlError) -> None:
        """A request will not be answered."""

    @property
    @abc.abstractmethod
    def busy(self) -> bool:
        """Whether the client waits for something, or listens."""

    def ended(self, error: McpctlError | None) -> None:
        """There is no process any more."""
        self.close()

    def close(self) -> None:
        """End it."""
        if not self.closed:
            self.closed = True
            self.world.figures.opened(self.way, -1)
            self.conversation.close()

    @abc.abstractmethod
    def on_beat(self, now: float) -> None:
        """Do what is due every few seconds: keep connections alive."""

    @abc.abstractmethod
    def drain(self) -> None:
        """The front is stopping: let the client come back, to another one."""

    @property
    @abc.abstractmethod
    def full(self) -> bool:
        """Whether the client does not read what it is told."""

    @abc.abstractmethod
    async def wait_room(self) -> None:
        """Wait until it has read on."""


def parts_of(message: Message | Batch) -> list[Message]:
    """The messages in it."""
    return message.messages if isinstance(message, Batch) else [message]


def requests_of(message: Message | Batch) -> list[Message]:
    """The requests in it."""
    return [part for part in parts_of(message) if part.kind is Kind.REQUEST]


def _shown(id: str) -> str:
    """A session's id as it may stand in a log: who reads that must not be able to use it."""
    return id.rpartition(".")[0][-10:] if "." in id else id
