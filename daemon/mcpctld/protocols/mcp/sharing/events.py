"""What comes out of a shared session, for its clients and for the process."""

from typing import NamedTuple

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.protocols.mcp.sharing.calls import Member


class Deliver(NamedTuple):
    """Give a client this message."""

    member: Member
    message: Message | Batch


class Fail(NamedTuple):
    """Answer the client's request `id` (raw JSON) with an error of ours."""

    member: Member
    id: bytes
    error: McpctlError


Event = Deliver | Fail


class Said(NamedTuple):
    """A message of a client, as it came."""

    member: Member
    message: Message | Batch


class Outgoing(NamedTuple):
    """A line for the process, without its end."""

    body: bytes
    ids: tuple[bytes, ...] = ()
    """Of the requests in it, as the process sees them."""
    said: Said | None = None
    """What it was made of; None for words of ours."""

    def __repr__(self) -> str:  # params may hold secrets: never shown
        return f"<Outgoing of {len(self.body)} bytes>"
