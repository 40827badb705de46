"""What a bridge between the two eras of MCP is (MCP 2026-07-28, Versioning, "Compatibility Matrix").

A bridge is sans-IO: messages of both sides, failures and the time go in, events come out. It stands between a client
of one era and a server of the other, and lives as long as the client's session.
"""

import abc
import math
from collections import deque
from typing import NamedTuple

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message


class ToClient(NamedTuple):
    """Give the client this message."""

    message: Message | Batch


class ToServer(NamedTuple):
    """Give the server this message; requests in it carry ids of the bridge's own choice."""

    message: Message | Batch


class Fail(NamedTuple):
    """Answer the client's request `id` (raw JSON) with an error of ours."""

    id: bytes
    error: McpctlError


class GiveUp(NamedTuple):
    """The request `id` (raw JSON), that the bridge gave the server, is not waited for any more.

    Over HTTP its stream is closed, which for a server of 2026-07-28 is the cancellation.
    """

    id: bytes


class WrongEra(NamedTuple):
    """The server does not speak the era that the bridge was made for; the bridge is of no use and does nothing more.

    Comes only before anything was given to the client, so that another way can be tried.
    """

    reason: str


Event = ToClient | ToServer | Fail | GiveUp | WrongEra


class Bridge(abc.ABC):
    """One client and one server of different eras.

    After each `receive_*` call take `next_event` until it is None, and call `receive_time` at `deadline`. Times are
    seconds on a clock of the caller's.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    @abc.abstractmethod
    def receive_client(self, message: Message | Batch, now: float) -> None:
        """A message of the client."""

    @abc.abstractmethod
    def receive_server(self, message: Message | Batch, now: float) -> None:
        """A message of the server: an answer to what the bridge asked, or something else."""

    @abc.abstractmethod
    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        """The request `id` that the bridge gave the server will not be answered: why."""

    @abc.abstractmethod
    def forget(self, id: bytes, now: float) -> None:
        """The client's request `id` was answered by somebody else, because it took too long: drop all of it."""

    @abc.abstractmethod
    def receive_time(self, now: float) -> None:
        """Do what is due."""

    @property
    def deadline(self) -> float:
        """When `receive_time` is to be called next; `math.inf` for never."""
        return math.inf

    def next_event(self) -> Event | None:
        """What is to be done next; None when that is all."""
        return self._events.popleft() if self._events else None

    def _emit(self, event: Event) -> None:
        self._events.append(event)
