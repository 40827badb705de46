"""Metadata of a machine: changed without a new version."""

import msgspec
import trio

from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError, precondition
from mcpctld.localfly.machines import rfc3339


class Change(msgspec.Struct, kw_only=True):
    """An empty value takes a key away."""

    metadata: dict[str, str] = {}
    machine_version: str = ""
    updated_at: str = ""


class Value(msgspec.Struct, kw_only=True):
    """Of one key."""

    value: str


async def show(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.machine()
    return 200, machine.config.get("metadata") or {}


async def change(call: Call) -> Result:
    """PATCH: the keys that are named."""
    await trio.lowlevel.checkpoint()
    given = call.read(Change)
    _, machine, _ = call.machine()
    if given.machine_version not in ("", machine.version):
        raise precondition(f"machine version is {machine.version}")
    if given.updated_at not in ("", rfc3339(machine.updated_at)):
        raise precondition(f"machine was updated at {rfc3339(machine.updated_at)}")
    _put(call, given.metadata)
    return 204, None


async def show_key(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.machine()
    metadata = machine.config.get("metadata") or {}
    if call.params["key"] not in metadata:
        raise ApiError(404, f"metadata key {call.params['key']!r} not found")
    return 200, {"value": metadata[call.params["key"]]}


async def set_key(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    call.machine()
    _put(call, {call.params["key"]: call.read(Value).value})
    return 204, None


async def delete_key(call: Call) -> Result:
    """DELETE."""
    await trio.lowlevel.checkpoint()
    _put(call, {call.params["key"]: ""})
    return 204, None


def _put(call: Call, changes: dict[str, str]) -> None:
    app, machine, _ = call.changeable("metadata")
    metadata = (machine.config.get("metadata") or {}) | changes
    machine.config["metadata"] = {key: value for key, value in metadata.items() if value}
    call.act(app, machine, None)
