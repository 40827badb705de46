"""One process of the server, and the layers that lead to it: the era bridge, and what starts it again when it dies.

listener  ->  Gate  ->  Keeper  ->  Stdio  ->  the process
"""

from typing import Protocol

import msgspec
import trio

from mcpctld.drivers.outbox import ROOM
from mcpctld.errors import McpctlError
from mcpctld.logs import FieldLogger
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.sessions.gate import Gate
from mcpctld.sessions.keeper import Keeper
from mcpctld.upstreams import Context, Upstream
from mcpctld.upstreams.stdio import Stdio
from mcpctld.wrap.children import Busy
from mcpctld.wrap.world import World

CLOSE_BOUND_S = 8.0
SILENCE_S = 20.0
"""A machine that has just begun may need so long to start a server, which would be taken for an old one."""
MOST_UNHEARD = 4 * ROOM
"""A process that has not said a word is sent no more than this: what waits for its first answer waits here."""


class Listener(Protocol):
    """Who talks with the process."""

    def deliver(self, message: Message | Batch) -> None:
        """The process says something. Never waits."""

    def fail(self, id: bytes, error: McpctlError) -> None:
        """The request `id` (raw JSON) will not be answered."""

    def ended(self, error: McpctlError | None) -> None:
        """There is no process, and there will be none; None when we wanted it so."""

    @property
    def full(self) -> bool:
        """Whether the client does not read what it is told: then the process is not read, either."""

    async def wait_room(self) -> None:
        """Wait until it has read on, or is not waited for any more."""


class Conversation:
    """Runs in the world's nursery from `begin` until `close`. Implements `mcpctld.upstreams.Downstream`."""

    def __init__(
        self, world: World, name: str, listener: Listener, *, bridges: bool = True
    ) -> None:
        """Without `bridges` a client of the other era gets the server's refusal."""
        self._world = world
        spec = world.server.spec
        self._spec = spec if bridges else msgspec.structs.replace(spec, era="mirror")
        self._listener = listener
        self._early: list[Message | Batch] = []
        self._unheard = 0
        """Bytes that were sent while the process had said nothing at all."""
        self._heard = False
        self._gate: Gate | None = None
        self._closing = trio.Event()
        self.log = FieldLogger(world.log.logger, {"session": name})

    def begin(self) -> None:
        """Have a process, when there is a place for one."""
        self._world.nursery.start_soon(self._run)

    async def _run(self) -> None:  # noqa: ASYNC910  (a task of its own)
        error: McpctlError | None = None
        try:
            async with self._world.children.place():
                if not self._closing.is_set():
                    await self._talk()
        except Busy as exc:
            error = exc
            self.log.warning("child.no_place", extra={"error": str(exc)})
        except McpctlError as exc:
            error = exc
            self._world.figures.children_failed += 1
            self._world.on_failure()
            self.log.warning("child.failed", extra={"error": str(exc)})
        self._gate = None
        self._listener.ended(error)

    async def _talk(self) -> None:
        self._world.figures.children_started += 1
        failure: McpctlError | None = None
        async with trio.open_nursery() as nursery:
            new_id = (
                self._world.affinity.new_id
            )  # so that what a bridge keeps is found from any machine
            self._gate = gate = Gate(
                self._context(nursery), self._make_below, SILENCE_S, make_token=new_id
            )
            early, self._early = self._early, []
            for message in early:
                gate.send(message)
            nursery.start_soon(self._stop_when_told, nursery.cancel_scope)
            try:
                await gate.run()
            except McpctlError as exc:
                failure = exc
            finally:
                with trio.move_on_after(CLOSE_BOUND_S, shield=True):
                    await gate.aclose()
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _context(self, nursery: trio.Nursery) -> Context:
        world = self._world
        return Context(
            server=world.server,
            spec=self._spec,
            downstream=self,
            http=world.http,
            nursery=nursery,
            shared=world.shared,
            max_message_bytes=world.max_message_bytes,
            log=self.log,
        )

    def _make_below(self, context: Context) -> Upstream:
        return Keeper(context, self._make_process)

    def _make_process(self, context: Context) -> Upstream:
        return Stdio(context, self._world.spares.take)

    async def _stop_when_told(self, running: trio.CancelScope) -> None:
        await self._closing.wait()
        running.cancel()

    def close(self) -> None:
        """End the process."""
        self._closing.set()

    @property
    def bridge(self) -> str | None:
        """The era bridge in use, to show."""
        return self._gate.bridge if self._gate is not None else None

    # ------------------------------------------------------------ to the process

    def send(self, message: Message | Batch) -> None:
        """Say something, as soon as there is a process."""
        if not self._heard:
            self._unheard += len(message.raw)
        if self._gate is not None:
            self._gate.send(message)
        else:
            self._early.append(message)

    def send_line(self, line: bytes) -> None:
        """The same for a message that stands as text, made of one that was parsed."""
        self.send(parse(line))

    def forget(self, id: bytes) -> None:
        """Nobody waits for the answer to request `id` any more."""
        if self._gate is not None:
            self._gate.forget(id)

    @property
    def lags(self) -> bool:
        """Whether the process does not read what it is told, or too much waits for there to be one."""
        if not self._heard and self._unheard > MOST_UNHEARD:
            return True
        return self._gate is not None and self._gate.full

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Hand it to the listener."""
        self._heard = True
        self._listener.deliver(message)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Hand it to the listener."""
        self._listener.fail(id, error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """Nothing is made again here."""
        return False

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """There are no HTTP statuses here."""
        return False

    def stderr(self, data: bytes) -> None:
        """It is in the log already, with the session's name."""

    @property
    def client_full(self) -> bool:
        """Whether the listener lags behind."""
        return self._listener.full

    async def wait_client(self) -> None:
        """Wait for the listener."""
        await self._listener.wait_room()
