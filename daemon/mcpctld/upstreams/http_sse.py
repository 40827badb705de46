"""HTTP+SSE, the transport of revision 2024-11-05.

One GET holds a stream of events. The first one, `endpoint`, says where to POST; every answer comes as a `message` on
the stream. The stream is the session: when it ends, the session has ended.
"""

import trio

from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, guess_id, one_line, parse
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Context, Upstream, too_long
from mcpctld.upstreams._deliveries import Deliveries
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._lane import goes_first
from mcpctld.upstreams._refusals import explain, media_type
from mcpctld.upstreams._stream import Stream

ENDPOINT_BOUND_S = 15.0
"""How long a stream may go without naming its endpoint before it is taken for something else."""
ORDER_BOUND_S = 30.0
"""How long one message may keep the next waiting: some servers accept a POST only when its work is done."""

POST_HEADERS = (("Content-Type", "application/json"), ("Accept", "application/json"))


class HttpSse(Upstream):
    """A session over HTTP+SSE."""

    transport = "http-sse"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        url = context.spec.url or ""
        self._endpoint = Endpoint(context, url)  # the stream
        self._posts_to = Endpoint(context, url)  # as the stream tells
        self._posts = Deliveries(
            context, goes_first=goes_first, fail=context.downstream.fail, bound_s=ORDER_BOUND_S
        )
        self._events = SseReader(context.max_message_bytes)
        self._decided = trio.Event()
        self._broken: McpctlError | None = None
        self.named = False
        """The `endpoint` event has come: proof that this is HTTP+SSE."""

    async def run(self) -> None:
        """Hold the stream; its end is the end of the session."""
        headers = (("Accept", "text/event-stream"),)
        with Stream(self._endpoint, headers, self.downstream, self._take) as stream:
            await self._begin(stream)
            await self._wait_named(stream)
            await stream.wait_end()
        name = self.context.server.name
        why = f": {stream.error}" if stream.error else ""
        raise Unreachable(f"{name} closed its event stream, and the session with it{why}")

    async def _begin(self, stream: Stream) -> None:
        refusal = await stream.wait_head()
        if refusal is not None:
            raise explain(refusal, self.context.server.name, self._endpoint)
        if media_type(stream.head) != "text/event-stream":
            kind = media_type(stream.head) or "no content type"
            raise PeerError(f"{self._endpoint.url} answered with {kind}, not with events")
        self._posts_to.remember_cookies(stream.head.headers)

    async def _wait_named(self, stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._decide_at_end, stream)
            with trio.move_on_after(ENDPOINT_BOUND_S):
                await self._decided.wait()
            nursery.cancel_scope.cancel()
        if self._broken is not None:
            raise self._broken
        if not self.named and stream.error is not None:
            raise stream.error
        if not self.named:
            raise PeerError(
                f"{self._endpoint.url} sends events but named no endpoint "
                f"within {ENDPOINT_BOUND_S:.0f} s: not HTTP+SSE"
            )

    async def _decide_at_end(self, stream: Stream) -> None:
        await stream.wait_end()
        self._decided.set()

    async def wait_decided(self) -> None:
        """Wait until `named` will not change any more, as far as the stream tells."""
        await self._decided.wait()

    # ------------------------------------------------------------ what the stream says

    def _take(self, data: bytes) -> None:
        self._events.receive_data(data)
        while (event := self._events.next_event()) is not None:
            match event:
                case SseEvent(type="endpoint", data=data):
                    self._name_endpoint(data.decode("utf-8", "replace").strip())
                case SseEvent(type="message", data=data):
                    self._deliver(data)
                case SseTooLong():
                    self._drop(event)

    def _name_endpoint(self, reference: str) -> None:
        """Where to POST; only the same origin will do, for our credentials go there."""
        if self._posts_to.move(self._endpoint.url, reference):
            self.named = True
            self._posts.open_gate(self._posts_to, POST_HEADERS)
        else:
            self._broken = PeerError(
                f"{self._endpoint.url} wants messages sent to {reference[:200]!r}: refused, "
                "for that is another origin"
            )
        self._decided.set()

    def _deliver(self, data: bytes) -> None:
        try:
            self.downstream.deliver(parse(one_line(data)))
        except Malformed as exc:
            self.log.warning("server.garbage", extra={"reason": exc.reason})

    def _drop(self, event: SseTooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": event.length})
        if (id := guess_id(event.head, event.tail)) is not None:
            self.downstream.fail(id, too_long(event.length, self.context.max_message_bytes))

    # ------------------------------------------------------------ Upstream

    def send(self, message: Message | Batch) -> None:
        """POST it, once the endpoint is known."""
        self._posts.send(message)

    def forget(self, id: bytes) -> None:
        """Nothing is kept for a request here."""

    @property
    def full(self) -> bool:
        """True when the server does not accept what it is sent."""
        return self._posts.load.full

    async def wait_room(self) -> None:
        """Wait until the server has accepted some of it."""
        await self._posts.load.wait_room()

    def surrender(self) -> list[Message | Batch]:
        """Stop at once; what was not sent."""
        return self._posts.close()

    async def aclose(self) -> None:
        """Nothing is said: the end of the stream is the end of the session."""
        self._posts.close()
        await trio.lowlevel.checkpoint()


UPSTREAM = HttpSse
