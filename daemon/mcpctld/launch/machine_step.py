"""The volume and the machine of a launch."""

from typing import Any

import trio

from mcpctld.errors import UserError
from mcpctld.fly.errors import LOST, FlyError, Reason
from mcpctld.fly.machine_shapes import Machine
from mcpctld.launch.machine_config import machine_config
from mcpctld.launch.place import find_places
from mcpctld.launch.resolve import Resolved
from mcpctld.launch.work import LAUNCH_KEY, Work

REGIONS_TRIED = 3
STARTED_S = 300.0
DEAD = frozenset({"failed", "destroyed", "destroying", "launch_failed"})


async def make_volume(work: Work, resolved: Resolved) -> None:
    """The volume, if one is wanted: a free one of that name, else a new one."""
    record, wanted = work.record, resolved.volume
    if wanted is None:
        await trio.lowlevel.checkpoint()
        return
    volumes = await work.fly.volumes.list(record.app)
    mine = [volume.id for volume in volumes if volume.name == wanted.name]
    if record.volume_id not in mine:
        record.volume_id = mine[0] if mine else None
    if record.volume_id is None:
        body = wanted.create_body(record.region, resolved.guest)
        made = await work.change("volume", lambda: work.fly.volumes.create(record.app, body))
        record.volume_id = made.id
    await work.save()
    work.done("volume", f"volume {wanted.name} ({record.volume_id})")


async def make_machine(work: Work, resolved: Resolved) -> None:
    """The machine: the one that this launch has made already, else a new one."""
    record = work.record
    found = await _find_machine(work)
    if found is None:
        found = await _create_somewhere(work, resolved)
    record.machine_id, record.region = found.id, found.region or record.region
    await work.save()
    work.done("machine", f"machine {found.id} in {record.region}")


async def _find_machine(work: Work) -> Machine | None:
    record = work.record
    machines = await work.fly.machines.list(record.app, metadata={LAUNCH_KEY: record.launch_id})
    usable = None
    for machine in machines:
        # Fakes and older hosts may not filter: we look ourselves too.
        if machine.metadata.get(LAUNCH_KEY) != record.launch_id:
            continue
        if machine.state in DEAD or usable is not None:
            await work.fly.machines.destroy(record.app, machine.id, force=True)
        else:
            usable = machine
    return usable


async def _create_somewhere(work: Work, resolved: Resolved) -> Machine:
    """Make it in the region; where there is no room, and nobody has chosen the region, in another one."""
    record = work.record
    others: list[str] | None = None if resolved.region is None and not resolved.volume else []
    while True:
        try:
            return await _create(work, resolved)
        except FlyError as exc:
            if exc.reason is not Reason.INSUFFICIENT_CAPACITY:
                raise
            if others is None:
                places = await find_places(work, resolved)
                others = [code for code in places if code != record.region][:REGIONS_TRIED]
            if not others:
                raise
        full, record.region = record.region, others.pop(0)
        work.note(f"region {full} has no room; trying {record.region}")


async def _create(work: Work, resolved: Resolved) -> Machine:
    record = work.record
    body = create_body(work, resolved)
    try:
        return await work.change("machine", lambda: work.fly.machines.create(record.app, body))
    except FlyError as exc:
        if exc.reason not in LOST:
            raise
        found = await _find_machine(work)  # it may have been made all the same
        if found is None:
            raise
        return found


def create_body(work: Work, resolved: Resolved) -> dict[str, Any]:
    """The body of the request that makes the machine."""
    record = work.record
    body: dict[str, Any] = {
        "region": record.region,
        "config": machine_config(
            resolved,
            launch_id=record.launch_id,
            region=record.region,
            volume_id=record.volume_id,
        ),
    }
    if record.secrets_version is not None:
        body["min_secrets_version"] = record.secrets_version
    return body


async def wait_started(work: Work) -> None:
    """The machine boots."""
    record = work.record
    assert record.machine_id is not None
    try:
        await work.fly.machines.wait(record.app, record.machine_id, "started", seconds=STARTED_S)
    except FlyError:
        await look_alive(work)
        raise
    work.done("started", f"machine {record.machine_id} has started")


async def look_alive(work: Work) -> None:
    """Raise `Unreachable` with what its program said, if the machine has ended."""
    record = work.record
    assert record.machine_id is not None
    machine = await work.fly.machines.get(record.app, record.machine_id)
    if machine.state not in (*DEAD, "stopped"):
        return
    codes = [event.exit_code for event in machine.events if event.exit_code is not None]
    code = f", its program ended with code {codes[0]}" if codes else ""
    await tell_logs(work)
    raise UserError(
        f"machine {machine.id} of {record.app} does not stay up: it is {machine.state}{code}; "
        "correct the command by what it said above, then launch again"
    )


async def tell_logs(work: Work) -> None:
    """Tell what the machine said last."""
    try:
        page = await work.fly.logs.poll(work.record.app, instance=work.record.machine_id)
    except FlyError as exc:
        work.note(f"its logs cannot be read: {exc}")
        await trio.lowlevel.checkpoint()
        return
    for line in page.lines[-20:]:
        work.note(f"{line.provider or 'app'}: {line.message}")
