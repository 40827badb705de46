"""A server that is a process of ours, spoken to over its stdin and stdout, one message a line (MCP, stdio).

Each session has a process of its own. What it writes to stderr goes to the log and to the client's stderr.
"""

import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence

import trio

from mcpctld.drivers.outbox import ROOM
from mcpctld.drivers.process import Child, start_child
from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, guess_id, parse
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.upstreams._base import Context, Upstream, too_long

MAX_GARBAGE_LOGGED = 20
"""A process that prints to stdout does it on and on: the first lines tell what it is."""
MAX_STDERR_LINE = 64 * 1024
LAST_WORDS = 5
STOP_BOUND_S = 10.0
LAST_WORDS_BOUND_S = 0.5
"""How long to wait for the exit code and the rest of stderr once stdout has ended."""


Start = Callable[
    [trio.Nursery, Sequence[str], Mapping[str, str], str | None], Coroutine[object, object, Child]
]
"""As `start_child`."""


class Stdio(Upstream):
    """A session with a process of ours."""

    transport = "stdio"

    def __init__(self, context: Context, start: Start = start_child) -> None:
        """`start` gives the process."""
        super().__init__(context)
        self._start = start
        self._child: Child | None = None
        self._stopped = False
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._started = trio.Event()
        self._deaf = trio.Event()
        self._read = 0
        """Bytes of its stdout."""
        self._garbage = 0
        self._last_words: list[str] = []

    async def run(self) -> None:
        """Start the process and carry what it says; its end is the end of the session."""
        spec = self.context.spec
        child = await self._start(self.context.nursery, spec.command or [], spec.env, spec.cwd)
        try:
            if not self._stopped:
                self._begin(child)
                await self._carry(child)
        finally:
            if self._child is not child:  # the session ended while it was starting
                with trio.move_on_after(STOP_BOUND_S, shield=True):
                    await child.stop()

    def _begin(self, child: Child) -> None:
        self._child = child
        self.log.info("server.started", extra={"pid": child.pid})
        for line in self._early:
            child.io.write(line, b"\n")
        self._early.clear()
        self._started.set()

    async def _carry(self, child: Child) -> None:
        heard = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_stderr, child, heard)
            nursery.start_soon(self._watch_stdin, nursery.cancel_scope)
            nursery.start_soon(self._watch_exit, child, nursery.cancel_scope)
            await self._read_stdout(child)
            with trio.move_on_after(LAST_WORDS_BOUND_S):
                await child.wait()
                await heard.wait()  # its last words say why
            nursery.cancel_scope.cancel()
        raise self._ended(child.returncode)

    def _ended(self, code: int | None) -> McpctlError:
        if code is None:
            how = "does not read its stdin any more" if self._deaf.is_set() else "closed its stdout"
        elif code >= 0:
            how = f"exited with code {code}"
        else:
            how = f"was killed by signal {-code} ({_signal_name(-code)})"
        said = f": {' | '.join(self._last_words)}" if self._last_words else ""
        return Unreachable(f"the process of {self.context.server.name} {how}{said}")

    async def _watch_exit(self, child: Child, reading: trio.CancelScope) -> None:
        """A process that has ended is no server, though one that it left behind may hold its stdout open."""
        await child.wait()
        seen = -1
        while self._read != seen or self.downstream.client_full:  # what is in the pipe still counts
            seen = self._read
            await trio.sleep(LAST_WORDS_BOUND_S)
        reading.cancel()

    # ------------------------------------------------------------ reading

    async def _read_stdout(self, child: Child) -> None:
        lines = LineReader(self.context.max_message_bytes)
        while data := await child.io.receive():
            self._read += len(data)
            lines.receive_data(data)
            self._take_lines(lines)
            if self.downstream.client_full:
                await self.downstream.wait_client()
        lines.receive_eof()
        self._take_lines(lines)

    def _take_lines(self, lines: LineReader) -> None:
        while (line := lines.next_event()) is not None:
            match line:
                case bytes():
                    self._deliver(line)
                case HalfLine(data=data):
                    self._deliver(data)
                case TooLong():
                    self._drop(line)

    def _deliver(self, line: bytes) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            self._garbage += 1
            if self._garbage <= MAX_GARBAGE_LOGGED:
                shown = line[:200].decode("utf-8", "replace")
                self.log.warning("server.garbage", extra={"reason": exc.reason, "line": shown})
            return
        self.downstream.deliver(message)

    def _drop(self, line: TooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": line.length})
        if (id := guess_id(line.head, line.tail)) is not None:
            self.downstream.fail(id, too_long(line.length, self.context.max_message_bytes))

    async def _read_stderr(self, child: Child, heard: trio.Event) -> None:
        lines = LineReader(MAX_STDERR_LINE)
        while data := await child.stderr.receive():
            self.downstream.stderr(data)
            lines.receive_data(data)
            self._hear(lines)
        lines.receive_eof()
        self._hear(lines)
        heard.set()

    def _hear(self, lines: LineReader) -> None:
        while (event := lines.next_event()) is not None:
            line = event if isinstance(event, bytes) else _beginning(event)
            text = line[:2000].decode("utf-8", "replace")
            self._last_words = [*self._last_words, text[:300]][-LAST_WORDS:]
            self.log.info("server.stderr", extra={"line": text})

    # ------------------------------------------------------------ writing

    def send(self, message: Message | Batch) -> None:
        """Write it to the process, or keep it until the process has started."""
        if self._child is None:
            self._early.append(message.raw)
            self._early_bytes += len(message.raw)
            return
        self._child.io.write(message.raw, b"\n")
        if self._child.io.broken:
            self._deaf.set()

    async def _watch_stdin(self, reading: trio.CancelScope) -> None:
        """A process that closes its stdin and lives on would leave every call without an answer."""
        await self._deaf.wait()
        await trio.sleep(LAST_WORDS_BOUND_S)  # as a rule it is ending, and its stdout tells
        reading.cancel()

    @property
    def full(self) -> bool:
        """True when the process does not read what it is sent."""
        kept = self._early_bytes if self._child is None else self._child.io.buffered
        return kept > ROOM

    async def wait_room(self) -> None:
        """Wait until the process has read on."""
        await self._started.wait()
        if self._child is not None:
            await self._child.io.wait_room()

    def forget(self, id: bytes) -> None:
        """Nothing is kept for a request here."""

    async def aclose(self) -> None:
        """End the process and its group."""
        self._stopped = True
        self._started.set()
        await trio.lowlevel.checkpoint()
        if self._child is not None:
            await self._child.stop()


def _beginning(event: TooLong | HalfLine) -> bytes:
    return event.head if isinstance(event, TooLong) else event.data


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


UPSTREAM = Stdio
