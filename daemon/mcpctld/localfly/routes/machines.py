"""Machines: made, listed, shown, updated, destroyed (fly.io docs, "Machines API", Machines resource)."""

from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from mcpctld.localfly import checks, ids
from mcpctld.localfly.call import OK, Call, Result
from mcpctld.localfly.commands import image_name
from mcpctld.localfly.errors import ApiError, precondition
from mcpctld.localfly.machines import Event, Machine, rfc3339
from mcpctld.localfly.routes.platform import REGIONS
from mcpctld.localfly.shapes import read_config
from mcpctld.localfly.state import App
from mcpctld.localfly.supervisor import Supervisor

DEFAULT_REGION = "iad"
OWNER = "localfly@tokens.fly.io"
SECRETS_WAIT_S = 2.0
SHOWN_EVENTS = 10


class Write(msgspec.Struct, kw_only=True):
    """What a machine is to be. `lease_ttl` in seconds; `current_version` is of updates."""

    config: dict[str, Any] | None = None
    name: str = ""
    region: str = ""
    skip_launch: bool = False
    skip_secrets: bool = False
    skip_service_registration: bool = False
    min_secrets_version: int | None = None
    lease_ttl: int = 0
    current_version: str = ""


async def list_machines(call: Call) -> Result:
    """GET: by state, region and metadata."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    call.supervisor.count("list-machines", app.name)
    found = [machine for machine in app.machines.values() if _fits(call, machine)]
    return 200, [view(call, app, machine) for machine in found]


def _fits(call: Call, machine: Machine) -> bool:
    if machine.state == "destroyed" and not call.flag("include_deleted"):
        return False
    states, regions = call.listed("state"), call.listed("region")
    if (states and machine.state not in states) or (regions and machine.region not in regions):
        return False
    metadata = machine.config.get("metadata") or {}
    return all(metadata.get(key) == value for key, value in _wanted_metadata(call))


def _wanted_metadata(call: Call) -> Iterator[tuple[str, str]]:
    for name, values in call.query.items():
        if name.startswith("metadata."):
            yield name.removeprefix("metadata."), values[0]


async def create_machine(call: Call) -> Result:
    """POST."""
    app = call.app()
    given = call.read(Write)
    call.supervisor.count("create-machine", app.name)
    config = read_config(given.config)
    machine = _new(app, given, config, call.now)
    _check_volume(app, machine, config)
    await _wait_secrets(app, given.min_secrets_version)
    machine.secrets_version = app.secrets_version
    app.machines[machine.id] = machine
    effect = call.supervisor.life(machine).create(call.now, launch=not given.skip_launch)
    nonce = _lease(call, machine, given)
    shown = view(call, app, machine) | nonce
    call.act(app, machine, effect)
    return 200, shown


def _new(app: App, given: Write, config: dict[str, Any], now: float) -> Machine:
    region = given.region or DEFAULT_REGION
    if region not in REGIONS:
        raise ApiError(400, f"invalid_argument: region {region!r} not found")
    name = given.name or ids.machine_name()
    if any(each.name == name and each.state != "destroyed" for each in app.machines.values()):
        raise ApiError(
            409, f"already_exists: unique machine name violation, name {name} already exists"
        )
    return Machine(
        id=ids.machine_id(),
        name=name,
        region=region,
        version=ids.ulid(now),
        config=config,
        private_ip=ids.address("private_v6"),
        created_at=now,
        updated_at=now,
        skip_secrets=given.skip_secrets,
    )


def _check_volume(app: App, machine: Machine, config: dict[str, Any]) -> None:
    mounts = config.get("mounts") or []
    if len(mounts) > 1:
        raise ApiError(400, "invalid_argument: a machine can have one volume at most")
    for mount in mounts:
        volume = app.volumes.get(mount.get("volume", ""))
        if volume is None:
            raise ApiError(400, f"invalid_argument: volume {mount.get('volume')!r} not found")
        holder = app.attached(volume.id)
        if holder is not None and holder.id != machine.id:
            raise precondition(f"volume {volume.id} is attached to machine {holder.id}")
        if volume.region != machine.region:
            raise precondition(
                f"insufficient resources to create new machine with existing volume '{volume.id}'"
            )


async def _wait_secrets(app: App, version: int | None) -> None:
    """A version that is not there yet may come; it is waited for a little."""
    with trio.move_on_after(SECRETS_WAIT_S):
        while app.secrets_version < (version or 0):  # noqa: ASYNC110  (it is not said when one comes)
            await trio.sleep(0.05)
    await trio.lowlevel.checkpoint()
    if app.secrets_version < (version or 0):
        raise precondition(
            f"secrets version {version} is not available, the newest is {app.secrets_version}"
        )


def _lease(call: Call, machine: Machine, given: Write) -> dict[str, str]:
    if given.lease_ttl <= 0:
        return {}
    lease = call.supervisor.life(machine).take_lease(
        call.now, call.nonce, ids.machine_id(), OWNER, given.lease_ttl, ""
    )
    return {"nonce": lease.nonce}


async def get_machine(call: Call) -> Result:
    """GET: as it is, or as one of its versions was."""
    await trio.lowlevel.checkpoint()
    app, machine, _ = call.machine()
    call.supervisor.count("get-machine", machine.id)
    shown = view(call, app, machine)
    if version := call.first("version"):
        found = [each for each in machine.versions if each.version == version]
        if not found:
            raise ApiError(404, f"machine version {version!r} not found")
        shown |= {"version": version, "instance_id": version, "config": found[0].user_config}
    return 200, shown


async def update_machine(call: Call) -> Result:
    """POST: another configuration, whole."""
    app, machine, life = call.changeable("update")
    given = call.read(Write)
    if given.current_version and given.current_version != machine.version:
        raise ApiError(
            409, f"current_version {given.current_version} is stale, it is {machine.version}"
        )
    if given.region not in ("", machine.region):
        raise ApiError(400, "invalid_argument: the region of a machine cannot be changed")
    config = read_config(given.config if given.config is not None else machine.config)
    _check_volume(app, machine, config)
    await _wait_secrets(app, given.min_secrets_version)
    life.check_lease(call.now, call.nonce)
    effect = life.update(call.now, config, app.secrets_version, launch=not given.skip_launch)
    machine.skip_secrets = given.skip_secrets
    if machine.state == "stopped":
        text = "Machine was not running and is left stopped after the update"
        call.supervisor.log(app.name, machine.id, "runner", "info", text)
    nonce = _lease(call, machine, given)
    call.act(app, machine, effect)
    return 200, view(call, app, machine) | nonce


async def destroy_machine(call: Call) -> Result:
    """DELETE."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("destroy")
    call.act(app, machine, life.destroy(call.now, force=call.flag("force") or call.flag("kill")))
    return OK


