"""HTTP/2 without TLS (h2c with prior knowledge, RFC 9113 §3.3), for proxies that speak it to us: Fly's `h2_backend`.

Rare, and so left to hypercorn, which serves the front as an ASGI application.
"""

import logging
from typing import Any, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from mcpctld.wrap.asgi import Receive, Scope, Send, serve_request
from mcpctld.wrap.front import Front

_log = logging.getLogger("mcpctld.wrap.http2")


class _Begun:
    """A stream of which something was read already; what hypercorn asks of one."""

    def __init__(self, stream: trio.SocketStream, read: bytes) -> None:
        self._stream = stream
        self._read = read
        self.socket = stream.socket
        self.send_all = stream.send_all
        self.send_eof = stream.send_eof
        self.aclose = stream.aclose

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What was read first, then what comes."""
        if self._read:
            await trio.lowlevel.checkpoint()
            read, self._read = self._read, b""
            return read
        return await self._stream.receive_some(max_bytes)


async def serve(front: Front, limit: int, stream: trio.SocketStream, read: bytes) -> None:
    """Serve one connection until it ends; `read` is what has come of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_request(front, scope, receive, send, limit)

    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    context = WorkerContext(max_requests=None)
    begun = cast(Any, _Begun(stream, read))
    await TCPServer(ASGIWrapper(cast(Any, app)), config, context, ConnectionState({}), begun).run()
