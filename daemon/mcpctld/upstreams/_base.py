"""What an upstream is, to the session above it."""

import abc
import logging
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.errors import McpctlError, PeerError
from mcpctld.model import Server, ServerSpec
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.upstreams._lane import requests_in
from mcpctld.upstreams._shared import Shared


class Downstream(Protocol):
    """The session, as its upstream sees it: where answers go."""

    def deliver(self, message: Message | Batch) -> None:
        """Hand a message of the server to the client. Never waits."""

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer the client's request `id` (raw JSON) with an error of ours; nothing if it was answered already."""

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """The server does not know the session any more; `message`, if any, was refused unread and can be sent again.

        False when it will not be: then it is refused as it would be otherwise, and the session is not taken for lost.
        With None and another error than `SessionLost` the session is suspect only: something on the way failed that
        may have taken it along.
        """

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """A request was refused with an HTTP status, and maybe a JSON-RPC error in the body.

        True when that is dealt with: then the request is not answered by the transport.
        """

    def stderr(self, data: bytes) -> None:
        """Something the server's process said."""

    @property
    def client_full(self) -> bool:
        """True when the client lags behind; then await `wait_client` before reading more."""

    async def wait_client(self) -> None:
        """Wait until the client has caught up."""


@dataclass(frozen=True, slots=True)
class Context:
    """All that an upstream gets. `spec` has its secrets filled in, so it must not be shown."""

    server: Server = field(repr=False)
    spec: ServerSpec = field(repr=False)
    downstream: Downstream
    http: HttpClient
    nursery: trio.Nursery
    shared: Shared
    max_message_bytes: int
    log: logging.LoggerAdapter[logging.Logger]


class Upstream(abc.ABC):
    """One session with one MCP server.

    The session calls `run` once, `send` any number of times, then `aclose`. An upstream answers each request that it
    was sent exactly once: through `Downstream.deliver` or `Downstream.fail`, or hands it back through
    `Downstream.lost`. Only when `run` raises may requests be left that it has said nothing of.
    """

    transport: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.downstream = context.downstream
        self.log = context.log

    @abc.abstractmethod
    async def run(self) -> None:
        """Work until cancelled, or until the server ended the session: then raise why, as an `McpctlError`."""

    @abc.abstractmethod
    def send(self, message: Message | Batch) -> None:
        """Take a message of the client. Never waits, never raises."""

    @abc.abstractmethod
    def forget(self, id: bytes) -> None:
        """The session has given up on request `id`, because it took too long: stop working on it."""

    def surrender(self) -> list[Message | Batch]:
        """Stop at once, and hand back what has not been sent: another transport takes over."""
        return []

    @abc.abstractmethod
    async def aclose(self) -> None:
        """End the session with the server: politely, as long as the caller's deadline lets it.

        `run` is cancelled afterwards; nothing is sent any more.
        """

    def abandon(self) -> None:
        """The same without a word to the server: its machine may sleep, and is not to be woken for that."""
        self.surrender()

    def rest(self) -> None:  # noqa: B027  (some hold nothing open)
        """Nobody calls: let go of what is held open, so that the server's machine may sleep.

        The session stays; whatever is sent next takes it up again.
        """

    @property
    def name(self) -> str:
        """The transport in use, to show; `auto` answers with what it found."""
        return self.transport

    @property
    def full(self) -> bool:
        """True when the server lags behind; then await `wait_room` before sending more."""
        return False

    async def wait_room(self) -> None:
        """Wait until the server has caught up."""
        await trio.lowlevel.checkpoint()


def never_sent(error: McpctlError) -> McpctlError:
    """The same error, for a message that the server has not got."""
    same = type(error)(str(error))
    same.unprocessed = True
    return same


def too_long(length: int, limit: int) -> PeerError:
    """Why an answer is not carried."""
    return PeerError(
        f"an answer of {length} bytes or more is too long (the limit is {limit}); "
        "raise max_message_bytes in config.toml"
    )


def give_back(downstream: Downstream, message: Message | Batch, error: McpctlError) -> None:
    """Tell that the server has not read a message; its requests fail unless they are made again."""
    if not downstream.lost(message, error):
        for request in requests_in(message):
            downstream.fail(request.id, error)
