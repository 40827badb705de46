"""What no real Fly has: its own health, and the failures that are wanted of it."""

import msgspec
import trio

from mcpctl import wire
from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.faults import Fault


async def health(_: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    return 200, {"ok": True, "version": wire.VERSION}


async def list_faults(call: Call) -> Result:
    """GET: with what is left of their counts."""
    await trio.lowlevel.checkpoint()
    return 200, msgspec.to_builtins(call.supervisor.faults.all)


async def set_faults(call: Call) -> Result:
    """PUT: these and no others."""
    await trio.lowlevel.checkpoint()
    call.supervisor.faults.all = call.read(list[Fault]) if call.body else _no_body()
    return await list_faults(call)


def _no_body() -> list[Fault]:
    raise ApiError(400, "invalid_argument: a list of faults is wanted; an empty one clears them")
