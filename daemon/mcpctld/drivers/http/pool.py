"""The connections to one origin, and the requests that wait for one."""

import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.drivers.http.connection import Connection, Opened
from mcpctld.drivers.http.request import Exchange, Origin, Request, ResponseHandler
from mcpctld.drivers.keepalive import STEADY, URGENT
from mcpctld.errors import InternalError, McpctlError, TimedOut, Unreachable, UserError
from mcpctld.protocols import http1

__all__ = ["Connect", "Opened", "Pool", "PoolStatistics"]

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 2.0
AHEAD_BOUND_S = 10.0
"""For so long a connection that nobody waits for yet is tried: a network that has just come up may need a moment."""
MAX_ATTEMPTS = 3
"""Each but the last was lost on a connection in use before: two in a row are bad luck, more are a pattern."""

_log = logging.getLogger("mcpctld.http")

Connect = Callable[[Origin], Awaitable[Opened]]
"""Opens a stream to an origin. Raises `Unreachable` for what may get better soon, other errors for what will not."""


class PoolStatistics(NamedTuple):
    """Connections open, those of them idle, and requests waiting for one."""

    open: int
    idle: int
    waiting: int


class Pool:
    """Connections to one origin. `submit` never waits: it sends at once, or queues for the next free connection.

    While the origin cannot be reached, one task tries again for all who wait, each until its own patience ends.
    """

    def __init__(
        self, origin: Origin, connect: Connect, nursery: trio.Nursery, limit: Callable[[], int]
    ) -> None:
        self.origin = origin
        self._host = ("Host", origin.authority)
        self._connect = connect
        self._nursery = nursery
        self._limit = limit
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._lasting: set[Connection] = set()  # open too, but not counted
        self._queue: OrderedDict[Exchange, None] = OrderedDict()
        self._opening = 0
        self._dialing: set[trio.CancelScope] = set()
        self._probing = False
        self._pause = trio.CancelScope()
        self._trouble: McpctlError | None = None
        self._impatience = Alarm(nursery, self._drop_impatient)
        self._expiry = Alarm(nursery, self._close_expired)

    def submit(self, request: Request, handler: ResponseHandler, patience_s: float) -> Exchange:
        """Send a request. `patience_s`: how long it may wait while no connection can be made."""
        try:
            head = http1.encode_head(request.method, request.target, (self._host, *request.headers))
        except ValueError as exc:
            return self._refuse(Exchange(request, b"", handler, patience_s), exc)
        exchange = Exchange(request, head, handler, patience_s)
        connection = self._take_idle()
        if connection is not None:
            self._start(connection, exchange)
        else:
            self._enqueue(exchange)
        return exchange

    def statistics(self) -> PoolStatistics:
        """How many there are."""
        open_ = len(self._open) + len(self._lasting)
        return PoolStatistics(open_, len(self._idle), len(self._queue))

    def close_idle(self) -> None:
        """Close connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def renew(self, why: str) -> None:
        """Trust no connection that was made so far: there may be another network now.

        Idle ones are closed, and one is opened ahead of need; streams that are asked for again are cut; requests under
        way are left, but `URGENT` probing finds out whether their connections still lead anywhere (until `relax`).
        """
        used = bool(self._idle or self._lasting)
        self.close_idle()
        for scope in tuple(self._dialing):  # it may knock at a door that is not there any more
            scope.cancel()
        self._pause.cancel()
        for connection in (*self._open, *self._lasting):
            if not connection.closed and not connection.cut(why):
                connection.set_pace(URGENT)
        if used:
            self._open_ahead()

    def relax(self) -> None:
        """Connections are probed as ever again."""
        for connection in (*self._open, *self._lasting):
            connection.set_pace(STEADY)

    def withdraw(self, exchange: Exchange) -> None:
        """A waiting request was cancelled."""
        self._queue.pop(exchange, None)

    # ------------------------------------------------------------ sending

    def _refuse(self, exchange: Exchange, exc: ValueError) -> Exchange:
        error = UserError(f"cannot send a request to {self.origin}: {exc}; check the server's file")

        async def fail() -> None:  # later: the caller does not have the exchange yet
            exchange.fail(error)
            await trio.lowlevel.checkpoint()

        self._nursery.start_soon(fail)
        return exchange

    def _take_idle(self) -> Connection | None:
        """The connection used last: the one most surely alive, and the others may expire."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def _start(self, connection: Connection, exchange: Exchange) -> None:
        connection.start(exchange, self._head(connection.opened, exchange))
        if exchange.request.lasting:
            self._open.discard(connection)
            self._lasting.add(connection)
            self._open_more()

    def _head(self, opened: Opened, exchange: Exchange) -> bytes:
        if not opened.absolute_form:
            return exchange.head
        request = exchange.request
        headers = (self._host, *request.headers)
        if opened.proxy_authorization:
            headers += (("Proxy-Authorization", opened.proxy_authorization),)
        return http1.encode_head(request.method, f"{self.origin}{request.target}", headers)

    def _enqueue(self, exchange: Exchange) -> None:
        if not self._queue:
            self._pause.cancel()  # nobody waited, so the next attempt was far off
        self._queue[exchange] = None
        exchange.holder = self
        exchange.deadline = trio.current_time() + exchange.patience_s
        self._impatience.set(exchange.deadline)
        self._open_more()

    # ------------------------------------------------------------ opening

    def _open_more(self) -> None:
        room = self._limit() - len(self._open) - self._opening
        wanted = min(len(self._queue) - self._opening, room)
        if self._probing or wanted <= 0:
            return
        if not self._opening:
            self._renew_patience()
        for _ in range(wanted):
            self._opening += 1
            self._nursery.start_soon(self._run_connection)

    def _open_ahead(self) -> None:
        """Have a connection before somebody needs it."""
        if not self._opening and len(self._open) < self._limit():
            self._opening += 1
            until = trio.current_time() + AHEAD_BOUND_S
            self._nursery.start_soon(self._run_connection, until)

    def _renew_patience(self) -> None:
        """Waiting for a busy connection costs no patience: it counts from the first attempt to make one."""
        now = trio.current_time()
        for exchange in self._queue:
            exchange.deadline = now + exchange.patience_s
            self._impatience.set(exchange.deadline)

    async def _run_connection(self, until: float = -math.inf) -> None:
        """Open a connection, give it to whoever waits longest, and live until it ends.

        `until`: the time until which it is tried although nobody waits.
        """
        try:
            opened = await self._dial(until)
            if opened is not None:
                await self._live(opened, ahead=until > -math.inf)
                self._open_more()
        except BaseException:  # cancelled: alone, or in a group from somewhere in `connect`
            self._fail_queued(Unreachable(f"the request to {self.origin} was given up"))
            raise

    async def _dial(self, until: float) -> Opened | None:
        """A stream to the origin; None when nobody waits for one, or another task keeps trying."""
        try:
            return await self._try_to_open(until)
        except McpctlError as exc:  # trying again will not help
            self._fail_queued(exc)
        except Exception:  # a bug on the way to one origin must not cost the others theirs
            _log.exception("http.open_failed", extra={"origin": str(self.origin)})
            self._fail_queued(InternalError("a bug in mcpctl; the daemon's log says more"))
        finally:
            self._opening -= 1
        return None  # noqa: ASYNC910  (the beginning of a task, as is what it calls)

    async def _try_to_open(self, until: float) -> Opened | None:
        probing = False
        backoff = FIRST_BACKOFF_S
        try:
            while self._queue or trio.current_time() < until:
                try:
                    opened = await self._try_once()
                    self._trouble = None
                    return opened
                except Unreachable as exc:
                    self._trouble = exc
                if self._probing and not probing:
                    return None  # noqa: ASYNC910
                self._probing = probing = True
                with trio.move_on_after(backoff) as self._pause:
                    await trio.sleep_forever()
                backoff = min(backoff * 2, LAST_BACKOFF_S)
        finally:
            if probing:
                self._probing = False
        return None  # noqa: ASYNC910

    async def _try_once(self) -> Opened:
        with trio.CancelScope() as scope:
            self._dialing.add(scope)
            try:
                return await self._connect(self.origin)
            finally:
                self._dialing.discard(scope)
        raise Unreachable(f"cannot connect to {self.origin}: the network has changed meanwhile")

    async def _live(self, opened: Opened, *, ahead: bool) -> None:  # noqa: ASYNC910
        connection = Connection(
            self._nursery, self.origin, opened,
            on_idle=self._offer, on_lost=self._lost, ahead=ahead,
        )  # fmt: skip
        self._open.add(connection)
        try:
            self._offer(connection)
            self._open_more()  # others may have waited for this attempt
            await connection.run()
        except Exception:  # a bug in whoever takes one answer must not cost the others theirs
            _log.exception("http.connection_failed", extra={"origin": str(self.origin)})
        finally:
            self._open.discard(connection)
            self._lasting.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)

    # ------------------------------------------------------------ giving up

    def _drop_impatient(self) -> float:
        """Fail those who have waited long enough for a connection that cannot be made: when to look again."""
        if not self._opening:
            return math.inf
        now = trio.current_time()
        for exchange in [waiting for waiting in self._queue if waiting.deadline <= now]:
            self._queue.pop(exchange, None)
            exchange.fail(self._given_up(exchange))
        return min((waiting.deadline for waiting in self._queue), default=math.inf)

    def _given_up(self, exchange: Exchange) -> McpctlError:
        if self._trouble is not None:
            error = type(self._trouble)(str(self._trouble))
        else:
            bound = f"{exchange.patience_s:g} s"
            error = TimedOut(f"cannot connect to {self.origin}: no answer within {bound}")
        error.unprocessed = not exchange.arrived
        error.exhausted = True
        return error

    def _fail_queued(self, error: McpctlError) -> None:
        queued, self._queue = self._queue, OrderedDict()
        for exchange in queued:
            exchange.fail(error)

    # ------------------------------------------------------------ between exchanges

    def _offer(self, connection: Connection) -> None:
        """A connection is free: who waits longest gets it, else it rests."""
        if connection in self._lasting:
            self._lasting.discard(connection)
            self._open.add(connection)
        if self._queue:
            exchange, _ = self._queue.popitem(last=False)
            self._start(connection, exchange)
        else:
            self._idle.append(connection)
            self._expiry.set(connection.expires())

    def _close_expired(self) -> float:
        """Close connections that have rested too long: when to look again."""
        now = trio.current_time()
        for connection in [idle for idle in self._idle if idle.expires() <= now]:
            self._idle.remove(connection)
            connection.close()
        return min((idle.expires() for idle in self._idle), default=math.inf)

    def _lost(self, exchange: Exchange, error: McpctlError, harmless: bool) -> None:
        """A connection ended with an exchange on it: send it again where that can do no harm."""
        if harmless and exchange.attempts < MAX_ATTEMPTS:
            self._enqueue(exchange)
            self._queue.move_to_end(exchange, last=False)
        else:
            exchange.fail(error)
