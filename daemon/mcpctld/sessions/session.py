"""One attached client: how its session begins, what may end it, and what is done then.

The client's end and the server's end meet here, in both directions:

    client's stdin  -> `Intake`  -> upstream.send
    client's stdout <- `Answers` <- upstream (`Downstream`)

`Calls` stands between: every request of the client is answered exactly once, whatever happens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from mcpctl import shapes, wire
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import Conflict, InternalError, McpctlError, TimedOut, Unreachable
from mcpctld.model import Server, ServerSpec
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.sessions.answers import Answers
from mcpctld.sessions.attached import Attached
from mcpctld.sessions.calls import Call, Calls
from mcpctld.sessions.chain import Chain
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder
from mcpctld.sessions.intake import Intake
from mcpctld.sessions.profile import Profile
from mcpctld.sessions.recovery import Recovery
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Context, Shared, Upstream, make_upstream

END_OF_INPUT_GRACE_S = 30.0
"""How long calls in flight may take after the client closed our stdin: `printf … | mcpctl attach NAME` is answered."""
CLIENT_CHECK_S = 0.25
"""How often, meanwhile, we look whether anybody still reads: a client that was killed closes stdin first."""
FLUSH_BOUND_S = 5.0
HAND_OVER_FLUSH_S = 0.5
"""What a client does not take within it is sent by the next daemon."""
CLOSE_BOUND_S = 8.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended: the stub's exit code, and a line for its stderr."""

    code: int = 0
    text: str = ""
    reason: str = "client"
    goes_on: bool = False
    """The stub is to come again, to the next daemon."""


HANDED_OVER = Ending(reason="handed over", goes_on=True)
STOPPED = Ending(wire.exit_code("not-running"), "mcpctl: the daemon is stopping", "draining")
FAILED = Ending(
    wire.exit_code("internal"),
    "mcpctl: the daemon failed, which is a bug; mcpctl logs --daemon tells more",
    "bug",
)


@dataclass(frozen=True, slots=True)
class Services:
    """What sessions share."""

    http: HttpClient
    events: EventBus
    shared: Shared
    shelf: Shelf
    max_message_bytes: int
    make_upstream: Callable[[Context], Upstream] = make_upstream


