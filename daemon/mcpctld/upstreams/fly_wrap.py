"""The dialect of `fly mcp wrap`: POST goes to the process's stdin, one GET carries its stdout, line by line.

There is one process and one listener: while another client holds the GET, ours is answered 409. What the process
says while nobody listens is lost, so nothing is sent before the GET stands, and what was in flight when it broke has
failed.
"""

import trio

from mcpctld.errors import Conflict, McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, parse
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._http import Endpoint, explain
from mcpctld.upstreams._ordered import OrderedPosts
from mcpctld.upstreams._stream import open_stream

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 10.0
POST_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
)


class FlyWrap(Upstream):
    """A session with a process behind `fly mcp wrap`."""

    transport = "fly-wrap"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoint = Endpoint(context, context.spec.url or "")
        self._posts = OrderedPosts(context.downstream, context.server.name, suffix=b"\n")
        self._lines = LineReader(context.max_message_bytes)
        self._in_flight: dict[bytes, None] = {}
        self._busy: McpctlError | None = None

    async def run(self) -> None:
        """Hold the GET, again and again: the wrapper's machine may sleep between two calls."""
        delay = FIRST_DELAY_S
        while True:
            try:
                await self._listen()
                delay = FIRST_DELAY_S
            except Conflict as exc:
                self._lose(exc)
                self._busy = exc
            except Unreachable as exc:
                self._lose(exc)
            await trio.sleep(delay)
            delay = min(delay * 2, LAST_DELAY_S)

    async def _listen(self) -> None:
        """One GET, to its end. Raises what it was refused with."""
        self._lines = LineReader(self.context.max_message_bytes)
        headers = (("Accept", "text/event-stream"),)
        async with open_stream(self._endpoint, headers, self._take, self.downstream) as stream:
            refusal = await stream.wait_head()
            if refusal is not None:
                raise explain(refusal, self.context.server.name, self._endpoint.url)
            self._busy = None
            self._endpoint.remember_cookies(stream.head.headers)
            self._posts.open_gate(self._endpoint, POST_HEADERS)
            try:
                await stream.wait_end()
            finally:
                self._posts.close_gate()
        self._lose(
            Unreachable(
                f"{self.context.server.name} closed the connection; what it answered meanwhile is lost"
            )
        )

    def _lose(self, error: McpctlError) -> None:
        self._posts.fail_queued(error)
        lost, self._in_flight = self._in_flight, {}
        for id in lost:
            self.downstream.fail(id, error)

    def _take(self, data: bytes) -> None:
        self._lines.receive_data(data)
        while (line := self._lines.next_event()) is not None:
            if isinstance(line, TooLong | HalfLine):
                self.log.warning("a message was too long")
            else:
                self._deliver(line)

    def _deliver(self, line: bytes) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            self.log.warning(
                "the process wrote something that is not JSON-RPC", extra={"reason": exc.reason}
            )
            return
        for part in message.messages if isinstance(message, Batch) else (message,):
            if part.kind in (Kind.RESULT, Kind.ERROR):
                self._in_flight.pop(part.id, None)
        self.downstream.deliver(message)

    def send(self, message: Message | Batch) -> None:
        """POST it, once the GET stands; refused at once while another client holds the wrapper."""
        for part in message.messages if isinstance(message, Batch) else (message,):
            if part.kind is Kind.REQUEST:
                self._in_flight[part.id] = None
        if self._busy is not None:
            self._lose(self._busy)
        else:
            self._posts.send(message)

    def forget(self, id: bytes) -> None:
        """Stop waiting for request `id`."""
        self._in_flight.pop(id, None)

    async def aclose(self) -> None:
        """Close both directions; the process goes on living in its machine."""
        self._posts.close()


UPSTREAM = FlyWrap
