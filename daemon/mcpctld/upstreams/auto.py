"""Find out how a URL is spoken to (MCP 2025-11-25, Transports, "Backwards Compatibility").

The client's first message is sent as Streamable HTTP. Most servers answer it, and nothing is lost. Otherwise:

* 400, 404 or 405 to `initialize`, without a JSON-RPC error of a modern server: maybe HTTP+SSE, whose GET tells
* 202 to a request: the fly wrapper, which answers elsewhere

Of several sessions that come while nothing is known one finds out, and the others wait for that.

401, 403 and 5xx say nothing about the transport. What was found is kept by URL for as long as the daemon lives, or
until the URL turns out to be spoken to in another way.
"""

import trio

from mcpctld.errors import McpctlError, NotFound, PeerError
from mcpctld.protocols.jsonrpc import Batch, Message, read_error
from mcpctld.protocols.mcp.eras import MODERN_CODES
from mcpctld.protocols.mcp.methods import REPEATABLE
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._post import Post
from mcpctld.upstreams._refusals import Refusal, json_rpc_error
from mcpctld.upstreams._scouting import Scouting, Waiting
from mcpctld.upstreams.fly_wrap import FlyWrap
from mcpctld.upstreams.http_sse import HttpSse
from mcpctld.upstreams.streamable_http import StreamableHttp

PROBE_BOUND_S = 10.0


class _Attempt(StreamableHttp):
    """Streamable HTTP that tells when the other side seems to speak something else."""

    def __init__(self, context: Context, auto: "Auto") -> None:
        super().__init__(context)
        self._auto = auto

    def answered(self, post: Post, message: Message) -> None:
        if post.accepted:
            self._auto.settle(self)
        super().answered(post, message)

    def refused(self, post: Post, refusal: Refusal) -> None:
        if not self._auto.suspects(post, refusal):
            self._auto.give_way()
            super().refused(post, refusal)

    def broke(self, post: Post, error: McpctlError) -> None:
        self._auto.give_way()
        super().broke(post, error)

    def refuse_after_all(self, message: Message, refusal: Refusal) -> None:
        """It is no other transport: this is the answer to a message that another attempt has sent."""
        post = Post(self, message)
        post.counted = True
        super().refused(post, refusal)


