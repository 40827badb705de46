"""One line on its way to the process behind `fly mcp wrap`."""

from typing import Protocol

from mcpctld.drivers.http.connection import Exchange
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.mcp.sharing.events import Outgoing
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._refusals import MAX_ERROR_BODY, Refusal, media_type

HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
)


class Owner(Protocol):
    """Who sends the lines: it hears once what became of each."""

    def accepted(self, post: "WrapPost") -> None:
        """The process has it; the answer, if any, comes on the GET."""

    def refused(self, post: "WrapPost", refusal: Refusal) -> None:
        """The wrapper, or something in front of it, has not taken it."""

    def lost(self, post: "WrapPost", error: McpctlError) -> None:
        """Not delivered, or nobody knows."""

    def answered(self, post: "WrapPost", head: Head) -> None:
        """The answer comes here, so this is no wrapper. The rest of it is not wanted."""


class WrapPost:
    """A POST. `cancel` it, and its owner hears nothing more."""

    def __init__(self, owner: Owner, outgoing: Outgoing) -> None:
        self.outgoing = outgoing
        self._owner = owner
        self._exchange: Exchange | None = None
        self._head: Head | None = None
        self._body = b""

    def submit(self, endpoint: Endpoint, prefix: bytes) -> None:
        """Send it as one line."""
        body = prefix + self.outgoing.body + b"\n"
        self._exchange = endpoint.submit("POST", HEADERS, body, self)

    def cancel(self) -> None:
        """Give it up."""
        if self._exchange is not None:
            self._exchange.cancel()

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """Answers to these POSTs are empty."""
        return False

    async def wait_room(self) -> None:
        """Never called."""
        raise NotImplementedError

    def on_head(self, head: Head) -> None:
        """Keep the status; the wrapper's own is 202, without a body."""
        self._head = head
        if head.status == 200 and media_type(head) in ("application/json", "text/event-stream"):
            self.cancel()
            self._owner.answered(self, head)

    def on_data(self, data: bytes) -> None:
        """Keep the beginning of a refusal; nobody needs more of it."""
        if len(self._body) < MAX_ERROR_BODY:
            self._body += data
        else:
            self.cancel()
            self.on_end()

    def on_end(self) -> None:
        """Accepted or refused."""
        assert self._head is not None
        if self._head.status < 300:
            self._owner.accepted(self)
        else:
            self._owner.refused(self, Refusal(self._head, self._body))

    def on_failure(self, error: McpctlError) -> None:
        """Not delivered, or nobody knows."""
        self._owner.lost(self, error)
