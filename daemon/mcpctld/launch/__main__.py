"""`python -P -m mcpctld.launch OPERATION`: what `mcpctl launch` and its kin have done.

The request is one JSON object on stdin, for secrets travel with it; what happens is told on stdout, one event a line
(`telling`), the last of them `result` or `error`. SIGINT and SIGTERM stop it: what a launch has made until then stays,
and stands in its journal, so that `launch` goes on with it and `abort` takes it away.

| operation | request |
|---|---|
| `launch` | `LaunchRequest` |
| `abort` `destroy` `status` `rollback` `rotate` | `Target` |
| `logs` `update` `scale` `secrets` | `LogsRequest`, `UpdateRequest`, `ScaleRequest`, `SecretsRequest` |
"""

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from mcpctl import wire
from mcpctld.errors import McpctlError, UserError
from mcpctld.launch import carry_out, day_two, rotation, telling
from mcpctld.launch.desk import Desk, open_desk
from mcpctld.launch.requests import (
    LaunchRequest,
    LogsRequest,
    ScaleRequest,
    SecretsRequest,
    Target,
    UpdateRequest,
    read_request,
)
from mcpctld.launch.resolve import resolve

Result = dict[str, Any]
Operation = Callable[[Desk, Any], Awaitable[Result]]

STOPPED = 130
"""The exit code after a signal, as shells have it."""


async def _launch(desk: Desk, request: LaunchRequest) -> Result:
    wish, resolved = request.wish, resolve(request.wish)
    read = functools.partial(carry_out.open_record, desk.journal, wish, resolved, os.urandom)
    record = await trio.to_thread.run_sync(read)
    async with await desk.open_fly(record.at) as fly:
        return await carry_out.launch(desk.work(fly, record), resolved, keep=request.keep)


async def _abort(desk: Desk, request: Target) -> Result:
    return await carry_out.abort(desk, request.server)


OPERATIONS: dict[str, tuple[type[Any], Operation]] = {
    "launch": (LaunchRequest, _launch),
    "abort": (Target, _abort),
    "destroy": (Target, day_two.destroy),
    "status": (Target, day_two.status),
    "logs": (LogsRequest, day_two.logs),
    "update": (UpdateRequest, day_two.update),
    "scale": (ScaleRequest, day_two.scale),
    "rollback": (Target, day_two.rollback),
    "secrets": (SecretsRequest, day_two.secrets),
    "rotate": (Target, rotation.rotate),
}


def main() -> int:
    """Do what is asked: the exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    desk = open_desk()
    try:
        if name not in OPERATIONS:
            raise UserError(f"there is no operation {name!r}: {', '.join(OPERATIONS)}")
        kind, operation = OPERATIONS[name]
        request = read_request(sys.stdin.buffer.read(), kind)
        result = trio.run(_until_signal, operation, desk, request)
    except McpctlError as exc:
        desk.tell(telling.error(exc.kind, exc.message))
        return wire.exit_code(exc.kind)
    if result is None:
        desk.tell(telling.error("timeout", f"{name} was stopped; run it again to go on"))
        return STOPPED
    desk.tell(telling.result(**result))
    return 0


async def _until_signal(operation: Operation, desk: Desk, request: object) -> Result | None:
    """The result; None when a signal came first."""
    outcome: Result | McpctlError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        try:
            outcome = await operation(desk, request)
        except McpctlError as exc:  # a nursery would wrap it in a group
            outcome = exc
        nursery.cancel_scope.cancel()
    if isinstance(outcome, McpctlError):
        raise outcome
    return outcome


async def _cancel_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


if __name__ == "__main__":
    sys.exit(main())
