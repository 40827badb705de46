"""One line on its way to the process behind `fly mcp wrap`."""

from typing import Protocol

from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.mcp.sharing.events import Outgoing
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._refusals import Refusal, media_type
from mcpctld.upstreams._unanswered import UnansweredPost

HEADERS = (
    ("Content-Type", "application/json"),
    # The answer has no body. Who names JSON and events is taken for a client of Streamable HTTP where both are known.
    ("Accept", "*/*"),
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


class WrapPost(UnansweredPost):
    """A POST. `cancel` it, and its owner hears nothing more."""

    def __init__(self, owner: Owner, outgoing: Outgoing) -> None:
        super().__init__()
        self.outgoing = outgoing
        self._owner = owner

    def submit(self, endpoint: Endpoint, prefix: bytes) -> None:
        """Send it as one line."""
        body = prefix + self.outgoing.body + b"\n"
        self._exchange = endpoint.submit("POST", HEADERS, body, self)

    def on_head(self, head: Head) -> None:
        """The wrapper's own status is 202, without a body."""
        super().on_head(head)
        if head.status == 200 and media_type(head) in ("application/json", "text/event-stream"):
            self.cancel()
            self._owner.answered(self, head)

    def accepted(self) -> None:
        """Tell the owner."""
        self._owner.accepted(self)

    def refused(self, refusal: Refusal) -> None:
        """Tell the owner."""
        self._owner.refused(self, refusal)

    def lost(self, error: McpctlError) -> None:
        """Tell the owner."""
        self._owner.lost(self, error)
