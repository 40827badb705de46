"""What an HTTP server asks of what it serves, and what it offers: see `server`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mcpctld.protocols.http1 import Headers

Fields = tuple[tuple[str, str], ...]
"""The headers of an answer: names and values, without those that say where it ends."""


@dataclass(slots=True)
class Request:
    """A request. `path` and `query` are as they came.

    `peer` is the address at the other end of the connection (empty for a Unix socket), `local` our own as a socket
    names it.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: Headers
    body: bytes = field(repr=False)
    peer: str
    local: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is complete."""

    status: int
    headers: Fields = ()
    body: bytes = b""


class Reply(Protocol):
    """How a request is answered: by `send`, or by `start`, any number of `write` and `end`. None of these waits.

    Once `gone` they do nothing. `ValueError` for headers that cannot be sent (nothing has been sent then);
    `RuntimeError` for calls in another order.
    """

    gone: bool
    """The client has left before the end, or the answer was given up."""
    on_gone: Callable[[], None]
    """Called once when that happens, from the connection's task and never from within a call of the handler's."""

    def send(self, status: int, headers: Fields, body: bytes = b"") -> None:
        """The whole answer."""

    def start(self, status: int, headers: Fields) -> None:
        """The answer begins; what it says comes by and by."""

    def write(self, data: bytes) -> None:
        """A piece of its body."""

    def end(self) -> None:
        """The answer is complete."""

    @property
    def full(self) -> bool:
        """Whether the client reads more slowly than we write, so that one should `wait_room` before the next piece."""

    async def wait_room(self) -> None:
        """Wait until not much is kept unsent, or the client is gone."""


class Service(Protocol):
    """What answers requests. Both are called in the connection's task, and must not wait.

    What they raise is logged, and answered with 500 where that can be done.
    """

    def admit(self, request: Request) -> Answer | None:
        """Look at a head before any of the body is read: an answer refuses the request."""

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request that is complete, now or at any time later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server bears. Sizes in bytes, times in seconds."""

    connections: int = 4096
    head: int = 64 * 1024
    body: int = 64 * 1024 * 1024
    room: int = 256 * 1024
    """More than this of an answer kept unsent, and the reply is `full`. At most `outbox.ROOM`."""
    idle_s: float = 75.0
    """Between requests; longer than the 60 s after which many proxies close, so that it is they who do."""
    head_s: float = 10.0
    """From the first byte of a head to its last."""
    body_stall_s: float = 30.0
    """In each such time a body must bring `server_connection.BODY_STEP` bytes, or its end."""
    write_stall_s: float = 60.0
    """So long a client may take nothing of what is to be sent to it."""
    linger_s: float = 3.0
    """How long what still comes is read after the last answer, lest a reset overtake that (RFC 9112 §9.6)."""
