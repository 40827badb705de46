"""A server that is a process of ours, spoken to over its stdin and stdout, one message a line (MCP, stdio).

Each session has a process of its own. What it writes to stderr goes to the log and to the client's stderr.
"""

import trio

from mcpctld.drivers.process import Child, start_child
from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, guess_id, parse
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.upstreams._base import Context, Upstream

MAX_GARBAGE_LOGGED = 20
"""A process that prints to stdout does it on and on: the first lines tell what it is."""
LAST_WORDS = 5
LAST_WORDS_BOUND_S = 0.5


class Stdio(Upstream):
    """A session with a process of ours."""

    transport = "stdio"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._child: Child | None = None
        self._early: list[bytes] = []
        self._garbage = 0
        self._last_words: list[str] = []

    async def run(self) -> None:
        """Start the process and carry what it says; its end is the end of the session."""
        spec = self.context.spec
        self._child = child = await start_child(
            self.context.nursery, spec.command or [], spec.env, spec.cwd
        )
        self.log.info("server.started", extra={"pid": child.pid})
        for line in self._early:
            child.io.write(line)
        self._early.clear()
        heard = trio.Event()
        self.context.nursery.start_soon(self._read_stderr, child, heard)
        await self._read_stdout(child)
        with trio.move_on_after(LAST_WORDS_BOUND_S):
            await child.wait()
            await heard.wait()  # its last words say why
        raise self._ended(child.returncode)

    def _ended(self, code: int | None) -> McpctlError:
        if code is None:
            return Unreachable(f"the process of {self.context.server.name} closed its stdout")
        how = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
        said = f": {' | '.join(self._last_words)}" if self._last_words else ""
        return Unreachable(f"the process of {self.context.server.name} {how}{said}")

    # ------------------------------------------------------------ reading

    async def _read_stdout(self, child: Child) -> None:
        lines = LineReader(self.context.max_message_bytes)
        while data := await child.io.receive():
            lines.receive_data(data)
            self._take_lines(lines)
            if self.downstream.full:
                await self.downstream.wait_room()
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
                    self._refuse(line)

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

    def _refuse(self, line: TooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": line.length})
        id = guess_id(line.head, line.tail)
        if id is not None:
            self.downstream.fail(
                id,
                PeerError(
                    f"an answer of {line.length} bytes is too long; raise max_message_bytes in config.toml"
                ),
            )

    async def _read_stderr(self, child: Child, heard: trio.Event) -> None:
        lines = LineReader(64 * 1024)
        while data := await child.stderr.receive():
            self.downstream.stderr(data)
            lines.receive_data(data)
            while (line := lines.next_event()) is not None:
                if isinstance(line, bytes):
                    text = line.decode("utf-8", "replace")
                    self._last_words = [*self._last_words, text[:300]][-LAST_WORDS:]
                    self.log.info("server.stderr", extra={"line": text[:2000]})
        heard.set()

    # ------------------------------------------------------------ writing

    def send(self, message: Message | Batch) -> None:
        """Write it to the process, or keep it until the process has started."""
        line = message.raw + b"\n"
        if self._child is None:
            self._early.append(line)
        else:
            self._child.io.write(line)

    @property
    def full(self) -> bool:
        """True when the process does not read what it is sent."""
        from mcpctld.drivers.streams import ROOM

        return self._child is not None and self._child.io.buffered > ROOM

    async def wait_room(self) -> None:
        """Wait until the process has read on."""
        if self._child is not None:
            await self._child.io.wait_room()

    def forget(self, id: bytes) -> None:
        """Nothing is kept for a request here."""

    async def aclose(self) -> None:
        """End the process and its group."""
        if self._child is not None:
            await self._child.stop()


UPSTREAM = Stdio
