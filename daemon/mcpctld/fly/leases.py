"""Leases: the right to change a machine, alone, for some seconds.

A lease keeps Fly's proxy from starting the machine: it is held as shortly as can be.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from mcpctld.fly.errors import FlyError
from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read
from mcpctld.fly.machine_shapes import Lease

GIVE_BACK_S = 10.0
"""Giving back may take so long; after that the lease ends by itself."""


class Leases:
    """`/v1/apps/APP/machines/MACHINE/lease`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def take(
        self, app: str, machine: str, *, ttl_s: int, nonce: str | None = None, description: str = ""
    ) -> Lease:
        """Take it, or prolong the one of `nonce`. `FlyError` LEASE_HELD while somebody else has it."""
        body: dict[str, Any] = {"ttl": ttl_s}
        if description:
            body["description"] = description
        doing = f"lease machine {machine} of {app}"
        ask = Ask("POST", self._url(app, machine), doing, "lease", machine, body=body, lease=nonce)
        answer = await self._wire.send(ask)
        lease = _read(answer.mapping())
        if not lease.nonce:
            raise answer.broken("the lease has no nonce")
        return lease

    async def find(self, app: str, machine: str) -> Lease | None:
        """The lease that is held now, by anybody."""
        doing = f"look at the lease of machine {machine} of {app}"
        ask = Ask("GET", self._url(app, machine), doing, "lease", machine)
        answer = await self._wire.find(ask)
        return None if answer is None else _read(answer.mapping())

    async def release(self, app: str, machine: str, nonce: str) -> None:
        """Give it back; one that has ended is given back."""
        doing = f"give back the lease of machine {machine} of {app}"
        url = self._url(app, machine)
        await self._wire.find(Ask("DELETE", url, doing, "lease", machine, lease=nonce))

    @asynccontextmanager
    async def held(self, app: str, machine: str, *, ttl_s: int) -> AsyncIterator[str]:
        """Hold it for the time of the block: its nonce. A lease that cannot be given back ends by itself."""
        lease = await self.take(app, machine, ttl_s=ttl_s, description="mcpctl")
        try:
            yield lease.nonce
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(GIVE_BACK_S):
                await self._give_back(app, machine, lease.nonce)

    async def _give_back(self, app: str, machine: str, nonce: str) -> None:
        try:
            await self.release(app, machine, nonce)
        except FlyError:
            await trio.lowlevel.checkpoint()  # its time to live ends it

    def _url(self, app: str, machine: str) -> str:
        return self._wire.path("apps", app, "machines", machine, "lease")


def _read(found: dict[str, Any]) -> Lease:
    """In practice it stands in `data`; the description has it flat."""
    data = found.get("data")
    return read(Lease, data if isinstance(data, dict) else found)
