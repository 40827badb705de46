"""The dialect of `fly mcp wrap`: POST goes to the process's stdin, one GET carries its stdout, line by line.

There is one process and one listener: while another client holds the GET, ours is answered 409. What the process
says while nobody listens is lost, so nothing is sent before the GET stands, and what was in flight when it broke has
failed. POSTs go one at a time: the wrapper would mix those that come together.
"""

from collections.abc import Hashable

import trio

from mcpctld.errors import Conflict, McpctlError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, guess_id, id_key, parse
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.upstreams._base import Context, Upstream, too_long
from mcpctld.upstreams._deliveries import Deliveries
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._lane import parts_of, requests_in
from mcpctld.upstreams._refusals import explain
from mcpctld.upstreams._stream import Stream

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 10.0
GHOST_S = 5.0
"""For so long after our own GET broke, a 409 may mean that the wrapper has not noticed yet."""

POST_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
)


class FlyWrap(Upstream):
    """A session with a process behind `fly mcp wrap`."""

    transport = "fly-wrap"

    def __init__(self, context: Context, *, within_line: bool = False) -> None:
        """`within_line`: the process may have got a message without the newline that ends it."""
        super().__init__(context)
        self._endpoint = Endpoint(context, context.spec.url or "")
        self._posts = Deliveries(
            context,
            goes_first=lambda message: True,
            fail=self._fail,
            # Going on would mix two messages: so it is for the call's own bound to give up.
            bound_s=context.spec.call_timeout_s,
            prefix=b"\n" if within_line else b"",
            suffix=b"\n",
        )
        self._lines = LineReader(context.max_message_bytes)
        self._in_flight: dict[Hashable, bytes] = {}
        self._busy: McpctlError | None = None
        self._lost_at = -GHOST_S

    async def run(self) -> None:
        """Hold the GET, again and again: the wrapper's machine may sleep between two calls."""
        delay = FIRST_DELAY_S
        while True:
            try:
                await self._listen()
                delay = FIRST_DELAY_S
            except Conflict as exc:
                if trio.current_time() - self._lost_at >= GHOST_S:
                    self._lose(exc)
                    self._busy = exc
            except (Unreachable, TimedOut) as exc:
                self._lose(exc)
            await trio.sleep(delay)
            delay = min(delay * 2, LAST_DELAY_S)

    async def _listen(self) -> None:
        """One GET, to its end. Raises what it was refused with."""
        self._lines = LineReader(self.context.max_message_bytes)
        headers = (("Accept", "text/event-stream"),)
        with Stream(self._endpoint, headers, self.downstream, self._take) as stream:
            refusal = await stream.wait_head()
            if refusal is not None:
                raise explain(refusal, self.context.server.name, self._endpoint)
            self._busy = None
            self._endpoint.remember_cookies(stream.head.headers)
            self._posts.open_gate(self._endpoint, POST_HEADERS)
            await stream.wait_end()
        name, why = self.context.server.name, f" ({stream.error})" if stream.error else ""
        error = Unreachable(f"{name} closed the connection{why}; what it answers meanwhile is lost")
        self._posts.close_gate(error)
        self._lost_at = trio.current_time()
        self._lose(error, queued=False)

    def _lose(self, error: McpctlError, *, queued: bool = True) -> None:
        """Fail what was sent, and what waits to be unless it may be sent yet."""
        if queued:
            self._posts.fail_queued(error)
        waiting = self._posts.queued_ids()
        for key, id in list(self._in_flight.items()):
            if key not in waiting:
                self._fail(id, error)

    def _fail(self, id: bytes, error: McpctlError) -> None:
        if self._in_flight.pop(id_key(id), None) is not None:
            self.downstream.fail(id, error)

    # ------------------------------------------------------------ what the process says

    def _take(self, data: bytes) -> None:
        self._lines.receive_data(data)
        while (line := self._lines.next_event()) is not None:
            match line:
                case bytes():
                    self._deliver(line)
                case TooLong():
                    self._drop(line)
                case HalfLine():
                    raise AssertionError("the reader was not told of an end")

    def _deliver(self, line: bytes) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            self.log.warning("server.garbage", extra={"reason": exc.reason})
            return
        for part in parts_of(message):
            if part.kind in (Kind.RESULT, Kind.ERROR):
                self._in_flight.pop(id_key(part.id), None)
        self.downstream.deliver(message)

    def _drop(self, line: TooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": line.length})
        if (id := guess_id(line.head, line.tail)) is not None:
            self._fail(id, too_long(line.length, self.context.max_message_bytes))

    # ------------------------------------------------------------ Upstream

    def send(self, message: Message | Batch) -> None:
        """POST it, once the GET stands; refused at once while another client holds the wrapper."""
        if self._busy is not None:
            for request in requests_in(message):
                self.downstream.fail(request.id, self._busy)
            return
        for request in requests_in(message):
            self._in_flight[id_key(request.id)] = request.id
        self._posts.send(message)

    def forget(self, id: bytes) -> None:
        """Stop waiting for request `id`."""
        self._in_flight.pop(id_key(id), None)

    @property
    def full(self) -> bool:
        """True when the process does not read what it is sent."""
        return self._posts.load.full

    async def wait_room(self) -> None:
        """Wait until the process has read on."""
        await self._posts.load.wait_room()

    def surrender(self) -> list[Message | Batch]:
        """Stop at once; what was not sent. The rest has failed."""
        unsent = self._posts.queued_ids()
        queued = self._posts.close()
        for key, id in list(self._in_flight.items()):
            if key not in unsent:
                self._fail(id, Unreachable("the session with the server has ended"))
        return queued

    async def aclose(self) -> None:
        """Nothing is said; the process goes on living in its machine."""
        self.surrender()
        await trio.lowlevel.checkpoint()


UPSTREAM = FlyWrap