async def list_events(call: Call) -> Result:
    """GET: the newest first."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.machine()
    limit = call.number("limit", 20, 1, 50)
    return 200, [_event(event) for event in machine.events[:limit]]


async def list_versions(call: Call) -> Result:
    """GET: the newest first."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.machine()
    return 200, msgspec.to_builtins(machine.versions)


# ---------------------------------------------------------------- how it is shown


def view(call: Call, app: App, machine: Machine) -> dict[str, Any]:
    """`Machine` of the OpenAPI document."""
    supervisor = call.supervisor
    shown = {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "version": machine.version,
        "instance_id": machine.version,
        "private_ip": machine.private_ip,
        "image_ref": _image_ref(str(machine.config.get("image", ""))),
        "created_at": rfc3339(machine.created_at),
        "updated_at": rfc3339(machine.updated_at),
        "events": [_event(event) for event in machine.events[:SHOWN_EVENTS]],
        "checks": checks.as_json(supervisor.seat(machine).checks),
        "cordoned": machine.cordoned,
    }
    shown |= _configuration(supervisor, app, machine, summary=call.flag("summary"))
    lease = supervisor.life(machine).live_lease(call.now)
    if lease is not None and call.flag("include_leases"):
        shown["lease"] = {
            "owner": lease.owner,
            "description": lease.description,
            "expires_at": lease.expires_at,
        }
    return shown


def _configuration(
    supervisor: Supervisor, app: App, machine: Machine, *, summary: bool
) -> dict[str, Any]:
    config = machine.config
    if summary:
        kept = ("guest", "image", "metadata")
        config = {key: config[key] for key in kept if key in config}
    if supervisor.faults.of_machine(app.name, "unreachable"):
        return {"host_status": "unreachable", "incomplete_config": config}
    return {"host_status": "ok", "config": config}


def _image_ref(image: str) -> dict[str, str]:
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    registry, _, rest = repository.partition("/")
    if "." not in registry:
        registry, rest = "docker-hub-mirror.fly.io", repository
    ref = {"registry": registry, "repository": rest or image_name(image), "tag": tag}
    return ref | ({"digest": digest} if digest else {})


def _event(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(event)
    return {key: value for key, value in shown.items() if value is not None}
