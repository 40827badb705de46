"""Volumes: folders (fly.io docs, "Machines API", Volumes resource)."""

import re
import shutil
from typing import Any

import msgspec
import trio

from mcpctld.localfly import ids
from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError, precondition
from mcpctld.localfly.machines import rfc3339
from mcpctld.localfly.routes.platform import REGIONS
from mcpctld.localfly.state import App, Volume

NAME = re.compile(r"[a-z0-9_]{1,30}")
GB = 1024**3
BLOCK = 4096
DEFAULT_GB = 3
MOST_GB = 500


class Create(msgspec.Struct, kw_only=True):
    """Sizes in gigabytes, retention in days."""

    name: str = ""
    region: str = ""
    size_gb: int | None = None
    encrypted: bool = True
    fstype: str = "ext4"
    snapshot_retention: int = 5
    auto_backup_enabled: bool = True
    snapshot_id: str = ""
    source_volume_id: str = ""


class Change(msgspec.Struct, kw_only=True):
    """What can be changed."""

    snapshot_retention: int | None = None
    auto_backup_enabled: bool | None = None


class Extend(msgspec.Struct, kw_only=True):
    """Upwards only."""

    size_gb: int = 0


async def list_volumes(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    return 200, [as_json(app, volume) for volume in app.volumes.values()]


async def create(call: Call) -> Result:
    """POST: empty, or with what another one holds."""
    app, given = call.app(), call.read(Create)
    _check(given)
    source = app.volumes.get(given.source_volume_id)
    if given.source_volume_id and source is None:
        raise ApiError(400, f"invalid_argument: volume {given.source_volume_id!r} not found")
    volume = Volume(
        id=ids.volume_id(),
        name=given.name,
        region=given.region or "iad",
        size_gb=given.size_gb or DEFAULT_GB,
        encrypted=given.encrypted,
        fstype=given.fstype,
        snapshot_retention=given.snapshot_retention,
        auto_backup_enabled=given.auto_backup_enabled,
        created_at=call.now,
    )
    app.volumes[volume.id] = volume
    call.world.touch(app.name)
    if source is not None:
        await _copy(call, app, source, volume)
    await trio.lowlevel.checkpoint()
    return 200, as_json(app, volume)


def _check(given: Create) -> None:
    if not NAME.fullmatch(given.name):
        raise ApiError(
            400,
            "invalid_argument: name may have lower-case letters, digits and underscores, 30 at most",
        )
    if given.region and given.region not in REGIONS:
        raise ApiError(400, f"invalid_argument: region {given.region!r} not found")
    if given.size_gb is not None and not 1 <= given.size_gb <= MOST_GB:
        raise ApiError(400, f"invalid_argument: size_gb must be 1 to {MOST_GB}")
    if given.snapshot_id:
        raise ApiError(
            400, "invalid_argument: snapshots of this Fly hold nothing; name source_volume_id"
        )


async def _copy(call: Call, app: App, source: Volume, volume: Volume) -> None:
    await trio.lowlevel.checkpoint()
    homes = call.supervisor.homes
    theirs, ours = homes.volume(app.name, source.id), homes.volume(app.name, volume.id)

    def copy() -> None:
        shutil.copytree(theirs, ours, symlinks=True)

    try:
        await trio.to_thread.run_sync(copy)
    except FileNotFoundError:  # nobody has used it yet
        pass


async def show(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    return 200, as_json(*call.volume())


async def change(call: Call) -> Result:
    """PUT."""
    await trio.lowlevel.checkpoint()
    app, volume = call.volume()
    given = call.read(Change)
    if given.snapshot_retention is not None:
        volume.snapshot_retention = given.snapshot_retention
    if given.auto_backup_enabled is not None:
        volume.auto_backup_enabled = given.auto_backup_enabled
    call.world.touch(app.name)
    return 200, as_json(app, volume)


async def extend(call: Call) -> Result:
    """PUT."""
    await trio.lowlevel.checkpoint()
    app, volume = call.volume()
    given = call.read(Extend)
    if not volume.size_gb <= given.size_gb <= MOST_GB:
        raise ApiError(400, f"invalid_argument: size_gb must be {volume.size_gb} to {MOST_GB}")
    volume.size_gb = given.size_gb
    call.world.touch(app.name)
    return 200, {"volume": as_json(app, volume), "needs_restart": False}


async def delete(call: Call) -> Result:
    """DELETE: refused while a machine has it."""
    app, volume = call.volume()
    holder = app.attached(volume.id)
    if holder is not None:
        raise precondition(f"volume {volume.id} is attached to machine {holder.id}")
    del app.volumes[volume.id]
    call.world.touch(app.name)
    folder = call.supervisor.homes.volume(app.name, volume.id)
    await trio.to_thread.run_sync(shutil.rmtree, folder, True)
    return 200, as_json(app, volume) | {"state": "destroying"}


async def list_snapshots(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    _, volume = call.volume()
    return 200, volume.snapshots


async def snapshot(call: Call) -> Result:
    """POST: it is listed, and holds nothing."""
    await trio.lowlevel.checkpoint()
    app, volume = call.volume()
    made = {
        "id": ids.snapshot_id(),
        "created_at": rfc3339(call.now),
        "digest": "",
        "retention_days": volume.snapshot_retention,
        "size": 0,
        "status": "created",
        "volume_size": volume.size_gb * GB,
    }
    volume.snapshots.insert(0, made)
    call.world.touch(app.name)
    return 200, made


def as_json(app: App, volume: Volume) -> dict[str, Any]:
    """`Volume` of the OpenAPI document."""
    holder = app.attached(volume.id)
    blocks = volume.size_gb * GB // BLOCK
    shown = {
        "id": volume.id,
        "name": volume.name,
        "state": "created",
        "region": volume.region,
        "zone": "0000",
        "size_gb": volume.size_gb,
        "encrypted": volume.encrypted,
        "fstype": volume.fstype,
        "snapshot_retention": volume.snapshot_retention,
        "auto_backup_enabled": volume.auto_backup_enabled,
        "host_status": "ok",
        "block_size": BLOCK,
        "blocks": blocks,
        "blocks_avail": blocks,
        "blocks_free": blocks,
        "bytes_total": volume.size_gb * GB,
        "bytes_used": 0,
        "created_at": rfc3339(volume.created_at),
    }
    return shown | ({"attached_machine_id": holder.id} if holder else {})
