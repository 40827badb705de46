"""The connections to one origin, and the requests that wait for one."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from mcpctld.drivers.http.connection import Connection, Exchange
from mcpctld.drivers.http.request import Origin, Request, ResponseHandler
from mcpctld.errors import McpctlError, TimedOut, Unreachable
from mcpctld.protocols import http1

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 2.0
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream to an origin. `absolute_form`: a plain HTTP proxy is in between (RFC 9112 §3.2.2)."""

    stream: trio.abc.Stream
    absolute_form: bool = False
    proxy_authorization: str | None = None


Connect = Callable[[Origin], Awaitable[Opened]]
"""Opens a stream to an origin. Raises `Unreachable` for what may get better soon, other errors for what will not."""


class Pool:
    """Connections to one origin. `submit` never waits: it sends at once, or queues for the next free connection.

    While the origin cannot be reached, one task tries again for all who wait, each until its own patience ends.
    """

    def __init__(
        self, origin: Origin, connect: Connect, nursery: trio.Nursery, limit: Callable[[], int]
    ) -> None:
        self.origin = origin
        self._connect = connect
        self._nursery = nursery
        self._limit = limit
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[Exchange] = deque()
        self._opening = 0
        self._failing = False
        self._sweeping = False
        self._absolute_form = False
        self._proxy_authorization: str | None = None

    def submit(self, request: Request, handler: ResponseHandler, patience_s: float) -> Exchange:
        """Send a request. `patience_s`: how long it may wait for a connection."""
        exchange = Exchange(request, handler, trio.current_time() + patience_s)
        self._send(exchange)
        return exchange

    def statistics(self) -> tuple[int, int, int]:
        """Connections open, those of them idle, and requests waiting."""
        return len(self._open), len(self._idle), len(self._waiting)

    def close_idle(self) -> None:
        """Close connections that nobody uses, say after a change of network."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    # ------------------------------------------------------------ sending

    def _send(self, exchange: Exchange) -> None:
        connection = self._take_idle()
        if connection is not None:
            connection.start(exchange, self._encode(exchange.request))
            return
        self._waiting.append(exchange)
        self._open_more()

    def _take_idle(self) -> Connection | None:
        """The connection used last: the one most surely alive, and the others may expire."""
        now = trio.current_time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.expires() > now:
                return connection
            connection.close()
        return None

    def _encode(self, request: Request) -> bytes:
        target = f"{self.origin}{request.target}" if self._absolute_form else request.target
        headers = (("Host", self.origin.authority), *request.headers)
        if self._absolute_form and self._proxy_authorization:
            headers += (("Proxy-Authorization", self._proxy_authorization),)
        return http1.encode_request(request.method, target, headers, request.body)

    def _next_waiting(self) -> Exchange | None:
        while self._waiting:
            exchange = self._waiting.popleft()
            if exchange.handler is not None:
                return exchange
        return None

    # ------------------------------------------------------------ opening

    def _open_more(self) -> None:
        if self._failing:
            return
        while (
            self._opening < len(self._waiting) and len(self._open) + self._opening < self._limit()
        ):
            self._opening += 1
            self._nursery.start_soon(self._run_connection)

    async def _run_connection(self) -> None:
        """Open a connection, give it to whoever waits longest, and live until it ends."""
        try:
            opened = await self._try_to_open()
        finally:
            self._opening -= 1
        if opened is None:
            return
        self._absolute_form, self._proxy_authorization = (
            opened.absolute_form,
            opened.proxy_authorization,
        )
        async with trio.open_nursery() as nursery:
            connection = Connection(nursery, opened.stream, on_idle=self._reuse, on_lost=self._lost)
            self._open.add(connection)
            self._reuse(connection)
            try:
                await connection.run()
            finally:
                self._open.discard(connection)
                if connection in self._idle:
                    self._idle.remove(connection)
                nursery.cancel_scope.cancel()
        self._open_more()

    async def _try_to_open(self) -> Opened | None:
        """A stream to the origin, or None when nobody waits for one any more."""
        backoff = FIRST_BACKOFF_S
        while self._drop_impatient(None):
            try:
                with trio.move_on_at(max(exchange.deadline for exchange in self._waiting)):
                    return await self._connect(self.origin)
                error: McpctlError = TimedOut(f"{self.origin} did not answer in time")
            except Unreachable as exc:
                error = exc
            except McpctlError as exc:
                self._fail_waiting(exc)
                return None
            if self._failing or not self._drop_impatient(error):  # one probe serves all who wait
                return None
            self._failing = True
            try:
                await self._sleep(backoff)
            finally:
                self._failing = False
            backoff = min(backoff * 2, LAST_BACKOFF_S)
        return None

    async def _sleep(self, backoff: float) -> None:
        first = min(exchange.deadline for exchange in self._waiting)
        await trio.sleep_until(
            max(min(trio.current_time() + backoff, first), trio.current_time() + 0.01)
        )

    def _drop_impatient(self, error: McpctlError | None) -> bool:
        """Fail those whose patience has ended, with what went wrong; True when others still wait."""
        now = trio.current_time()
        kept: deque[Exchange] = deque()
        for exchange in self._waiting:
            if exchange.handler is None:
                continue
            if error is not None and exchange.deadline <= now:
                exchange.fail(error)
            else:
                kept.append(exchange)
        self._waiting = kept
        return bool(kept)

    def _fail_waiting(self, error: McpctlError) -> None:
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.fail(error)

    # ------------------------------------------------------------ between exchanges

    def _reuse(self, connection: Connection) -> None:
        exchange = self._next_waiting()
        if exchange is not None:
            connection.start(exchange, self._encode(exchange.request))
            return
        self._idle.append(connection)
        if not self._sweeping:
            self._sweeping = True
            self._nursery.start_soon(self._sweep)

    async def _sweep(self) -> None:
        """Close connections when they expire; ends when none is idle, so that rest costs nothing."""
        while self._idle:
            await trio.sleep_until(min(connection.expires() for connection in self._idle))
            now = trio.current_time()
            for connection in [idle for idle in self._idle if idle.expires() <= now]:
                self._idle.remove(connection)
                connection.close()
        self._sweeping = False

    def _lost(
        self, connection: Connection, exchange: Exchange, error: McpctlError, unprocessed: bool
    ) -> None:
        """A connection ended with an exchange on it: send it again where that can do no harm."""
        if exchange.handler is None:
            return
        harmless = unprocessed or exchange.request.repeatable
        if (
            harmless
            and connection.used
            and not connection.answering
            and exchange.attempts < MAX_ATTEMPTS
        ):
            self._idle = [idle for idle in self._idle if not idle.closed]
            self._waiting.appendleft(exchange)
            self._open_more()
            return
        exchange.fail(error)
