"""One attached client: its messages in, the server's messages out, and how it ends.

The client's end and the server's end meet here. Every request of the client is answered exactly once, whatever
happens: by the server, or with an error of ours.
"""

import logging
import time
from dataclasses import dataclass, field

import trio

from mcpctl import shapes, wire
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.streams import ROOM, DescriptorStream
from mcpctld.errors import McpctlError, TimedOut, Unreachable, UserError
from mcpctld.logs import FieldLogger
from mcpctld.model import Server, ServerSpec
from mcpctld.protocols.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    Batch,
    Kind,
    Malformed,
    Message,
    error_line,
    guess_id,
    parse,
    read_initialize_result,
    read_params,
)
from mcpctld.protocols.mcp.headers import VERSION_KEY
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.sessions.attached import Attached
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder
from mcpctld.upstreams import Context, Upstream, make_upstream

END_OF_INPUT_GRACE_S = 30.0
"""How long calls in flight may take after the client closed our stdin: `printf … | mcpctl attach NAME` is answered."""
FLUSH_BOUND_S = 5.0
CLOSE_BOUND_S = 8.0
MAX_IN_FLIGHT = 2048
"""More, and we stop reading until some are answered."""
BIG = 64 * 1024
"""From this size on copying a message costs more than a second system call."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended: the stub's exit code, and a line for its stderr."""

    code: int = 0
    text: str = ""
    reason: str = "client"


@dataclass(frozen=True, slots=True)
class Services:
    """What sessions share."""

    http: HttpClient
    events: EventBus
    verdicts: dict[str, str]
    max_message_bytes: int


