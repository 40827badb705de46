"""A launch, carried out: step by step, gone on with after a crash, undone when it fails."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from mcpctld.errors import Conflict, McpctlError, NotFound, TimedOut
from mcpctld.launch import steps, telling
from mcpctld.launch.app_step import is_ours, make_app
from mcpctld.launch.desk import Desk
from mcpctld.launch.journal import Journal, Record
from mcpctld.launch.machine_step import make_machine, make_volume, tell_logs, wait_started
from mcpctld.launch.place import choose_place
from mcpctld.launch.resolve import Resolved
from mcpctld.launch.wish import Wish
from mcpctld.launch.work import Work

ID_BYTES = 8
UNDO_S = 60.0
"""Undoing may take so long; after that `--abort` has to be used."""


def open_record(
    journal: Journal, wish: Wish, resolved: Resolved, entropy: Callable[[int], bytes]
) -> Record:
    """The record to go on with, or a new one; blocking.

    Raises `Conflict` when the server is launched already, or another launch of it was interrupted.
    """
    found, digest = journal.read(resolved.server), digest_of(resolved)
    name = resolved.server
    if found is None:
        return Record(
            server=name,
            launch_id=entropy(ID_BYTES).hex(),
            digest=digest,
            app=resolved.app,
            at=resolved.at,
            wish=without_secrets(wish),
        )
    if found.finished:
        raise Conflict(
            f"cannot launch {name}: it is launched already, as app {found.app}; change it with "
            f"`mcpctl update {name}`, or take it away with `mcpctl destroy {name}`"
        )
    if found.digest != digest:
        raise Conflict(
            f"cannot launch {name}: a launch of it with other settings was interrupted; go on with those, or take "
            f"away what it has made: mcpctl launch --abort --server {name}"
        )
    return found


def without_secrets(wish: Wish) -> dict[str, Any]:
    """What may be written down of a wish: all but the values of secrets."""
    plain: dict[str, Any] = msgspec.to_builtins(wish)
    return {**plain, "secrets": dict.fromkeys(wish.secrets, ""), "user": None, "password": None}


def digest_of(resolved: Resolved) -> str:
    """What tells one wish from another one, values of secrets left out."""
    told: dict[str, Any] = msgspec.to_builtins(resolved)
    told["secrets"] = sorted(resolved.secrets)
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


async def launch(work: Work, resolved: Resolved, *, keep: bool = False) -> dict[str, Any]:
    """Carry out a launch: its result.

    What fails is undone, unless `keep` is set; what is cancelled can be gone on with.
    """
    for text in resolved.notes:
        work.note(text)
    await work.save()
    try:
        return await _all_steps(work, resolved)
    except McpctlError as exc:
        if isinstance(exc, TimedOut) and work.record.machine_id:
            await tell_logs(work)
        if not keep:
            await _undo(work, exc)
        raise


async def _all_steps(work: Work, resolved: Resolved) -> dict[str, Any]:
    await choose_place(work, resolved)
    await make_app(work, resolved)
    headers = await steps.set_secrets(work, resolved)
    await make_volume(work, resolved)
    await make_machine(work, resolved)
    await wait_started(work)
    await steps.give_addresses(work, resolved)
    await steps.wait_answering(work, resolved, headers)
    return await _finish(work, resolved)


async def _finish(work: Work, resolved: Resolved) -> dict[str, Any]:
    record = work.record
    record.result = {
        "server": record.server,
        "app": record.app,
        "machine": record.machine_id,
        "at": record.at,
        "org": record.org,
        "region": record.region,
        "url": steps.server_url(work, resolved),
        "transport": resolved.transport,
        "wrapper": resolved.wrapper,
        "policy": resolved.policy,
        "bearer": resolved.bearer,
        "flycast": resolved.flycast,
        "health_path": resolved.health_path,
    }
    record.finished = True
    await work.save()
    return record.result


async def _undo(work: Work, why: McpctlError) -> None:
    """Take away what was made. A failure is told, and leaves the journal for `abort`."""
    made = work.record.app_state != "free"
    with trio.CancelScope(shield=True), trio.move_on_after(UNDO_S) as scope:
        try:
            await take_away(work)
        except McpctlError as exc:
            _left(work, str(exc))
            made = False
    if scope.cancelled_caught:
        _left(work, f"no end within {UNDO_S:g} s")
    elif made:
        work.done(
            "undone", f"{work.record.app} was deleted again, for the launch has failed: {why.kind}"
        )
    await trio.lowlevel.checkpoint()


def _left(work: Work, reason: str) -> None:
    server = work.record.server
    work.note(
        f"what was made is still there ({reason}); run: mcpctl launch --abort --server {server}"
    )


async def take_away(work: Work) -> None:
    """Delete the app with all that is in it, the token and the record: nothing is left."""
    record = work.record
    if record.app_state == "made" or (record.app_state == "asked" and await is_ours(work)):
        await work.change("delete", lambda: work.fly.apps.delete(record.app))
        await work.fly.apps.wait_gone(record.app)
    await work.forget()


async def abort(desk: Desk, server: str) -> dict[str, Any]:
    """Take away what an unfinished launch has made. Raises `NotFound` when there is none."""
    record = await trio.to_thread.run_sync(desk.journal.read, server)
    if record is None or record.finished:
        raise NotFound(
            f"there is no unfinished launch of {server} to abort; what is launched goes by: mcpctl destroy {server}"
        )
    async with await desk.open_fly(record.at) as fly:
        await take_away(desk.work(fly, record))
    desk.tell(telling.step("aborted", f"nothing is left of the launch of {server}"))
    return {"server": server, "app": record.app}
