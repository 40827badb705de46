"""What is done to a machine: start, stop, suspend, restart, signal, cordon, wait, exec, ps."""

import contextlib
import os
import signal
import subprocess
from typing import Any

import msgspec
import trio

from mcpctld.localfly.call import OK, Call, Result
from mcpctld.localfly.commands import place
from mcpctld.localfly.errors import ApiError, precondition
from mcpctld.localfly.machines import SETTLED, Machine
from mcpctld.localfly.shapes import SIGNALS, parse_duration

WAITABLE = ("started", "stopped", "suspended", "destroyed", "failed", "settled")
LONGEST_WAIT_S = 60
EXEC_S = 30.0
MOST_OUTPUT = 1024 * 1024


class Stop(msgspec.Struct, kw_only=True):
    """flyctl sends a signal by its number, too."""

    signal: str | int | None = None
    timeout: str | int | float | None = None


class Exec(msgspec.Struct, kw_only=True):
    """`cmd` is the old form: one line. `timeout` in seconds."""

    command: list[str] = []
    cmd: str = ""
    stdin: str = ""
    timeout: int = 0
    container: str = ""


async def start(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("start")
    before = machine.state
    call.act(app, machine, life.start(call.now))
    return 200, {"previous_state": before, "migrated": False, "new_host": ""}


async def stop(call: Call) -> Result:
    """POST: a signal, and after a while the end."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("stop")
    given = call.read(Stop)
    timeout_s = None if given.timeout is None else parse_duration(given.timeout, 0.0)
    call.act(app, machine, life.stop(call.now, _signal(given.signal), timeout_s))
    return OK


async def suspend(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("suspend")
    call.act(app, machine, life.suspend(call.now))
    return OK


async def restart(call: Call) -> Result:
    """POST: the same version once more."""
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("restart")
    text = call.first("timeout")
    timeout_s = 0.0 if call.flag("force_stop") else parse_duration(text, 0.0) if text else None
    call.act(app, machine, life.restart(call.now, _signal(call.first("signal") or None), timeout_s))
    return OK


async def send_signal(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.changeable("signal")
    name = _signal(call.read(Stop).signal)
    if name is None:
        raise ApiError(400, "invalid_argument: signal is required")
    process = call.supervisor.seat(machine).process
    if machine.state != "started" or process is None:
        raise precondition(f"unable to signal machine from current state: '{machine.state}'")
    process.signal(name)
    return OK


def _signal(given: str | int | None) -> str | None:
    if given is None:
        return None
    with contextlib.suppress(ValueError):
        given = signal.Signals(int(given)).name
    if given not in SIGNALS:
        raise ApiError(400, f"invalid_argument: {given!r} is no signal")
    return str(given)


async def cordon(call: Call) -> Result:
    """POST: no requests for it any more."""
    return await _cordon(call, cordoned=True)


async def uncordon(call: Call) -> Result:
    """POST: requests for it again."""
    return await _cordon(call, cordoned=False)


async def _cordon(call: Call, *, cordoned: bool) -> Result:
    await trio.lowlevel.checkpoint()
    app, machine, life = call.changeable("cordon")
    life.cordon(call.now, cordoned=cordoned)
    call.act(app, machine, None)
    return OK


async def wait(call: Call) -> Result:
    """GET: until it is in a state, for a minute at most."""
    await trio.lowlevel.checkpoint()
    wanted = call.listed("state") or ["started"]
    if unknown := [state for state in wanted if state not in WAITABLE]:
        raise ApiError(400, f"invalid_argument: cannot wait for state {unknown[0]!r}")
    text = call.first("timeout")
    bound_s = min(max(parse_duration(text, LONGEST_WAIT_S), 1.0), LONGEST_WAIT_S)
    try:
        _, machine, _ = call.machine()
    except ApiError:
        if "destroyed" in wanted:
            return 200, {"ok": True, "state": "destroyed"}
        raise
    version = call.first("version") or call.first("instance_id")
    with trio.move_on_after(bound_s):
        while not _reached(machine, wanted, version):
            await call.supervisor.seat(machine).changed.wait()
        event = machine.events[0].id if machine.events else ""
        return 200, {
            "ok": True, "state": machine.state, "version": machine.version, "event_id": event
        }  # fmt: skip
    raise ApiError(408, f"deadline_exceeded: machine {machine.id} is {machine.state}")


def _reached(machine: Machine, wanted: list[str], version: str) -> bool:
    current = not version or machine.version == version
    if "destroyed" in wanted and machine.state == "destroyed":
        return True
    if current and (machine.state in wanted or ("settled" in wanted and machine.state in SETTLED)):
        return True
    past = not current and version < machine.version  # ULIDs sort by time
    if machine.state in ("destroyed", "failed") or (past and "destroyed" not in wanted):
        raise ApiError(
            400,
            f"machine failed to reach desired state, {'/'.join(wanted)}, currently {machine.state}",
        )
    return False


async def execute(call: Call) -> Result:
    """POST: a command beside the machine's own, in its folder."""
    _, machine, _ = call.changeable("exec")
    given = call.read(Exec)
    words = given.command or (["/bin/sh", "-c", given.cmd] if given.cmd else [])
    if not words:
        raise ApiError(400, "invalid_argument: command is required")
    seat = call.supervisor.seat(machine)
    if machine.state != "started" or seat.prepared is None:
        raise precondition(f"unable to exec in machine in state: '{machine.state}'")
    prepared = seat.prepared
    argv = place(words, prepared.places)
    with trio.move_on_after(given.timeout or EXEC_S):
        return 200, await _execute(argv, given.stdin, prepared.env, prepared.cwd)
    raise ApiError(408, "deadline_exceeded: the command did not end in time")


async def _execute(argv: list[str], stdin: str, env: dict[str, str], cwd: str) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    try:
        done = await trio.run_process(
            argv, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False,
            env=env, cwd=cwd, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as exc:
        text = f"cannot start {argv[0]}: {getattr(exc, 'strerror', None) or exc}\n"
        return {"exit_code": 127, "exit_signal": 0, "stdout": "", "stderr": text}
    code = done.returncode
    return {
        "exit_code": code if code >= 0 else 128 - code,
        "exit_signal": max(-code, 0),
        "stdout": _text(done),
        "stderr": done.stderr[:MOST_OUTPUT].decode("utf-8", "replace"),
    }


def _text(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stdout[:MOST_OUTPUT].decode("utf-8", "replace")


async def list_processes(call: Call) -> Result:
    """GET: the machine's own process."""
    await trio.lowlevel.checkpoint()
    _, machine, _ = call.machine()
    seat = call.supervisor.seat(machine)
    if seat.process is None or seat.prepared is None:
        raise ApiError(400, f"machine {machine.id} is not started")
    row = {
        "pid": seat.process.pid,
        "command": os.path.basename(seat.prepared.argv[0]),
        "directory": seat.prepared.cwd,
        "cpu": 0,
        "rss": 0,
        "rtime": int(call.now - machine.started_at),
        "stime": 0,
        "listen_sockets": [
            {"proto": "tcp", "address": f"127.0.0.1:{port}"}
            for port in seat.prepared.ports.values()
        ],
    }
    return 200, [row]
