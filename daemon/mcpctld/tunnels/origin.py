"""Open a stream to an origin: choose the way, go through a proxy where one is set, lay TLS over it."""

import ssl
from typing import Protocol

import trio

from mcpctld.drivers.http.connection import Opened
from mcpctld.drivers.http.request import Origin
from mcpctld.errors import Unreachable
from mcpctld.tunnels import direct, proxy
from mcpctld.tunnels.tls import start_tls

CONNECT_BOUND_S = 15.0
"""An attempt that takes longer, handshakes included, is given up; the pool tries again while somebody waits."""


class Ways(Protocol):
    """Tunnels into private networks: see `choice.Tunnels`."""

    def find(self, host: str) -> str | None:
        """The one that leads to a host; None for none."""

    async def open_stream(self, name: str, host: str, port: int) -> trio.abc.Stream:
        """A connection through it. Raises `McpctlError`."""


async def open_origin(
    origin: Origin, context: ssl.SSLContext | None = None, ways: Ways | None = None
) -> Opened:
    """A stream to `origin`, TLS verified: by `context`, or by the system's authorities.

    `ways` come before proxies: what is behind a tunnel is not on the Internet.
    Raises `Unreachable` where trying again may help, other errors elsewhere.
    """
    with trio.move_on_after(CONNECT_BOUND_S):
        way = ways.find(origin.host) if ways is not None else None
        if ways is not None and way is not None:
            stream = await ways.open_stream(way, origin.host, origin.port)
            return await _secure(stream, origin, context)
        return await _open(origin, context)
    raise Unreachable(f"cannot connect to {origin}: no answer within {CONNECT_BOUND_S:g} s")


async def _open(origin: Origin, context: ssl.SSLContext | None) -> Opened:
    through = proxy.for_origin(origin)
    if through is not None and origin.scheme == "http":
        stream = await proxy.connect(through, context)
        return Opened(stream, absolute_form=True, proxy_authorization=through.authorization)
    if through is not None:
        stream = await proxy.open_stream(through, origin.host, origin.port, context)
    else:
        stream = await direct.open_stream(origin.host, origin.port)
    return await _secure(stream, origin, context)


async def _secure(
    stream: trio.abc.Stream, origin: Origin, context: ssl.SSLContext | None
) -> Opened:
    if origin.scheme == "https":
        stream = await start_tls(stream, origin.host, context)
    return Opened(stream)  # noqa: ASYNC910  (what has opened it has waited)