class Auto(Upstream):
    """Streamable HTTP until proven otherwise."""

    transport = "auto"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._settled = False
        self._closed = False
        self._running = trio.CancelScope()
        self._doubt: tuple[Message, Refusal] | None = None
        """What made us try HTTP+SSE: `initialize`, and how it was refused."""
        self._guessed = context.shared.facts.transport in (HttpSse.transport, FlyWrap.transport)
        self._inner: Upstream = self._guess(context.shared.facts.transport)
        self._scouting = Scouting.of(context.shared)
        self._asked = context.shared.facts.transport is not None
        """It is known what to try, and whose turn it is."""

    def _guess(self, known: str | None) -> Upstream:
        if known == HttpSse.transport:
            return HttpSse(self.context, guessed=True)
        if known == FlyWrap.transport:
            return FlyWrap(self.context, guessed=True)
        return _Attempt(self.context, self)

    @property
    def name(self) -> str:
        """What was found, or `auto` while nothing was."""
        return self._inner.transport if self._settled or self._guessed else self.transport

    # ------------------------------------------------------------ running the transport in use

    async def run(self) -> None:
        """Run the transport in use; another one when the verdict changes."""
        try:
            await self._run()
        finally:
            self.give_way()

    async def _run(self) -> None:
        while True:
            inner = self._inner
            if self._doubt is not None and isinstance(inner, HttpSse):
                error = await self._try_out(inner)
            else:
                error = await self._run_until_switched(inner)
            if inner is not self._inner:
                continue
            if self._doubt is not None:
                self._refuse_after_all(*self._doubt)
            elif isinstance(inner, Waiting):
                self._choose()
            elif error is not None and self._heals(error):
                self._begin_anew()
            elif error is not None:
                if isinstance(inner, HttpSse | FlyWrap):
                    inner.give_back(error)
                raise error

    async def _run_until_switched(self, inner: Upstream) -> McpctlError | None:
        """Run it until another takes over; what ended it otherwise."""
        error: McpctlError | None = None
        with trio.CancelScope() as self._running:
            try:
                await inner.run()
            except McpctlError as exc:
                error = exc
        return error  # noqa: ASYNC910  (`run` waits)

    async def _try_out(self, inner: HttpSse) -> McpctlError | None:
        """The same, and stop it when it does not prove true in time."""
        error: McpctlError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._judge, inner, nursery.cancel_scope)
            error = await self._run_until_switched(inner)
            nursery.cancel_scope.cancel()
        return error

    async def _judge(self, inner: HttpSse, trial: trio.CancelScope) -> None:
        with trio.move_on_after(PROBE_BOUND_S):
            await inner.wait_decided()
        if inner.named:
            self._doubt = None
            self.settle(inner)
        else:
            trial.cancel()

    def _become(self, upstream: Upstream, *first: Message) -> None:
        """Go on with another transport, which gets `first` and what was not sent."""
        unsent = self._inner.surrender()
        self._inner = upstream
        self._running.cancel()
        for message in (*first, *unsent):
            upstream.send(message)

    def _take_turn(self) -> None:
        """The first message goes out; if another session's has, and nothing is known yet, it waits."""
        self._asked = True
        if self.context.shared.facts.transport is not None:
            self._choose()
        elif not self._scouting.begin(self):
            self._become(Waiting(self.context, self))

    def _choose(self) -> None:
        """What another session has found out is used; if it is nothing, this one tries."""
        found = self.context.shared.facts.transport
        self._guessed = found in (HttpSse.transport, FlyWrap.transport)
        self._become(self._guess(found))

    def give_way(self) -> None:
        """Others may try: something was found out, or will not be soon."""
        self._scouting.end(self)

    def _heals(self, error: McpctlError) -> bool:
        """Whether an old verdict that does not hold any more explains the error."""
        if not self._guessed or self._settled or not isinstance(error, NotFound | PeerError):
            return False
        return not (isinstance(self._inner, HttpSse) and self._inner.named)

    def _begin_anew(self) -> None:
        self.log.info("transport.changed", extra={"was": self._inner.transport})
        self.context.shared.learn_transport(None)
        self._guessed = False
        self._become(_Attempt(self.context, self))

    def _refuse_after_all(self, message: Message, refusal: Refusal) -> None:
        """It is not HTTP+SSE, either: the refusal counts."""
        self._doubt = None
        unsent = self._inner.surrender()
        self._inner = attempt = _Attempt(self.context, self)
        attempt.refuse_after_all(message, refusal)
        for later in unsent:
            if later is not message:
                attempt.send(later)

    # ------------------------------------------------------------ the verdict

    def settle(self, upstream: Upstream) -> None:
        """This is what the server speaks."""
        if not self._settled:
            self._settled = True
            is_news = self.context.shared.facts.transport != upstream.transport
            self.context.shared.learn_transport(upstream.transport)
            self.give_way()
            if is_news:
                self.log.info("transport.detected", extra={"transport": upstream.transport})

    def suspects(self, post: Post, refusal: Refusal) -> bool:
        """Whether this refusal speaks for another transport: then the POST is dealt with here."""
        message = post.message
        if self._settled or self._closed or not post.pending or isinstance(message, Batch):
            return False
        if refusal.status == 202:
            self._become_fly_wrap(post, message)
        elif post.method == "initialize" and _speaks_for_sse(refusal):
            post.pending.clear()
            self._doubt = message, refusal
            self._become(HttpSse(self.context, guessed=True), message)
        else:
            return False
        return True

    def _become_fly_wrap(self, post: Post, message: Message) -> None:
        """The process has the message, and its answer is lost: nobody was listening."""
        wrap = FlyWrap(self.context, within_line=True)
        self.settle(wrap)
        if message.method in REPEATABLE:
            post.pending.clear()
            self._become(wrap, message)
        else:
            name = self.context.server.name
            post.fail(PeerError(f"{name} took the request, but the answer is lost; make it again"))
            self._become(wrap)

    # ------------------------------------------------------------ Upstream, handed through

    def send(self, message: Message | Batch) -> None:
        """Hand it to the transport in use."""
        if not self._asked:
            self._take_turn()
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
        self._closed = True
        await self._inner.aclose()

    def abandon(self) -> None:
        """Leave the transport in use."""
        self._closed = True
        self._inner.abandon()

    def rest(self) -> None:
        """Let the transport in use rest."""
        self._inner.rest()


def _speaks_for_sse(refusal: Refusal) -> bool:
    """Whether an answer to `initialize` is one that only a server of 2024-11-05 should give."""
    if refusal.status not in (400, 404, 405):
        return False
    error = json_rpc_error(refusal)
    return error is None or read_error(error)[0] not in MODERN_CODES


UPSTREAM = Auto