class Session:
    """An attached client and its server. `run` it once."""

    def __init__(
        self,
        id: str,
        server: Server,
        spec: ServerSpec,
        attached: Attached,
        services: Services,
        server_figures: Recorder,
    ) -> None:
        self.id = id
        self.profile = Profile(id, server, attached, server_figures, services.events)
        self._spec = spec
        self._attached = attached
        self._services = services
        self._calls = Calls(self.profile.recorders)
        self._logbook = attached.open_logbook(services.max_message_bytes)
        self._io: DescriptorStream
        self._answers: Answers
        self._intake: Intake
        self._chain: Chain
        self._upstream: Upstream | None = None
        self._reading = trio.CancelScope()
        self._ending: Ending | None = None
        self._over = trio.Event()

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Carry messages until either side, or the daemon, ends it; leaves nothing behind."""
        self.profile.opened()
        async with trio.open_nursery() as nursery:
            try:
                self._begin(nursery)
                await self._over.wait()
                await self._flush()
            except BaseException as exc:
                self._cut_off(exc)
                raise
            finally:
                with trio.CancelScope(shield=True):
                    await self._finish()
                nursery.cancel_scope.cancel()

    def _cut_off(self, cause: BaseException) -> None:
        """A bug here, or one elsewhere that takes the whole daemon down: the next attempt may well do better."""
        if isinstance(cause, trio.Cancelled) and self._attached.comes_again:
            self.end(HANDED_OVER)
        else:
            self.end(FAILED)
            self._answers.fail_all(InternalError("the session has failed"))

    def _begin(self, nursery: trio.Nursery) -> None:
        attached = self._attached
        self._io = io = DescriptorStream(nursery, attached.stdin, attached.stdout)
        self._answers = Answers(
            io,
            attached.stderr,
            self._calls,
            self.profile,
            self._logbook,
            lambda: self.end(Ending(reason="client gone")),
        )
        recovery = self._take_over()
        nursery.start_soon(self._watch_stub)
        try:
            self._chain = Chain(
                self._context(nursery), self._services.shelf, self._services.make_upstream
            )
        except McpctlError as exc:
            self._server_ended(exc)
            return
        self._upstream = upstream = self._chain.top
        self._intake = Intake(
            io,
            upstream,
            self._calls,
            self._answers,
            self.profile,
            self._logbook,
            self._services.max_message_bytes,
        )
        nursery.start_soon(self._run_upstream, upstream)
        nursery.start_soon(self._run_intake, recovery)
        nursery.start_soon(self._bound_calls, upstream)

    def _context(self, nursery: trio.Nursery) -> Context:
        return Context(
            server=self.profile.server,
            spec=self._spec,
            downstream=self._answers,
            http=self._services.http,
            nursery=nursery,
            shared=self._services.shared,
            max_message_bytes=self._services.max_message_bytes,
            log=self.profile.log,
        )

    async def _run_upstream(self, upstream: Upstream) -> None:  # noqa: ASYNC910  (`run` waits or fails)
        try:
            await upstream.run()
        except McpctlError as exc:
            self._server_ended(exc)

    def _take_over(self) -> Recovery | None:
        """Go on where another daemon has left off, if one has."""
        if self._logbook.found is None:
            return None
        recovery = Recovery(
            self._logbook.found,
            self._logbook,
            self._calls,
            self._answers,
            self.profile,
            self._services.shared,
        )
        recovery.begin()
        return recovery

    async def _run_intake(self, recovery: Recovery | None) -> None:
        with self._reading:
            if recovery is not None and self._upstream is not None:
                await recovery.run(self._upstream, self._intake.close)
            await self._intake.run()
            with trio.move_on_after(END_OF_INPUT_GRACE_S):
                await self._wait_answered()
            self.end(Ending(reason="end of input"))

    async def _wait_answered(self) -> None:  # noqa: ASYNC910  (at once when nobody reads)
        """Wait until all calls are answered, or nobody reads the answers."""
        while not self._attached.client_is_gone():
            with trio.move_on_after(CLIENT_CHECK_S):
                await self._calls.wait_at_most(0)
                return

    async def _watch_stub(self) -> None:  # noqa: ASYNC910  (`recv` waits or fails)
        """The stub says nothing; the end of its connection means that it was killed."""
        try:
            while await self._attached.control.recv(1024):
                pass
        except (OSError, trio.ClosedResourceError):
            pass
        self.end(Ending(reason="stub gone"))

    async def _bound_calls(self, upstream: Upstream) -> None:
        """Fail calls that take too long. One task for all of them, awake only when the oldest may be due."""
        while True:
            oldest = await self._calls.wait_oldest()
            due = oldest.began + self._spec.call_timeout_s
            if trio.current_time() < due:
                await trio.sleep_until(due)
            else:
                self._give_up(oldest, upstream)

    def _give_up(self, call: Call, upstream: Upstream) -> None:
        bound, name = self._spec.call_timeout_s, self.profile.server.name
        self._answers.fail(
            call.id, TimedOut(f"{name} did not answer {call.method} within {bound:g} s")
        )
        if call.method != "initialize":  # which MUST NOT be cancelled (MCP, "Cancellation")
            upstream.send(_cancelled(call.id))
        upstream.forget(call.id)

    # ------------------------------------------------------------ the end

    def end(self, ending: Ending) -> None:
        """End the session; the first ending counts."""
        if self._ending is None:
            self._ending = ending
            self._over.set()

    def _server_ended(self, error: McpctlError) -> None:
        """The server has ended the session, unless we did and this is what came of it."""
        if self._ending is None:
            self.profile.note(error)
            self._answers.fail_all(error)
            self.end(Ending(wire.exit_code(error.kind), f"mcpctl: {error}", "server"))

    def rest(self) -> None:
        """Nobody calls: hold nothing open that keeps the server's machine awake."""
        if self._upstream is not None and self._ending is None:
            self._upstream.rest()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, let those in flight finish, answer the rest with an error, and end."""
        if self._upstream is not None:
            self._intake.close(Conflict("the daemon is stopping, and takes no new requests"))
        with trio.move_on_after(seconds):
            await self._calls.wait_at_most(0)
        self._answers.fail_all(
            Unreachable("the daemon is stopping, and the call was not finished in time")
        )
        self.end(STOPPED)

    def renew_credentials(self, spec: ServerSpec) -> None:
        """From now on send the headers of `spec`. The dictionary is the one that all parts of the session hold."""
        self._spec.headers.update(spec.headers)

    async def hand_over(self, seconds: float) -> None:
        """Read no more requests, let those in flight finish, leave the rest to the next daemon, and end."""
        if not self._attached.comes_again:
            await self.drain(seconds)
            return
        if self._upstream is not None:
            self._intake.hold()
        with trio.move_on_after(seconds):
            await self._calls.wait_at_most(0)
        if self._upstream is not None:
            self._take_back(self._upstream.surrender())
        self.end(HANDED_OVER)

    def _take_back(self, unsent: list[Message | Batch]) -> None:
        """The server has not got these."""
        for message in unsent:
            call = self._calls.find(message.id) if isinstance(message, Message) else None
            if call is not None:
                self._logbook.lines.take_back(call.line)

    async def _flush(self) -> None:
        """Give the client what it is still owed, if it reads."""
        self._reading.cancel()
        goes_on = self._ending is not None and self._ending.goes_on
        if not goes_on:
            self._answers.fail_all(Unreachable("the session has ended"))
        with trio.move_on_after(HAND_OVER_FLUSH_S if goes_on else FLUSH_BOUND_S):
            await self._io.wait_sent()

    async def _finish(self) -> None:
        """First let the client go, then the server: nobody should wait for a DELETE to cross the network."""
        ending = self._ending or FAILED
        if ending.goes_on:
            self._answers.leave()
        self._io.close()
        self._attached.stderr.close()
        if ending.goes_on:
            self._logbook.close()
            await self._attached.let_go()
        else:
            await self._attached.release(ending.code, ending.text)
            self._logbook.close()
        if self._upstream is not None:
            with trio.move_on_after(CLOSE_BOUND_S):
                await self._upstream.aclose()
        self.profile.closed(ending.reason)

    def info(self) -> shapes.SessionInfo:
        """A snapshot for the API."""
        transport = self._upstream.name if self._upstream is not None else "auto"
        bridge = self._chain.gate.bridge if self._upstream is not None else None
        return self.profile.info(transport, bridge, closing=self._ending is not None)


def _cancelled(id: bytes) -> Message:
    """`notifications/cancelled` for a request of the client."""
    message = parse(
        b'{"jsonrpc":"2.0","method":"notifications/cancelled",'
        b'"params":{"requestId":%b,"reason":"it took too long"}}' % id
    )
    assert isinstance(message, Message)
    return message
