"""A POST whose answer comes elsewhere: its own is empty, or a refusal."""

import abc

from mcpctld.drivers.http.connection import Exchange
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.upstreams._refusals import MAX_ERROR_BODY, Refusal


class UnansweredPost(abc.ABC):
    """Reads the status, and why it was refused. `cancel` it, and nothing more is heard of it."""

    def __init__(self) -> None:
        self._exchange: Exchange | None = None
        self._head: Head | None = None
        self._body = b""

    @abc.abstractmethod
    def accepted(self) -> None:
        """The other side has it."""

    @abc.abstractmethod
    def refused(self, refusal: Refusal) -> None:
        """It has not taken it."""

    @abc.abstractmethod
    def lost(self, error: McpctlError) -> None:
        """Not delivered, or nobody knows."""

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
        """Keep the status."""
        self._head = head

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
            self.accepted()
        else:
            self.refused(Refusal(self._head, self._body))

    def on_failure(self, error: McpctlError) -> None:
        """Not delivered, or nobody knows."""
        self.lost(error)
