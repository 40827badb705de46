"""Find out how a URL is spoken to (MCP 2025-11-25, Transports, "Backwards Compatibility").

The client's first message is sent as Streamable HTTP. Most servers answer it, and nothing is lost. Otherwise:

* 400, 404 or 405 to `initialize`, without a JSON-RPC error of a modern server: maybe HTTP+SSE, whose GET tells
* 202 to a request: the fly wrapper, which answers elsewhere

401, 403 and 5xx say nothing about the transport. What was found is kept by URL for as long as the daemon lives.
"""

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, read_error
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._http import Refusal, json_rpc_error
from mcpctld.upstreams._post import Post
from mcpctld.upstreams.fly_wrap import FlyWrap
from mcpctld.upstreams.http_sse import HttpSse
from mcpctld.upstreams.streamable_http import StreamableHttp

MODERN_CODES = frozenset({-32020, -32021, -32022})
PROBE_BOUND_S = 10.0


class _Attempt(StreamableHttp):
    """Streamable HTTP that tells when the other side seems to speak something else."""

    def __init__(self, context: Context, auto: "Auto") -> None:
        super().__init__(context)
        self._auto = auto

    def answered(self, post: Post, message: Message) -> None:
        self._auto.settle(self.transport)
        super().answered(post, message)

    def refused(self, post: Post, refusal: Refusal) -> None:
        if self._auto.suspects(post.message, refusal):
            self._auto.probe(post, refusal)
        else:
            super().refused(post, refusal)

    def refuse_after_all(self, post: Post, refusal: Refusal) -> None:
        super().refused(post, refusal)


class Auto(Upstream):
    """Streamable HTTP until proven otherwise."""

    transport = "auto"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._url = context.spec.url or ""
        self._switch = trio.Event()
        self._error: McpctlError | None = None
        known = context.verdicts.get(self._url)
        self._settled = known is not None
        kinds: dict[str | None, type[Upstream]] = {
            HttpSse.transport: HttpSse,
            FlyWrap.transport: FlyWrap,
        }
        self._inner: Upstream = kinds[known](context) if known in kinds else _Attempt(context, self)

    @property
    def name(self) -> str:
        """What was found, or `auto` while nothing was."""
        return self._inner.transport if self._settled else self.transport

    async def run(self) -> None:
        """Run the transport in use; another one when the verdict changes."""
        while True:
            self._switch = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_inner, nursery)
                await self._switch.wait()
                nursery.cancel_scope.cancel()
            if self._error is not None:
                raise self._error

    async def _run_inner(self, nursery: trio.Nursery) -> None:
        try:
            await self._inner.run()
        except McpctlError as exc:
            self.context.verdicts.pop(self._url, None)  # it may have become something else
            self._error = exc
            self._switch.set()

    # ------------------------------------------------------------ the verdict

    def settle(self, transport: str) -> None:
        """This is what the server speaks."""
        if not self._settled:
            self._settled = True
            self.context.verdicts[self._url] = transport
            self.log.info("transport.detected", extra={"transport": transport})

    def suspects(self, message: Message | Batch, refusal: Refusal) -> bool:
        """Whether this answer to this message speaks for another transport."""
        if self._settled or isinstance(message, Batch) or message.kind is not Kind.REQUEST:
            return False
        if refusal.status == 202:
            return True
        if refusal.status not in (400, 404, 405) or message.method != "initialize":
            return False
        error = json_rpc_error(refusal.body)
        return error is None or read_error(error)[0] not in MODERN_CODES

    def probe(self, post: Post, refusal: Refusal) -> None:
        """Follow a suspicion; the message is answered by whatever turns out to be there."""
        if refusal.status == 202:
            self._become(FlyWrap(self.context), post.message)
        else:
            self.context.nursery.start_soon(self._probe_sse, post, refusal)

    async def _probe_sse(self, post: Post, refusal: Refusal) -> None:
        candidate = HttpSse(self.context)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._try, candidate, nursery.cancel_scope)
            with trio.move_on_after(PROBE_BOUND_S):
                await candidate.wait_named()
                nursery.cancel_scope.cancel()
                self._become(HttpSse(self.context), post.message)
                return
            nursery.cancel_scope.cancel()
        if isinstance(self._inner, _Attempt):
            self._inner.refuse_after_all(post, refusal)

    async def _try(self, candidate: HttpSse, scope: trio.CancelScope) -> None:
        try:
            await candidate.run()
        except McpctlError:
            scope.cancel()

    def _become(self, upstream: Upstream, message: Message | Batch) -> None:
        self.settle(upstream.transport)
        self._inner = upstream
        self._switch.set()
        upstream.send(message)

    # ------------------------------------------------------------ Upstream, handed through

    def send(self, message: Message | Batch) -> None:
        """Hand it to the transport in use."""
        self._inner.send(message)

    def forget(self, id: bytes) -> None:
        """Hand it to the transport in use."""
        self._inner.forget(id)

    @property
    def full(self) -> bool:
        """Whether the transport in use lags behind."""
        return self._inner.full

    async def wait_room(self) -> None:
        """Wait for the transport in use."""
        await self._inner.wait_room()

    async def aclose(self) -> None:
        """End the transport in use."""
        await self._inner.aclose()


UPSTREAM = Auto
