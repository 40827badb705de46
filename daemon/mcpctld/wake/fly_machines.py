"""The machines of a real Fly, or of the local one, as the wake engine asks for them. Loaded for the first of them."""

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from mcpctl import wire
from mcpctld.errors import McpctlError
from mcpctld.fly import machine_shapes
from mcpctld.fly.client import Fly
from mcpctld.fly.endpoints import At, find_endpoints
from mcpctld.fly.errors import FlyError, Reason
from mcpctld.fly.limits import Limits
from mcpctld.fly.machines import not_yet
from mcpctld.tunnels.tls import make_context
from mcpctld.wake.machines import OURS, Failed, Machine
from mcpctld.wake.states import Failure, State, state_of

FAILURES = {
    Reason.INSUFFICIENT_CAPACITY: Failure.CAPACITY,
    Reason.LEASE_HELD: Failure.LEASE_HELD,
    Reason.STALE: Failure.LEASE_HELD,
    Reason.PRECONDITION: Failure.REFUSED,
    Reason.INVALID: Failure.REFUSED,
    Reason.NAME_TAKEN: Failure.REFUSED,
    Reason.NOT_FOUND: Failure.NOT_FOUND,
    Reason.DENIED: Failure.DENIED,
    Reason.RATE_LIMITED: Failure.RATE_LIMITED,
    Reason.TIMED_OUT: Failure.UNAVAILABLE,
    Reason.UNREACHABLE: Failure.UNAVAILABLE,
    Reason.UNAVAILABLE: Failure.UNAVAILABLE,
    Reason.BROKEN: Failure.UNAVAILABLE,
}
STALE = frozenset({Reason.DENIED, Reason.UNREACHABLE})
"""After these the token, or the local Fly's address, is looked up again: it may have changed."""

T = TypeVar("T")


class FlyMachines:
    """Those of one Fly. The plan decides what is made again, so the client is not to."""

    def __init__(self, at: At, state_dir: str) -> None:
        self._at = at
        self._state_dir = state_dir
        self._limits = Limits()
        self._fly: Fly | None = None
        self._opening = trio.Lock()

    async def get(self, app: str, machine: str) -> Machine:
        """One machine."""
        return _read(await self._ask(lambda fly: fly.machines.get(app, machine)))

    async def list(self, app: str) -> list[Machine]:
        """All machines of an app."""
        return [_read(one) for one in await self._ask(lambda fly: fly.machines.list(app))]

    async def start(self, app: str, machine: str) -> bool:
        """Start or resume it; whether it was awake already."""
        started = await self._ask(lambda fly: fly.machines.start(app, machine))
        return started.previous_state == "started"

    async def wait(self, app: str, machine: str, seconds: float) -> None:
        """Wait until it has started."""
        await self._ask(lambda fly: fly.machines.wait(app, machine, "started", seconds=seconds))

    async def suspend(self, app: str, machine: str) -> None:
        """Put it to sleep with its memory."""
        await self._ask(lambda fly: fly.machines.suspend(app, machine))

    async def stop(self, app: str, machine: str) -> None:
        """Stop it."""
        await self._ask(lambda fly: fly.machines.stop(app, machine))

    async def _ask(self, request: Callable[[Fly], Awaitable[T]]) -> T:
        try:
            return await request(await self._open())
        except FlyError as exc:
            if exc.reason in STALE:
                await self.aclose()
            raise Failed(_failure(exc), str(exc), exc.retry_after_s or 0.0) from exc
        except McpctlError as exc:  # no token, no local Fly: said in full
            raise Failed(Failure.DENIED, str(exc)) from exc

    async def _open(self) -> Fly:
        async with self._opening:
            if self._fly is None:
                found = await trio.to_thread.run_sync(
                    find_endpoints, self._at, os.environ, self._state_dir
                )
                self._fly = Fly(
                    found,
                    agent=f"mcpctl/{wire.VERSION}",
                    context=make_context,
                    limits=self._limits,
                    patient=False,
                )
            return self._fly

    async def aclose(self) -> None:
        """Close its connections; the next request opens others, with what token and address there are then."""
        fly, self._fly = self._fly, None
        await trio.lowlevel.checkpoint()
        if fly is not None:
            await fly.__aexit__(None, None, None)


_all: dict[tuple[At, str], FlyMachines] = {}


async def machines_at(at: At, state_dir: str) -> FlyMachines:
    """Those of the Fly that `[fly] at` names: one client for all servers on it, so that they share its rate limits."""
    await trio.lowlevel.checkpoint()
    return _all.setdefault((at, state_dir), FlyMachines(at, state_dir))


def _failure(exc: FlyError) -> Failure:
    if not_yet(exc):
        return Failure.STILL_ACTIVE
    if exc.status == 408:
        return Failure.TIMED_OUT
    return FAILURES[exc.reason]


def _read(found: machine_shapes.Machine) -> Machine:
    """What the plan and the ledger need of it."""
    return Machine(
        id=found.id,
        state=found.state,
        region=found.region,
        changed_at=_changed_at(found),
        started_at=_newest(found, "start", "started"),
        checks=tuple((check.name, check.status) for check in found.checks),
        server=found.metadata.get(OURS),
    )


def _changed_at(found: machine_shapes.Machine) -> float | None:
    """When it came into the state that it is in."""
    if state_of(found.state) is State.AWAKE:
        return _newest(found, "start", "started")
    return _newest(found, "exit", "stopped") or _newest(found, "suspend", found.state)


def _newest(found: machine_shapes.Machine, kind: str, status: str) -> float | None:
    """The Unix time of its newest event of a type that led to `status`; None when none is told."""
    times = [
        event.timestamp / 1000
        for event in found.events
        if event.type == kind and event.status == status
    ]
    return max(times, default=None)
