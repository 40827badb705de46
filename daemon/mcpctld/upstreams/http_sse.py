"""HTTP+SSE, the transport of revision 2024-11-05.

One GET holds a stream of events. The first one, `endpoint`, says where to POST; every answer comes as a `message` on
the stream. The stream is the session: when it ends, the session has ended.
"""

from collections.abc import Hashable

import trio

from mcpctld.errors import McpctlError, PeerError, SessionLost, Unreachable
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Malformed,
    Message,
    guess_id,
    id_key,
    one_line,
    parse,
    read_params,
)
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Context, Upstream, give_back, too_long
from mcpctld.upstreams._deliveries import Deliveries
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._lane import goes_first, parts_of
from mcpctld.upstreams._refusals import Refusal, explain, explain_loss, media_type
from mcpctld.upstreams._stream import Stream

ENDPOINT_BOUND_S = 15.0
"""How long a stream may go without naming its endpoint before it is taken for something else."""
ORDER_BOUND_S = 30.0
"""How long one message may keep the next waiting: some servers accept a POST only when its work is done."""

POST_HEADERS = (("Content-Type", "application/json"), ("Accept", "application/json"))


class HttpSse(Upstream):
    """A session over HTTP+SSE."""

    transport = "http-sse"

    def __init__(self, context: Context, *, guessed: bool = False) -> None:
        """`guessed`: should it prove wrong before it has begun, another transport gets what was not sent."""
        super().__init__(context)
        url = context.spec.url or ""
        self._endpoint = Endpoint(context, url)  # the stream
        self._posts_to = Endpoint(context, url)  # as the stream tells
        self._posts = Deliveries(
            context,
            goes_first=goes_first,
            fail=self._fail,
            bound_s=ORDER_BOUND_S,
            takes=self._loses_session,
        )
        self._guessed = guessed
        self._stream: Stream | None = None
        self._waiting: set[Hashable] = set()
        """The requests that have no answer, by `id_key`."""
        self._spoken = False
        """The server has said something: there is a session."""
        self._events = SseReader(context.max_message_bytes)
        self._decided = trio.Event()
        self._broken: McpctlError | None = None
        self.named = False
        """The `endpoint` event has come: proof that this is HTTP+SSE."""

    async def run(self) -> None:
        """Hold the stream; its end is the end of the session."""
        try:
            await self._hold()
        except McpctlError as exc:
            if self.named or not self._guessed:
                self.give_back(exc)
            raise

    def give_back(self, error: McpctlError) -> None:
        """The session is over because of `error`: what has not been sent can be sent in another one."""
        self._posts.give_back(error)

    async def _hold(self) -> None:
        headers = (("Accept", "text/event-stream"),)
        with Stream(self._endpoint, headers, self.downstream, self._take) as stream:
            self._stream = stream
            await self._begin(stream)
            await self._wait_named(stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_network, stream)
                await stream.wait_end()
                nursery.cancel_scope.cancel()
        if isinstance(stream.error, SessionLost):
            raise stream.error
        name = self.context.server.name
        why = f": {stream.error}" if stream.error else ""
        raise Unreachable(f"{name} closed its event stream, and the session with it{why}")

    async def _watch_network(self, stream: Stream) -> None:
        """A stream over another network is as good as dead; but while an answer may come on it, probing must tell."""
        http, renewals = self.context.http, self.context.http.renewals
        while True:
            await http.wait_renewed(renewals)
            renewals = http.renewals
            if not self._waiting and not self._endpoint.origin.is_loopback:
                stream.cut(Unreachable("the network has changed"))

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
            message = parse(one_line(data))
        except Malformed as exc:
            self.log.warning("server.garbage", extra={"reason": exc.reason})
            return
        self._spoken = True
        for part in parts_of(message):
            if part.kind in (Kind.RESULT, Kind.ERROR):
                self._waiting.discard(id_key(part.id))
        self.downstream.deliver(message)

    def _drop(self, event: SseTooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": event.length})
        if (id := guess_id(event.head, event.tail)) is not None:
            self._fail(id, too_long(event.length, self.context.max_message_bytes))

    # ------------------------------------------------------------ what the POSTs report

    def _fail(self, id: bytes, error: McpctlError) -> None:
        self._waiting.discard(id_key(id))
        self.downstream.fail(id, error)

    def _loses_session(self, message: Message | Batch, refusal: Refusal) -> bool:
        """Whether it means that the server knows the session no more, though its stream may still stand."""
        for part in parts_of(message):
            self._waiting.discard(id_key(part.id))
        name = self.context.server.name
        error = explain_loss(refusal, name, self._posts_to, named=True) if self._spoken else None
        if error is None:
            return False
        self.log.info("upstream.session_lost", extra={"status": refusal.status})
        give_back(self.downstream, message, error)
        if self._stream is not None:
            self._stream.cut(error)
        return True

    # ------------------------------------------------------------ Upstream

    def send(self, message: Message | Batch) -> None:
        """POST it, once the endpoint is known."""
        for part in parts_of(message):
            if part.kind is Kind.REQUEST:
                self._waiting.add(id_key(part.id))
            elif part.method == "notifications/cancelled":
                self._waiting.discard(id_key(read_params(part).request_id))
        self._posts.send(message)

    def forget(self, id: bytes) -> None:
        """Nobody waits for the answer any more."""
        key = id_key(id)
        self._waiting.discard(key)
        self._posts.forget(key)

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

    def rest(self) -> None:
        """End the stream, and the session with it: whatever is sent next is sent in another one."""
        if self._stream is not None and self._spoken and not self._waiting:
            self._stream.cut(Unreachable("nobody called for a while, and the server may sleep"))

    async def aclose(self) -> None:
        """Nothing is said: the end of the stream is the end of the session."""
        self._posts.close()
        await trio.lowlevel.checkpoint()


UPSTREAM = HttpSse
