"""Apps and machines as the proxy sees them, and what it may do to them. Implements `fleet.Fleet`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from mcpctld.localfly.checks import healthy
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.fleet import FleetMachine, Level, Provider, Refused
from mcpctld.localfly.machines import Effect, Machine, why_not_suspend
from mcpctld.localfly.state import App
from mcpctld.localfly.supervisor import Supervisor

BOUND_S = 60.0
"""How long a machine may take to get where it is wanted."""
COMING = frozenset({"started", "starting", "created", "restarting", "replacing"})
"""A start needs only to be waited for."""


class View:
    """A machine as the proxy sees it. Implements `fleet.FleetMachine`."""

    def __init__(self, supervisor: Supervisor, machine: Machine) -> None:
        self._supervisor = supervisor
        self.machine = machine
        self.id = machine.id
        self.region = machine.region

    @property
    def state(self) -> str:
        """As the API says."""
        return self.machine.state

    @property
    def version(self) -> str:
        """A ULID."""
        return self.machine.version

    @property
    def config(self) -> Mapping[str, Any]:
        """As the API has it."""
        return self.machine.config

    @property
    def cordoned(self) -> bool:
        """Taken out of routing."""
        return self.machine.cordoned

    @property
    def lease_holder(self) -> str:
        """Empty when there is none."""
        lease = self._supervisor.life(self.machine).live_lease(self._supervisor.now())
        return lease.owner if lease else ""

    @property
    def healthy(self) -> bool:
        """No check of a service fails."""
        return healthy(self._supervisor.seat(self.machine).checks)


class Proxied:
    """All machines of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def app(self, name: str) -> App | None:
        """The app of this name."""
        return self._supervisor.world.apps.get(name)

    def apps(self) -> Sequence[App]:
        """All of them."""
        return tuple(self._supervisor.world.apps.values())

    def machines(self, app: str) -> Sequence[View]:
        """Its machines, but those that are destroyed."""
        found = self._supervisor.world.apps.get(app)
        machines = found.machines.values() if found else ()
        return [
            View(self._supervisor, machine) for machine in machines if machine.state != "destroyed"
        ]

    def address(self, machine: FleetMachine, internal_port: int) -> tuple[str, int] | None:
        """Where its process is to be reached."""
        seat = self._supervisor.seat_of(machine.id)
        if seat is None or seat.process is None or seat.prepared is None:
            return None
        port = seat.prepared.ports.get(internal_port)
        return ("127.0.0.1", port) if port else None

    async def start(self, machine: FleetMachine, reason: str) -> None:
        """Start it, or join a start, and wait. Raises `Refused`."""
        app, found = self._find(machine)
        if found.state not in COMING or (found.state == "created" and found.held):
            self.log(app.name, found.id, "proxy", "info", f"Starting machine ({reason})")
            life = self._supervisor.life(found)
            self._act(app, found, "start", lambda now: life.start(now, "proxy"))
        await self._until(found, "started")

    async def stop(self, machine: FleetMachine, reason: str) -> None:
        """Stop it, and wait. Raises `Refused`."""
        app, found = self._find(machine)
        self.log(app.name, found.id, "proxy", "info", f"Stopping machine ({reason})")
        life = self._supervisor.life(found)
        self._act(app, found, "stop", lambda now: life.stop(now, source="proxy"))
        await self._until(found, "stopped")

    async def suspend(self, machine: FleetMachine, reason: str) -> None:
        """Suspend it, or stop it where that cannot be done, and wait. Raises `Refused`."""
        app, found = self._find(machine)
        if why := why_not_suspend(found.config):
            await self.stop(machine, f"{reason}; it cannot be suspended: {why}")
            return
        self.log(app.name, found.id, "proxy", "info", f"Suspending machine ({reason})")
        life = self._supervisor.life(found)
        self._act(app, found, "suspend", lambda now: life.suspend(now, source="proxy"))
        await self._until(found, "suspended")

    def _act(self, app: App, machine: Machine, verb: str, do: Callable[[float], Effect]) -> None:
        try:
            self._supervisor.count(f"{verb}-machine", machine.id)
            self._supervisor.life(machine).check_lease(self.now(), None)
            self._supervisor.act(app, machine, do(self.now()))
        except ApiError as exc:
            self.log(
                app.name,
                machine.id,
                "proxy",
                "error",
                f"[PM01] machines API returned an error: {exc.text!r}",
            )
            raise Refused(exc.status, exc.text) from exc

    async def _until(self, machine: Machine, state: str) -> None:
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(BOUND_S):
            while machine.state != state:
                if machine.state in ("failed", "destroyed"):
                    raise Refused(412, f"machine is {machine.state}: {machine.reason}")
                await self._supervisor.seat(machine).changed.wait()
            return
        raise Refused(408, f"machine {machine.id} is {machine.state} and not {state} in time")

    def log(self, app: str, machine: str, provider: Provider, level: Level, message: str) -> None:
        """A line of an app's log."""
        self._supervisor.log(app, machine, provider, level, message)

    def now(self) -> float:
        """Unix time in seconds."""
        return self._supervisor.now()

    def _find(self, machine: FleetMachine) -> tuple[App, Machine]:
        for app in self._supervisor.world.apps.values():
            if (found := app.machines.get(machine.id)) is not None:
                return app, found
        raise Refused(404, f"machine {machine.id} is not there any more")
