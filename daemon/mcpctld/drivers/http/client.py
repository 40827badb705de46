"""All origins: requests go in by URL, each origin has a pool of its own."""

from collections.abc import Callable
from urllib.parse import urlsplit

import trio

from mcpctld.drivers.http.connection import Exchange
from mcpctld.drivers.http.pool import Connect, Pool
from mcpctld.drivers.http.request import Origin, Request, ResponseHandler
from mcpctld.errors import UserError


class HttpClient:
    """The HTTP client of the daemon; connections are shared by all sessions, what identifies one is in its headers."""

    def __init__(self, nursery: trio.Nursery, connect: Connect, limit: Callable[[], int]) -> None:
        """`limit`: how many connections one origin may have, asked each time."""
        self._nursery = nursery
        self._connect = connect
        self._limit = limit
        self._pools: dict[Origin, Pool] = {}

    def pool(self, origin: Origin) -> Pool:
        """The pool of an origin."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._connect, self._nursery, self._limit)
        return pool

    def submit(
        self, origin: Origin, request: Request, handler: ResponseHandler, *, patience_s: float
    ) -> Exchange:
        """Send a request, without waiting; see `ResponseHandler` for how the answer comes."""
        return self.pool(origin).submit(request, handler, patience_s)

    def close_idle(self) -> None:
        """Close every connection that nobody uses."""
        for pool in self._pools.values():
            pool.close_idle()


def split_url(url: str) -> tuple[Origin, str]:
    """A URL as origin and request target (path and query). Raises `UserError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise UserError(f"cannot use the URL {url!r}: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(
            f"cannot use the URL {url!r}: it must begin with http:// or https:// and name a host"
        )
    origin = Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return origin, target
