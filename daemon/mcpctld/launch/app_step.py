"""The app of a launch: made once, whatever happens, and told from what belongs to others."""

import trio

from mcpctld.errors import Conflict
from mcpctld.fly.errors import FlyError, Reason
from mcpctld.launch import naming
from mcpctld.launch.resolve import Resolved
from mcpctld.launch.work import LAUNCH_KEY, Work

NAMES_TRIED = 5


async def make_app(work: Work, resolved: Resolved) -> None:
    """The app; under another name when that one is taken and nobody has asked for it."""
    record = work.record
    for _ in range(NAMES_TRIED):
        if record.app_state == "made" or await _try_name(work):
            break
        if resolved.app_is_said:
            raise _taken(record.app)
        record.app = naming.alternative(resolved.app, work.entropy(8))
        record.app_state = "free"
        await work.save()
    else:
        raise _taken(record.app)
    record.app_state = "made"
    await work.save()
    await work.fly.apps.wait_visible(record.app)
    work.done("app", f"app {record.app}")


async def _try_name(work: Work) -> bool:
    """Make the app; whether the name was free, or the app is ours already."""
    record, apps = work.record, work.fly.apps
    if record.app_state == "free":
        if await _exists(work):
            return False
        record.app_state = "asked"
    try:
        await work.change("app", lambda: apps.create(record.app, record.org, key=record.launch_id))
    except FlyError as exc:
        if exc.reason is not Reason.NAME_TAKEN:
            raise
        # It was free when we asked for it, and a crash came between: it is ours if the answer got lost.
        return await is_ours(work)
    return True


async def _exists(work: Work) -> bool:
    try:
        return await work.fly.apps.find(work.record.app) is not None
    except FlyError as exc:
        if exc.status != 403:
            raise
        await trio.lowlevel.checkpoint()
        return True


async def is_ours(work: Work) -> bool:
    """Whether the app that was asked for is there, and holds nothing but what this launch made."""
    record = work.record
    try:
        found = await work.fly.apps.find(record.app)
        machines = [] if found is None else await work.fly.machines.list(record.app)
    except FlyError as exc:
        if exc.reason is not Reason.DENIED:
            raise
        await trio.lowlevel.checkpoint()
        return False
    mine = all(machine.metadata.get(LAUNCH_KEY) == record.launch_id for machine in machines)
    return found is not None and mine


def _taken(app: str) -> Conflict:
    return Conflict(
        f"cannot make app {app}: the name is taken, and names are unique on all of Fly; "
        "choose another one with --name"
    )
