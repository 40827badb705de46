"""Every client meets every server: the driver of `protocols.mcp.negotiation`.

Messages bypass it once the client's era has turned out to be the server's.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.protocols.mcp.bridge import Bridge, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.eras import Era
from mcpctld.protocols.mcp.negotiation import SILENCE_S, Learned, Negotiation, Restart
from mcpctld.sessions.closing import Closing
from mcpctld.sessions.commons import TRUST_REFUSALS_S
from mcpctld.sessions.keeper import cancelled
from mcpctld.sessions.layer import Layer
from mcpctld.upstreams import Context, Upstream

PINS = frozenset(era.value for era in Era)
"""What a server's file may say of its era, so that nothing is asked."""

LATE_S = 0.005
"""Over HTTP a server's log messages may come by another connection than the answer, and be overtaken by it."""


def new_token() -> str:
    """192 random bits."""
    return secrets.token_urlsafe(24)


class Gate(Layer):
    """Hands messages through as they are, or through a bridge."""

    def __init__(
        self,
        context: Context,
        make_below: Callable[[Context], Upstream],
        silence_s: float = SILENCE_S,
        make_token: Callable[[], str] = new_token,
    ) -> None:
        """`make_token` names what a bridge keeps for its client: text that nobody can guess."""
        super().__init__(context)
        self._make_below = make_below
        self._make_token = make_token
        self._is_process = context.server.kind == "stdio"
        self._negotiation = Negotiation(
            self._make_bridge,
            self._refuses,
            process=self._is_process,
            bridging=context.spec.era != "mirror",
            silence_s=silence_s,
        )
        self._mirrors = False
        self._pumping = False
        self._running = trio.CancelScope()
        self._closing = Closing(context.nursery)
        self._clock = Alarm(context.nursery, self._on_time)
        self.below = self._fresh()

    @property
    def bridge(self) -> str | None:
        """The bridge in use, to show."""
        return self._negotiation.bridge

    def _refuses(self, era: Era) -> bool:
        """Whether the server is known not to speak it: by its file, else by what it did before."""
        pinned = self.context.spec.era
        if pinned in PINS:
            return era.value != pinned
        refused_at = self.context.shared.facts.refused.get(era.value)
        return refused_at is not None and 0 <= time.time() - refused_at < TRUST_REFUSALS_S

    def _make_bridge(self, client: Era) -> Bridge:
        """For a client of this era, and a server of the other. Loaded late: most daemons never need one."""
        if client is Era.LEGACY:
            from mcpctld.protocols.mcp.legacy_to_modern.bridge import LegacyToModern

            return LegacyToModern(self.context.shared.facts.wrapped)
        from mcpctld.protocols.mcp.modern_to_legacy.bridge import ModernToLegacy

        return ModernToLegacy(self._make_token, 0.0 if self._is_process else LATE_S)

    # ------------------------------------------------------------ what is below

    def _fresh(self) -> Upstream:
        return self._make_below(replace(self.context, downstream=self))

    async def run(self) -> None:
        """Run what is below, and another one after each `Restart`."""
        while True:
            below, error = self.below, None
            with trio.CancelScope() as self._running:
                try:
                    await below.run()
                except McpctlError as exc:
                    error = exc
            if below is self.below and error is not None and not self._explains(error):
                raise error

    def _explains(self, error: McpctlError) -> bool:
        explained = self._negotiation.receive_end(error, trio.current_time())
        self._pump()
        return explained

    def _restart(self) -> None:
        old, self.below = self.below, self._fresh()
        self._closing.close(old)
        self._running.cancel()

    def surrender(self) -> list[Message | Batch]:
        """Stop what is below: what it has not sent, if those are the client's own words."""
        unsent = self.below.surrender()
        return [] if self.bridge else unsent

    async def aclose(self) -> None:
        """Close what is below, and wait for what is being closed."""
        await self.below.aclose()
        await self._closing.wait()

    # ------------------------------------------------------------ both ways

    def send(self, message: Message | Batch) -> None:
        """Hand it down, or let the negotiation say what becomes of it."""
        if self._mirrors:
            self.below.send(message)
        else:
            self._negotiation.receive_client(message, trio.current_time())
            self._pump()

    def deliver(self, message: Message | Batch) -> None:
        """Hand it up, or let the negotiation say what becomes of it."""
        if self._mirrors:
            self.above.deliver(message)
        else:
            self._negotiation.receive_server(message, trio.current_time())
            self._pump()

    def forget(self, id: bytes) -> None:
        """The client's request was answered, because it took too long."""
        self._negotiation.forget(id, trio.current_time())
        self._pump()

    def fail(self, id: bytes, error: McpctlError) -> None:
        """A request will not be answered."""
        self._negotiation.receive_failure(id, error, trio.current_time())
        self._pump()

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """A refusal by HTTP status: maybe the server speaks the other era."""
        now = trio.current_time()
        taken = self._negotiation.receive_evidence(request.id, error, status, now)
        self._pump()
        return taken

    def _pump(self) -> None:
        """Do what the negotiation wants, in order: what it makes happen may come back here at once."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while (event := self._negotiation.next_event()) is not None:
                self._do(event)
        finally:
            self._pumping = False
        self._mirrors = self._negotiation.mirrors
        self._clock.set(self._negotiation.deadline)

    def _do(self, event: object) -> None:
        match event:
            case ToClient(message=message):
                self.above.deliver(message)
            case ToServer(message=message):
                self.below.send(message)
            case Fail(id=id, error=error):
                self.above.fail(id, error)
            case GiveUp(id=id):
                self._give_up(id)
            case Restart():
                self._restart()
            case Learned(era=era, refuses=refuses):
                self._learn(era, refuses=refuses)

    def _give_up(self, id: bytes) -> None:
        """Over HTTP a modern server sees the stream close; a process must be told (MCP 2026-07-28, stdio)."""
        if self.bridge == "legacy-to-modern":
            self.below.send(cancelled(id))
        self.below.forget(id)

    def _learn(self, era: Era, *, refuses: bool) -> None:
        self.context.shared.learn_era(era, time.time() if refuses else None)
        if refuses:
            self.log.info("era.bridged", extra={"bridge": self.bridge})

    def _on_time(self) -> float:
        self._negotiation.receive_time(trio.current_time())
        self._pump()
        return self._negotiation.deadline
