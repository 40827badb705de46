"""An HTTP/1.1 server for the data path: a request costs little more than its system calls.

Each connection is one task that reads, has requests handled and writes what is answered at once; one alarm watches
over the time limits of all. The parts: `service` is what is served, `server_connection` one connection, `server_reply`
the answer to one request, `protocols/http1_server` the bytes. HTTP/2 is recognised and handed to somebody else.
"""

import math
import socket
from collections.abc import Iterable

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.drivers.http.server_connection import OnHttp2, ServerConnection
from mcpctld.drivers.http.service import Answer, Fields, Limits, Reply, Request, Service

__all__ = [
    "Answer", "Fields", "HttpServer", "Limits", "OnHttp2", "Reply", "Request", "Service", "serve_connection",
]  # fmt: skip

TICK_S = 0.25
"""Time limits are looked at no more often: one look is at all connections."""
MOST_TURNED_AWAY = 64
"""Connections above the limit that are told so; further ones are closed without a word."""


class HttpServer:
    """Serves `service` on listening sockets, by `serve`, until `drain` or cancelled.

    On cancellation everything ends at once. A connection that fails ends alone.
    """

    def __init__(
        self, service: Service, limits: Limits | None = None, on_http2: OnHttp2 | None = None
    ) -> None:
        self._service = service
        self._limits = limits or Limits()
        self._on_http2 = on_http2
        self._connections: set[ServerConnection] = set()
        self._accepting = trio.CancelScope()
        self._draining = False
        self._emptied = trio.lowlevel.ParkingLot()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def serve(
        self,
        sockets: Iterable[socket.socket],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on `sockets`, which listen, and close them. Returns when drained."""
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
        async with trio.open_nursery() as nursery:
            with self._accepting:
                task_status.started()
                await self._accept(listeners, nursery)
            while self._connections:
                await self._emptied.park()
            nursery.cancel_scope.cancel()  # the alarm's task

    def drain(self) -> None:
        """Take no more connections, and let `serve` end with the last answer.

        Connections without a request are closed at once, others when their answer is sent.
        """
        self._draining = True
        self._accepting.cancel()
        for connection in tuple(self._connections):
            connection.drain()

    async def _accept(self, listeners: list[trio.SocketListener], nursery: trio.Nursery) -> None:
        alarm = Alarm(nursery, self._due)

        async def serve(stream: trio.SocketStream) -> None:
            await self._serve(stream, nursery, alarm)

        try:
            await trio.serve_listeners(serve, listeners, handler_nursery=nursery)
        finally:
            for listener in listeners:
                listener.socket.close()

    async def _serve(  # noqa: ASYNC910  (a task of its own; `serve_listeners` closes the stream)
        self, stream: trio.SocketStream, nursery: trio.Nursery, alarm: Alarm
    ) -> None:
        above = len(self._connections) - self._limits.connections
        if above >= MOST_TURNED_AWAY or self._draining:
            return  # noqa: ASYNC910
        connection = ServerConnection(
            nursery, stream, self._service, self._limits, alarm.set, self._on_http2
        )
        self._connections.add(connection)
        try:
            if above >= 0:
                connection.turn_away()
            await connection.run()
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._emptied.unpark_all()

    def _due(self) -> float:
        """End what has taken too long; when to look again."""
        now = trio.current_time()
        for connection in tuple(self._connections):
            connection.expire(now)
        earliest = min((each.deadline for each in self._connections), default=math.inf)
        return earliest if earliest == math.inf else max(earliest, now + TICK_S)


async def serve_connection(
    stream: trio.SocketStream,
    service: Service,
    limits: Limits | None = None,
    on_http2: OnHttp2 | None = None,
) -> None:
    """Serve one connection until it ends, and close it."""
    async with stream, trio.open_nursery() as nursery:

        def due() -> float:
            connection.expire(trio.current_time())
            return connection.deadline

        alarm = Alarm(nursery, due)
        connection = ServerConnection(
            nursery, stream, service, limits or Limits(), alarm.set, on_http2
        )
        await connection.run()
        nursery.cancel_scope.cancel()  # the alarm's task
