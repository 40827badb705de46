"""The control API on a listening socket: hypercorn's HTTP, our own accepting and stopping.

hypercorn is used connection by connection and not through its `serve`, for three reasons. Its
`unix:` bind removes a live socket and leaves its own behind; its `fd://` bind makes the descriptor
inheritable; and it shields its writes, so one client that stopped reading would keep a cancelled
server from ever ending.
"""

import logging
import socket
import time
from typing import Any, cast
from wsgiref.handlers import format_date_time

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from mcpctl import wire
from mcpctld.api.app import make_app
from mcpctld.api.engine import Engine
from mcpctld.api.routes import ROUTES
from mcpctld.api.streams import EventStreams

log = logging.getLogger("mcpctld.api")

KEEP_ALIVE_S = 5.0
"""For an idle connection: our own client asks again within milliseconds or never."""

GRACE_S = 1.0
"""For answers under way when serving ends, such as the one to `POST /v1/shutdown`."""


async def serve(
    listener_fd: int,
    engine: Engine,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API on a listening stream socket until cancelled.

    The descriptor is duplicated and stays the caller's: it is neither closed nor unlinked here.
    On cancellation idle connections and event streams end at once, answers under way within
    `GRACE_S`, and nothing is left running.
    """
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(_duplicate(listener_fd)))
    server = ControlServer(engine)
    async with listener, trio.open_nursery() as nursery:
        try:
            connections = await nursery.start(server.hold_connections)
            task_status.started()
            await trio.serve_listeners(
                server.serve_connection, [listener], handler_nursery=connections
            )
        finally:
            server.stop()


def _duplicate(fd: int) -> socket.socket:
    borrowed = socket.socket(fileno=fd)
    try:
        return borrowed.dup()
    finally:
        borrowed.detach()


class ControlServer:
    """The connections of one `serve`, and how they end."""

    def __init__(self, engine: Engine) -> None:
        self._streams = EventStreams()
        self._app = ASGIWrapper(make_app(engine, ROUTES, self._streams))
        self._config = ControlConfig()
        self._context = WorkerContext(max_requests=None)
        self._open: set[trio.SocketStream] = set()
        self._one_closed = trio.lowlevel.ParkingLot()
        self._stopping = trio.Event()

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Answer one client until either side closes. A bug ends this connection and no other.

        `trio.serve_listeners` closes the stream when this returns, also when it is cancelled.
        """
        await trio.lowlevel.checkpoint()
        self._open.add(stream)
        try:
            state = ConnectionState({})
            plain = cast(Any, stream)  # hypercorn names the TLS one only, and tells them apart
            await TCPServer(self._app, self._config, self._context, state, plain).run()
        except* Exception as failures:
            log.error("control connection failed", exc_info=failures)
        finally:
            self._open.discard(stream)
            self._one_closed.unpark_all()

    async def hold_connections(
        self, *, task_status: trio.TaskStatus[trio.Nursery] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Give the nursery in which connections live; it outlives a cancellation by `GRACE_S`."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as connections:
                task_status.started(connections)
                await self._stopping.wait()
                await self._context.terminated.set()
                with trio.move_on_after(GRACE_S):
                    while self._open:
                        await self._one_closed.park()
                self._abandon(connections)

    def stop(self) -> None:
        """Let the connections end."""
        self._streams.end()
        self._stopping.set()

    def _abandon(self, connections: trio.Nursery) -> None:
        # Closing wakes a write that waits for its client, which cancelling alone does not.
        for stream in self._open:
            stream.socket.close()
        connections.cancel_scope.cancel()


class ControlConfig(Config):
    """hypercorn's settings: no output of its own, and our version on every answer."""

    errorlog = log
    accesslog = None
    keep_alive_timeout = KEEP_ALIVE_S

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """What is added to every response, including hypercorn's own refusals of broken HTTP."""
        date = format_date_time(time.time())
        version = (wire.VERSION_HEADER.encode(), wire.VERSION.encode())
        return [(b"date", date.encode("ascii")), version]
