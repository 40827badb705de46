"""What is done with a launched server later: changed, scaled, given secrets, looked at, destroyed."""

from typing import Any

import msgspec
import trio

from mcpctld.errors import NotFound, UserError
from mcpctld.fly.machine_shapes import Machine
from mcpctld.launch import review, telling
from mcpctld.launch.carry_out import take_away, without_secrets
from mcpctld.launch.changing import ASLEEP, bring_up, current, replace, replace_checked
from mcpctld.launch.desk import Desk
from mcpctld.launch.journal import Record
from mcpctld.launch.machine_config import machine_config
from mcpctld.launch.requests import (
    LogsRequest,
    ScaleRequest,
    SecretsRequest,
    Target,
    UpdateRequest,
)
from mcpctld.launch.resolve import BEARER, Resolved, resolve
from mcpctld.launch.wish import Wish
from mcpctld.launch.work import BEARER_KEY, Work

Result = dict[str, Any]

CHANGEABLE = frozenset(
    {
        "command", "image", "setup", "port", "transport", "wrapper", "env", "file_local", "file_literal",
        "file_secret", "auto_stop", "policy", "vm_size", "vm_cpus", "vm_cpu_kind", "vm_memory",
        "host_dedication_id", "machine_config",
    }
)  # fmt: skip
"""Members of a wish that can be changed later. For the others the server has to be launched anew."""
LOG_LINES = 100


async def update(desk: Desk, request: UpdateRequest) -> Result:
    """Change the command, the image, the size ...; the new version has to answer, or the former one comes back."""
    record = await desk.launched(request.server)
    wish = changed(record, request.wish)
    resolved = resolve(wish, kept=True)
    async with await desk.open_fly(record.at) as fly:
        work = desk.work(fly, record)
        machine = await current(work)
        made = await replace_checked(work, machine, new_config(record, resolved, machine))
        record.wish = without_secrets(wish)
        record.result |= {
            "url": fly.endpoints.app_url(record.app, private=resolved.flycast) + resolved.path,
            "transport": resolved.transport,
            "wrapper": resolved.wrapper,
            "policy": resolved.policy,
            "health_path": resolved.health_path,
        }
        await work.save()
    return {**record.result, "version": made.version}


def changed(record: Record, changes: dict[str, Any]) -> Wish:
    """The wish of a launch with some members changed; tables are merged. Raises `UserError`."""
    strange = sorted(changes.keys() - CHANGEABLE)
    if strange:
        raise UserError(
            f"cannot change {', '.join(strange)} of {record.server}: destroy it, and launch it anew"
        )
    if not changes:
        raise UserError(f"nothing is to be changed of {record.server}: say what")
    merged = {**record.wish}
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    merged |= {"server": record.server, "name": record.app, "at": record.at}
    try:
        return msgspec.convert(merged, Wish)
    except msgspec.ValidationError as exc:
        raise UserError(f"cannot change {record.server}: {exc}") from None


def new_config(record: Record, resolved: Resolved, machine: Machine) -> dict[str, Any]:
    """The config of a machine as it is, with ours laid over it: what others have set stays."""
    ours = machine_config(
        resolved, launch_id=record.launch_id, region=machine.region, volume_id=record.volume_id
    )
    merged = {**machine.config, **ours}
    merged["metadata"] = {**machine.metadata, **ours["metadata"]}
    return merged


async def scale(desk: Desk, request: ScaleRequest) -> Result:
    """Change the size."""
    sizes: dict[str, Any] = {
        "vm_size": request.vm_size,
        "vm_cpus": request.vm_cpus,
        "vm_cpu_kind": request.vm_cpu_kind,
        "vm_memory": request.vm_memory,
    }
    changes = {name: value for name, value in sizes.items() if value is not None}
    if "vm_size" in changes:  # a preset stands for all of them
        changes = {name: changes.get(name) for name in sizes}
    return await update(desk, UpdateRequest(server=request.server, wish=changes))


async def rollback(desk: Desk, request: Target) -> Result:
    """Go back to the version before the last change. Once more goes forward again."""
    record = await desk.launched(request.server)
    if not record.versions:
        raise NotFound(f"there is no former version of {record.server} to go back to")
    former = record.versions.pop()
    async with await desk.open_fly(record.at) as fly:
        work = desk.work(fly, record)
        made = await replace_checked(work, await current(work), former.config)
        record.wish = former.wish
        await work.save()
    return {**record.result, "version": made.version}