@dataclass
class Identity:
    """What is known of the client, for the eyes of the user."""

    client: str | None
    client_version: str | None = None
    protocol_version: str | None = None
    started_at: float = field(default_factory=time.time)


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
        self.server = server
        self.figures = Recorder()
        self.identity = Identity(attached.parent_name)
        self._spec = spec
        self._attached = attached
        self._services = services
        self._recorders = (self.figures, server_figures)
        self._calls = Calls(self._recorders)
        self._ending: Ending | None = None
        self._over = trio.Event()
        self._reading = trio.CancelScope()
        self._sweeping = False
        self._log = FieldLogger(
            logging.getLogger("mcpctld.session"), {"session": id, "server": server.name}
        )

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Carry messages until either side, or the daemon, ends it; leaves nothing behind."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._io = DescriptorStream(nursery, self._attached.stdin, self._attached.stdout)
            self._upstream = make_upstream(self._context(nursery))
            try:
                nursery.start_soon(self._watch_stub)
                nursery.start_soon(self._run_upstream)
                nursery.start_soon(self._read)
                await self._over.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await self._finish()
                nursery.cancel_scope.cancel()

    def _context(self, nursery: trio.Nursery) -> Context:
        return Context(
            server=self.server,
            spec=self._spec,
            downstream=self,
            http=self._services.http,
            nursery=nursery,
            verdicts=self._services.verdicts,
            max_message_bytes=self._services.max_message_bytes,
            log=self._log,
        )

    def end(self, ending: Ending) -> None:
        """End the session; the first ending counts."""
        if self._ending is None:
            self._ending = ending
            self._over.set()

    async def drain(self, seconds: float) -> None:
        """Take no more, let calls in flight finish, answer the rest with an error, and end."""
        self._reading.cancel()
        with trio.move_on_after(seconds):
            await self._calls.wait_at_most(0)
        self._fail_all(Unreachable("the daemon is stopping, and the call was not finished in time"))
        self.end(
            Ending(wire.exit_code("not-running"), "mcpctl: the daemon is stopping", "draining")
        )

    async def _finish(self) -> None:
        """First let the client go, then the server: nobody should wait for a DELETE to cross the network."""
        ending = self._ending or Ending(reason="cancelled")
        self._reading.cancel()
        self._fail_all(Unreachable("the session has ended"))
        with trio.move_on_after(FLUSH_BOUND_S):
            await self._io.wait_sent()
        self._io.close()
        self._attached.close_stderr()
        await self._attached.release(ending.code, ending.text)
        with trio.move_on_after(CLOSE_BOUND_S):
            await self._upstream.aclose()
        self._log.info(
            "session.closed", extra={"reason": ending.reason, "calls": self.figures.calls}
        )

    async def _run_upstream(self) -> None:
        try:
            await self._upstream.run()
        except McpctlError as exc:
            self._note(exc)
            self._fail_all(exc)
            self.end(Ending(wire.exit_code(exc.kind), f"mcpctl: {exc}", "server"))

    async def _watch_stub(self) -> None:
        """The stub says nothing; the end of its connection means that it was killed."""
        try:
            while await self._attached.control.recv(1024):
                pass
        except (OSError, trio.ClosedResourceError):
            pass
        self.end(Ending(reason="stub gone"))

    # ------------------------------------------------------------ client -> server

    async def _read(self) -> None:
        lines = LineReader(self._services.max_message_bytes)
        with self._reading:
            while data := await self._io.receive():
                lines.receive_data(data)
                self._take_lines(lines)
                if self._upstream.full:
                    await self._upstream.wait_room()
                if len(self._calls) > MAX_IN_FLIGHT:
                    await self._calls.wait_at_most(MAX_IN_FLIGHT)
            lines.receive_eof()
            self._take_lines(lines)
            await self._end_of_input()

    async def _end_of_input(self) -> None:
        if not self._attached.client_is_gone():
            with trio.move_on_after(END_OF_INPUT_GRACE_S):
                await self._calls.wait_at_most(0)
        self.end(Ending(reason="end of input"))

    def _take_lines(self, lines: LineReader) -> None:
        while (line := lines.next_event()) is not None:
            match line:
                case bytes():
                    self._take(line)
                case TooLong():
                    self._refuse(line)
                case HalfLine(data=data):
                    self._take(data, whole=False)

    def _take(self, line: bytes, *, whole: bool = True) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            reason = exc.reason if whole else "the input ended within a line"
            self._log.warning("client.garbage", extra={"reason": reason, "bytes": len(line)})
            self._write(error_line(exc.id, exc.code, f"mcpctl: {reason}"))
            return
        parts = message.messages if isinstance(message, Batch) else (message,)
        if all([self._look_at(part) for part in parts]):
            self._upstream.send(message)

    def _look_at(self, message: Message) -> bool:
        """Remember what must be answered; False when it may not be sent on."""
        if message.kind is Kind.REQUEST:
            if not self._calls.begin(message):
                self._write(
                    error_line(
                        message.id,
                        INVALID_REQUEST,
                        "mcpctl: this id is in use by a request in flight",
                    )
                )
                return False
            if not self._sweeping:
                self._sweeping = True
                self._nursery.start_soon(self._bound_calls)
            if message.method == "initialize" or (
                self.identity.protocol_version is None and VERSION_KEY in message.raw
            ):
                self._identify(message)
        elif message.method == "notifications/cancelled":
            self._calls.cancel(read_params(message).request_id)
        return True

    def _identify(self, message: Message) -> None:
        params = read_params(message)
        self.identity.client = params.client_name or self.identity.client
        self.identity.client_version = params.client_version
        self.identity.protocol_version = params.protocol_version or params.requested_version
        self._publish("session.opened")

    def _refuse(self, line: TooLong) -> None:
        limit = self._services.max_message_bytes
        error = UserError(
            f"a message of {line.length} bytes is too long (the limit is {limit}); raise max_message_bytes in config.toml"
        )
        self._note(error)
        id = guess_id(line.head, line.tail) or b"null"
        self._write(error_line(id, PARSE_ERROR, f"mcpctl: {error}", _details(error)))

    async def _bound_calls(self) -> None:
        """Fail calls that took too long. One task for all of them, awake only when the oldest may be due."""
        bound = self._spec.call_timeout_s
        while (oldest := self._calls.oldest_bounded()) is not None:
            left = oldest.began + bound - trio.current_time()
            if left > 0:
                await trio.sleep(left)
            else:
                self.fail(
                    oldest.id,
                    TimedOut(
                        f"{self.server.name} did not answer {oldest.method} within {bound:g} s"
                    ),
                )
                self._upstream.forget(oldest.id)
        self._sweeping = False

    # ------------------------------------------------------------ server -> client (Downstream)

    def deliver(self, message: Message | Batch) -> None:
        """Write a message of the server; answers that nobody waits for are dropped."""
        if isinstance(message, Batch):
            for part in message.messages:
                self._settle(part)
        elif message.kind in (Kind.RESULT, Kind.ERROR) and not self._settle(message):
            self._log.debug("server.unasked", extra={"bytes": len(message.raw)})
            return
        self._write(message.raw)

    def _settle(self, message: Message) -> bool:
        if message.kind not in (Kind.RESULT, Kind.ERROR):
            return True
        call = self._calls.end(message.id, failed=message.kind is Kind.ERROR)
        if call is None:
            return self._calls.was_cancelled(message.id)
        if call.method == "initialize" and message.kind is Kind.RESULT:
            self.identity.protocol_version = read_initialize_result(message).protocol_version
        return True

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer a request with an error of ours, unless it was answered or cancelled."""
        call = self._calls.end(id, failed=True)
        if call is None:
            return
        self._note(error)
        self._write(error_line(call.id, INTERNAL_ERROR, f"mcpctl: {error}", _details(error)))

    def _fail_all(self, error: McpctlError) -> None:
        for call in self._calls:
            self.fail(call.id, error)

    def stderr(self, data: bytes) -> None:
        """Pass on what the server's process said."""
        if self._ending is None:
            self._attached.write_stderr(data)

    def _write(self, line: bytes) -> None:
        if len(line) < BIG:
            self._io.write(line + b"\n")
        else:
            self._io.write(line)
            self._io.write(b"\n")
        if self._io.broken:
            self.end(Ending(reason="client gone"))

    @property
    def full(self) -> bool:
        """True when the client does not read what it is sent."""
        return self._io.buffered > ROOM

    async def wait_room(self) -> None:
        """Wait until the client has read on."""
        await self._io.wait_room()

    # ------------------------------------------------------------ to show

    def _note(self, error: McpctlError) -> None:
        for recorder in self._recorders:
            recorder.note(error)
        self._log.warning("session.error", extra={"kind": error.kind, "error": str(error)})
        self._publish("session.error", kind=error.kind, message=str(error))

    def _publish(self, type_: str, **data: str) -> None:
        self._services.events.publish(type_, {"id": self.id, "server": self.server.name, **data})

    def info(self) -> shapes.SessionInfo:
        """A snapshot for the API."""
        return {
            "id": self.id,
            "server": self.server.name,
            "client": self.identity.client,
            "client_version": self.identity.client_version,
            "cwd": self._attached.cwd,
            "pid": self._attached.pid,
            "transport": self._upstream.name,
            "protocol_version": self.identity.protocol_version,
            "started_at": self.identity.started_at,
            "state": "closing"
            if self._ending
            else "ready"
            if self.identity.protocol_version
            else "starting",
            "figures": self.figures.figures(),
            "last_error": self.figures.last_error,
        }


def _details(error: McpctlError) -> dict[str, object]:
    return {"source": "mcpctl", "kind": error.kind}
