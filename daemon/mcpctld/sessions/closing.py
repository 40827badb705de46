"""Upstreams that are not used any more, being closed while others are in use already."""

import trio

from mcpctld.upstreams import Upstream

BOUND_S = 8.0


class Closing:
    """Of one layer."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._count = 0
        self._closed = trio.lowlevel.ParkingLot()

    def close(self, upstream: Upstream) -> None:
        """Close it, without waiting for that."""
        self._count += 1
        self._nursery.start_soon(self._close, upstream)

    async def _close(self, upstream: Upstream) -> None:
        try:
            with trio.move_on_after(BOUND_S):
                await upstream.aclose()
        finally:
            self._count -= 1
            self._closed.unpark_all()

    async def wait(self) -> None:  # noqa: ASYNC910  (each session ends with this, as a rule with nothing open)
        """Wait until all of them are closed."""
        while self._count:
            await self._closed.park()