async def secrets(desk: Desk, request: SecretsRequest) -> Result:
    """List secrets by name and digest, or change some and have the machine take them in."""
    record = await desk.launched(request.server)
    if not request.set and not request.unset:
        async with await desk.open_fly(record.at) as fly:
            found = await fly.secrets.list(record.app)
        return {"server": record.server, "secrets": msgspec.to_builtins(found)}
    if BEARER in request.set or BEARER in request.unset:
        raise UserError(f"{BEARER} is changed by: mcpctl rotate {record.server}")
    values = {**dict.fromkeys(request.unset), **request.set}
    async with await desk.open_fly(record.at) as fly:
        work = desk.work(fly, record)
        await change_secrets(work, values)
        wish_secrets = {**record.wish.get("secrets", {}), **dict.fromkeys(request.set, "")}
        for name in request.unset:
            wish_secrets.pop(name, None)
        record.wish = {**record.wish, "secrets": wish_secrets}
        await work.save()
    return {
        "server": record.server,
        "app": record.app,
        "set": sorted(request.set),
        "unset": request.unset,
    }


async def change_secrets(work: Work, values: dict[str, str | None]) -> None:
    """Change secrets, and have the machine read them: it starts anew, unless it sleeps."""
    app = work.record.app
    version = await work.change("secrets", lambda: work.fly.secrets.set(app, values))
    work.record.secrets_version = version
    await work.save()
    work.done("secrets", f"secrets {', '.join(values)}")
    machine = await current(work)
    if machine.state in ASLEEP:
        await replace(work, machine, machine.config)
    else:
        made = await replace(work, machine, machine.config)
        await bring_up(work, False, made.version)


async def status(desk: Desk, request: Target) -> Result:
    """The app and its machines, as Fly has them; nothing is woken."""
    record = await trio.to_thread.run_sync(desk.journal.read, request.server)
    app, at = _app(request, record), record.at if record else request.at
    async with await desk.open_fly(at) as fly:
        machines = await fly.machines.list(app)
        addresses = await fly.addresses.list(app)
    return {
        "server": request.server,
        "app": app,
        "at": at,
        "finished": bool(record and record.finished),
        "url": record.result.get("url") if record else None,
        "machines": [_shown(machine, len(machines)) for machine in machines],
        "addresses": [{"ip": address.ip, "type": address.type} for address in addresses],
    }


def _app(request: Target, record: Record | None) -> str:
    app = record.app if record else request.app
    if not app:
        raise NotFound(
            f"nothing is known of an app of {request.server}: it was not launched from here"
        )
    return app


def _shown(machine: Machine, count: int) -> dict[str, Any]:
    findings = review.review_machine(machine.config, machines=count)
    return {
        "id": machine.id,
        "state": machine.state,
        "region": machine.region,
        "version": machine.version,
        "image": machine.config.get("image"),
        "guest": machine.config.get("guest"),
        "checks": [{"name": check.name, "status": check.status} for check in machine.checks],
        "updated_at": machine.updated_at,
        "findings": msgspec.to_builtins(findings),
    }


async def logs(desk: Desk, request: LogsRequest) -> Result:
    """Tell the last lines, and with `tail` all that come."""
    record = await trio.to_thread.run_sync(desk.journal.read, request.server)
    app, at = _app(request, record), record.at if record else request.at
    count = 0
    async with await desk.open_fly(at) as fly:
        if not request.tail:
            page = await fly.logs.poll(app, instance=request.machine)
            for line in page.lines[-LOG_LINES:]:
                desk.tell(telling.log(line.message, **msgspec.to_builtins(line)))
            return {"server": request.server, "app": app, "lines": len(page.lines)}
        follower = fly.logs.follow(app, instance=request.machine)
        while True:
            for line in await follower.next():
                desk.tell(telling.log(line.message, **msgspec.to_builtins(line)))
                count += 1


async def destroy(desk: Desk, request: Target) -> Result:
    """Delete the app with all that is in it, our token for it and the record of its launch."""
    record = await trio.to_thread.run_sync(desk.journal.read, request.server)
    app, at = _app(request, record), record.at if record else request.at
    async with await desk.open_fly(at) as fly:
        if record and not record.finished:  # the app of that name may be somebody else's
            await take_away(desk.work(fly, record))
        else:
            await fly.apps.delete(app)
            await fly.apps.wait_gone(app)
    await desk.store.delete(request.server, BEARER_KEY)
    await trio.to_thread.run_sync(desk.journal.remove, request.server)
    desk.tell(telling.step("destroyed", f"app {app} is deleted"))
    return {"server": request.server, "app": app}
