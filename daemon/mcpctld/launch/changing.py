"""A machine that runs is changed: with a lease, checked, and set back when the new version does not answer."""

import functools
from typing import Any

import trio

from mcpctld.errors import McpctlError, NotFound, TimedOut
from mcpctld.fly.machine_shapes import Machine
from mcpctld.launch.answering import Question, wait_answer
from mcpctld.launch.machine_step import STARTED_S, look_alive, tell_logs
from mcpctld.launch.work import BEARER_KEY, Work

LEASE_S = 60
"""A lease keeps Fly's proxy from starting the machine: it is taken for the one request, and given back."""
START_PATIENCE_S = 60.0
ANSWERED_S = 300.0
ASLEEP = frozenset({"stopped", "suspended", "created", "failed"})


async def current(work: Work) -> Machine:
    """The machine of a launch as it is now."""
    record = work.record
    if record.machine_id is None:
        raise NotFound(
            f"the launch of {record.server} has no machine; destroy it, and launch it again"
        )
    return await work.fly.machines.get(record.app, record.machine_id)


async def replace(work: Work, machine: Machine, config: dict[str, Any]) -> Machine:
    """Give the machine a new config, if nobody has changed it since `machine` was read. The old one is kept."""
    record = work.record
    body: dict[str, Any] = {"config": config, "current_version": machine.version}
    if record.secrets_version is not None:
        body["min_secrets_version"] = record.secrets_version
    if config != machine.config:  # with the same one it only reads its secrets anew
        record.keep(machine.version, machine.config)
    async with work.fly.leases.held(record.app, machine.id, ttl_s=LEASE_S) as nonce:
        update = functools.partial(
            work.fly.machines.update, record.app, machine.id, body, lease=nonce
        )
        made = await work.change("update", update)
    await work.save()
    work.done("updated", f"machine {machine.id} has version {made.version}")
    return made


async def bring_up(work: Work, asleep: bool, version: str) -> None:
    """Wait until the new version has started and answers; one that slept is started."""
    record = work.record
    machines, app, machine = work.fly.machines, record.app, record.machine_id or ""
    if asleep:
        await machines.start(app, machine, patience_s=START_PATIENCE_S)
    await machines.wait(app, machine, "started", seconds=STARTED_S, version=version)
    work.done("started", f"machine {machine} has started")
    await wait_healthy(work)


async def wait_healthy(work: Work, token: str | None = None) -> None:
    """Wait until the server answers. With a `token` that is used, and has to be accepted."""
    result, edge = work.record.result, work.fly.endpoints.edge
    url = str(result.get("url", ""))
    if result.get("flycast") and edge is None:
        work.note(f"{url} is reached on the private network only: whether it answers was not tried")
        await trio.lowlevel.checkpoint()
        return
    if token is None and result.get("bearer"):
        path, known = (
            result.get("health_path"),
            await work.store.get(work.record.server, BEARER_KEY),
        )
    else:
        path, known = (None, token) if token else (result.get("health_path"), None)
    headers = {"authorization": f"Bearer {known}"} if known else {}
    asked = Question(url, path, headers, edge)
    await wait_answer(asked, ANSWERED_S, lambda: look_alive(work), work.note)
    work.done("answers", f"{url} answers")


async def replace_checked(work: Work, machine: Machine, config: dict[str, Any]) -> Machine:
    """The same as `replace`, and see it answer; what does not is set back to what it was."""
    asleep = machine.state in ASLEEP
    made = await replace(work, machine, config)
    try:
        await bring_up(work, asleep, made.version)
    except McpctlError as exc:
        if isinstance(exc, TimedOut):
            await tell_logs(work)
        await _set_back(work, machine)
        raise
    return made


async def _set_back(work: Work, former: Machine) -> None:
    record = work.record
    try:
        broken = await current(work)
        await replace(work, broken, former.config)
        record.versions = [kept for kept in record.versions if kept.version != broken.version]
        await work.save()
    except McpctlError as exc:
        work.note(
            f"the former version could not be set back: {exc}; try: mcpctl rollback {record.server}"
        )
        await trio.lowlevel.checkpoint()
        return
    work.done("set-back", "the new version does not answer: the former one is back")
