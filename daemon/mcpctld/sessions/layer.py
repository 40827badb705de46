"""What stands between the client and the transport, one layer on the other.

    Intake  -> Early -> Gate -> Keeper -> transport
    Answers <- Early <- Gate <- Keeper <- transport

Each layer is an `Upstream` to the one above it and a `Downstream` to the one below, and hands through what is not
its business.
"""

from typing import ClassVar

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.upstreams import Context, Downstream, Upstream


class Layer(Upstream):
    """Hands everything through. `context.downstream` is what stands above; `below` is set by the subclass."""

    transport: ClassVar[str] = "layer"
    below: Upstream

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.above: Downstream = context.downstream

    # ------------------------------------------------------------ Upstream

    async def run(self) -> None:
        """Run what is below."""
        await self.below.run()

    def send(self, message: Message | Batch) -> None:
        """Hand it down."""
        self.below.send(message)

    def forget(self, id: bytes) -> None:
        """Hand it down."""
        self.below.forget(id)

    def surrender(self) -> list[Message | Batch]:
        """Stop what is below: what it has not sent."""
        return self.below.surrender()

    async def aclose(self) -> None:
        """Close what is below."""
        await self.below.aclose()

    def abandon(self) -> None:
        """Leave what is below."""
        self.below.abandon()

    def rest(self) -> None:
        """Let it rest."""
        self.below.rest()

    @property
    def name(self) -> str:
        """That of the transport."""
        return self.below.name

    @property
    def full(self) -> bool:
        """Whether the transport lags behind."""
        return self.below.full

    async def wait_room(self) -> None:
        """Wait for the transport."""
        await self.below.wait_room()

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Hand it up."""
        self.above.deliver(message)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Hand it up."""
        self.above.fail(id, error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """Hand it up."""
        return self.above.lost(message, error)

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """Ask above."""
        return self.above.evidence(request, status, error)

    def stderr(self, data: bytes) -> None:
        """Hand it up."""
        self.above.stderr(data)

    @property
    def client_full(self) -> bool:
        """Whether the client lags behind."""
        return self.above.client_full

    async def wait_client(self) -> None:
        """Wait for the client."""
        await self.above.wait_client()
