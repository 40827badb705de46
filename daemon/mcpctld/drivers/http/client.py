"""All origins: requests go in by URL, each origin has a pool of its own."""

import math
import string
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.drivers.http.pool import Connect, Pool
from mcpctld.drivers.http.request import DEFAULT_PORTS, Exchange, Origin, Request, ResponseHandler
from mcpctld.errors import UserError

URGENCY_S = 60.0
"""For so long after a change of network connections are probed more often."""

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
        self.renewals = 0
        """How often `renew` was called."""
        self._renewed = trio.Event()
        self._urgent_until = -math.inf
        self._relaxation = Alarm(nursery, self._relax)

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

    def close_idle(self, origin: Origin | None = None) -> None:
        """Close every connection that nobody uses; of one origin, if it is given."""
        for of, pool in self._pools.items():
            if origin in (None, of):
                pool.close_idle()

    def renew(self, why: str) -> None:
        """The network is another one, or we have slept: have connections re-made before the next request needs them.

        What stays on this machine is not concerned.
        """
        for origin, pool in tuple(self._pools.items()):
            if not origin.is_loopback:
                pool.renew(why)
        self._urgent_until = trio.current_time() + URGENCY_S
        self._relaxation.set(self._urgent_until)
        self.renewals += 1
        self._renewed.set()
        self._renewed = trio.Event()

    async def wait_renewed(self, since: int) -> None:
        """Wait until `renewals` is more than `since`: then it is worth trying again what has failed."""
        await trio.lowlevel.checkpoint()
        while self.renewals <= since:
            await self._renewed.wait()

    def _relax(self) -> float:
        if trio.current_time() < self._urgent_until:
            return self._urgent_until
        for pool in self._pools.values():
            pool.relax()
        return math.inf


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
