"""What is asked of an HTTP server, and who is told what came of it."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head


class Origin(NamedTuple):
    """Where requests go: scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The origin as it stands in a URL, without a default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        return str(self).partition("://")[2]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `repeatable`: it may be sent twice without harm, so it is retried on a connection that broke."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # credentials are among them
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False


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
        """The body is complete."""

    def on_failure(self, error: McpctlError) -> None:
        """No answer, or no more of it."""

    @property
    def full(self) -> bool:
        """True when whoever gets the data lags behind: the connection then awaits `wait_room` before it reads on."""

    async def wait_room(self) -> None:
        """Wait until data can be taken again."""
