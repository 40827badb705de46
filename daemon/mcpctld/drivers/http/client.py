"""All origins: requests go in by URL, each origin has a pool of its own."""

import string
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import trio

from mcpctld.drivers.http.pool import Connect, Pool
from mcpctld.drivers.http.request import DEFAULT_PORTS, Exchange, Origin, Request, ResponseHandler
from mcpctld.errors import UserError

_KEPT = (
    string.punctuation
)  # what stands for something in a URL, and what is percent-encoded already


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
    """A URL as origin and request target: path and query, percent-encoded where needed. Raises `UserError`.

    A fragment is dropped, and so are credentials: those go into a header.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise UserError(f"cannot use the URL {url!r}: {exc}") from exc
    if parts.scheme not in DEFAULT_PORTS or not host or not host.isascii() or port == 0:
        raise UserError(
            f"cannot use the URL {url!r}: it must begin with http:// or https:// and name a host"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]), quote(target, _KEPT)
