"""Leases (fly.io docs, "Machines API", Machines resource)."""

from typing import Any

import msgspec
import trio

from mcpctld.localfly import ids
from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.machines import DEFAULT_LEASE_S, Lease
from mcpctld.localfly.routes.machines import OWNER


class Take(msgspec.Struct, kw_only=True):
    """`ttl` in seconds."""

    description: str = ""
    ttl: int = 0


async def take(call: Call) -> Result:
    """POST: a lease, or a longer one with the nonce of the present one."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.machine()
    given = call.read(Take)
    ttl = given.ttl or call.number("ttl", DEFAULT_LEASE_S, 1, 10**6)
    lease = life.take_lease(call.now, call.nonce, ids.machine_id(), OWNER, ttl, given.description)
    call.act(app, machine, None)
    return 201, _wrapped(lease)


async def show(call: Call) -> Result:
    """GET: without it, 404."""
    await trio.lowlevel.checkpoint()
    _, _, life = call.machine()
    lease = life.live_lease(call.now)
    if lease is None:
        raise ApiError(404, "lease not found")
    shown = _wrapped(lease)
    shown["data"]["nonce"] = lease.nonce if lease.nonce == call.nonce else ""
    return 200, shown


async def release(call: Call) -> Result:
    """DELETE."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.machine()
    life.release(call.now, call.nonce)
    call.act(app, machine, None)
    return 200, {"status": "success", "data": {"ok": True}}


def _wrapped(lease: Lease) -> dict[str, Any]:
    return {"status": "success", "data": msgspec.to_builtins(lease)}
