"""What is asked of an HTTP server, who is told what came of it, and the handle to give it up with."""

import math
from typing import NamedTuple, Protocol

import msgspec

from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where requests go: scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The origin as it stands in a URL, without a default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        return str(self).partition("://")[2]

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name."""
        named = self.host == "localhost" or self.host.endswith(".localhost")  # RFC 6761 §6.3
        return named or self.host == "::1" or self.host.startswith("127.")


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None
    repeatable: bool = False
    """It may be sent twice without harm, so it is sent again when a connection in use before turns out dead."""
    lasting: bool = False
    """Its answer goes on and on: it does not count against the limit of connections, or streams would starve calls."""
    renewable: bool = False
    """After a change of network it is cut at once: whoever asked asks again, and loses nothing by it."""

    def __repr__(self) -> str:  # credentials are among the headers
        return f"<Request {self.method} {self.target}>"


class ResponseHandler(Protocol):
    """Told the answer: one `on_head`, any number of `on_data`, one `on_end`; or `on_failure` at any point instead.

    All are called in the trio thread and must neither wait nor raise. After `on_end`, `on_failure` or
    `Exchange.cancel` no other call comes.
    """

    def on_head(self, head: Head) -> None:
        """The status and headers."""

    def on_data(self, data: bytes) -> None:
        """A piece of the body, content coding removed."""

    def on_end(self) -> None:
        """The body is complete; the connection is free for the next request already."""

    def on_failure(self, error: McpctlError) -> None:
        """No answer, or no more of it."""

    @property
    def full(self) -> bool:
        """True when whoever gets the data lags behind: the connection then awaits `wait_room` before it reads on."""

    async def wait_room(self) -> None:
        """Wait until data can be taken again."""


class Holder(Protocol):
    """Where a request is: waiting in a pool, or on a connection."""

    def withdraw(self, exchange: "Exchange") -> None:
        """Its handler is gone: stop working on it."""


class Exchange:
    """A request under way, or waiting for a connection. `handler` is None once it has heard all it will hear."""

    __slots__ = (
        *("arrived", "attempts", "deadline", "handler", "head", "holder", "patience_s", "request"),
    )

    def __init__(
        self, request: Request, head: bytes, handler: ResponseHandler, patience_s: float
    ) -> None:
        """`head`: as `http1.encode_head` gives it."""
        self.request = request
        self.head = head
        self.handler: ResponseHandler | None = handler
        self.patience_s = patience_s
        self.deadline = math.inf  # of the wait for a connection
        self.holder: Holder | None = None
        self.attempts = 0
        self.arrived = False
        """The server may have seen it, in one of the attempts that failed."""

    def cancel(self) -> None:
        """Give up: the handler hears nothing more. Under way, that costs the connection (RFC 9112 §9.6)."""
        self.handler = None
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.withdraw(self)

    def fail(self, error: McpctlError) -> None:
        """Tell the handler, once, that there will be no answer."""
        handler, self.handler = self.handler, None
        self.holder = None
        if handler is not None:
            handler.on_failure(error)
