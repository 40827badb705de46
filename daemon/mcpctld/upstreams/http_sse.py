"""HTTP+SSE, the transport of revision 2024-11-05.

One GET holds a stream of events. The first one, `endpoint`, says where to POST; every answer comes as a `message` on
the stream. The stream is the session: when it ends, the session has ended.
"""

from urllib.parse import urljoin

import trio

from mcpctld.drivers.http.client import split_url
from mcpctld.errors import McpctlError, PeerError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, one_line, parse
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._http import Endpoint, explain, media_type, not_mcp
from mcpctld.upstreams._ordered import OrderedPosts
from mcpctld.upstreams._stream import open_stream

ENDPOINT_BOUND_S = 15.0
"""How long a stream may go without naming its endpoint before it is taken for something else."""

POST_HEADERS = (("Content-Type", "application/json"), ("Accept", "application/json"))


class HttpSse(Upstream):
    """A session over HTTP+SSE."""

    transport = "http-sse"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoint = Endpoint(context, context.spec.url or "")
        self._posts = OrderedPosts(context.downstream, context.server.name)
        self._events = SseReader(context.max_message_bytes)
        self._named = trio.Event()
        self._broken: McpctlError | None = None

    async def run(self) -> None:
        """Hold the stream; its end is the end of the session."""
        try:
            await self._listen()
        except McpctlError as exc:
            self._broken = exc
            self._posts.fail_queued(exc)
            raise

    async def wait_named(self) -> None:
        """Wait for the `endpoint` event: proof that this is HTTP+SSE."""
        await self._named.wait()

    async def _listen(self) -> None:
        url = self._endpoint.url
        headers = (("Accept", "text/event-stream"),)
        async with open_stream(self._endpoint, headers, self._take, self.downstream) as stream:
            refusal = await stream.wait_head()
            if refusal is not None:
                raise explain(refusal, self.context.server.name, url)
            if media_type(stream.head) != "text/event-stream":
                raise not_mcp(stream.head, self.context.server.name, url)
            self._endpoint.remember_cookies(stream.head.headers)
            with trio.move_on_after(ENDPOINT_BOUND_S):
                await self._named.wait()
            if not self._named.is_set() and self._broken is None:
                raise PeerError(
                    f"{url} sends events but named no endpoint within {ENDPOINT_BOUND_S:.0f} s: not HTTP+SSE"
                )
            await stream.wait_end()
        raise self._broken or Unreachable(
            f"{self.context.server.name} closed its event stream, and the session with it"
        )

    def _take(self, data: bytes) -> None:
        self._events.receive_data(data)
        while (event := self._events.next_event()) is not None:
            match event:
                case SseEvent(type="endpoint", data=data):
                    self._name_endpoint(data.decode("utf-8", "replace"))
                case SseEvent(type="message", data=data) if data:
                    self._deliver(data)
                case SseTooLong(length=length):
                    self.log.warning("a message was too long", extra={"bytes": length})

    def _name_endpoint(self, reference: str) -> None:
        """Where to POST; only the same origin will do, for our credentials go there."""
        url = urljoin(self._endpoint.url, reference)
        try:
            origin, target = split_url(url)
        except McpctlError as exc:
            self._broken = exc
            return
        if origin != self._endpoint.origin:
            self._broken = PeerError(
                f"{self._endpoint.url} wants messages sent to {origin}: refused, another origin"
            )
            return
        self._endpoint.target = target
        self._posts.open_gate(self._endpoint, POST_HEADERS)
        self._named.set()

    def _deliver(self, data: bytes) -> None:
        try:
            self.downstream.deliver(parse(one_line(data)))
        except Malformed as exc:
            self.log.warning(
                "the server sent something that is not JSON-RPC", extra={"reason": exc.reason}
            )

    def send(self, message: Message | Batch) -> None:
        """POST it, once the endpoint is known."""
        self._posts.send(message)

    def forget(self, id: bytes) -> None:
        """Nothing is kept for a request here."""

    async def aclose(self) -> None:
        """Close the stream: that ends the session."""
        self._posts.close()


UPSTREAM = HttpSse
