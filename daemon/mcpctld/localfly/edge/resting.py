"""Puts machines to rest that nobody uses: one look at all services in each period (`autostop`)."""

import logging
from collections.abc import Sequence

import trio

from mcpctld.localfly.edge.autostop import Running, Way, pick, way_to_rest
from mcpctld.localfly.edge.loads import Loads
from mcpctld.localfly.edge.routing import RUNNING
from mcpctld.localfly.edge.settings import Service, find_service
from mcpctld.localfly.fleet import Fleet, FleetMachine, Refused

STEP_S = 1.0
"""How often it is noted who does not run."""

_log = logging.getLogger("mcpctld.localfly.edge")


class Rest:
    """Looks every `period_s`, in `run`. A machine that was idle for less than that is left alone."""

    def __init__(self, fleet: Fleet, loads: Loads, region: str, period_s: float) -> None:
        self._fleet = fleet
        self._loads = loads
        self._region = region
        self._period_s = period_s
        self._ending: set[str] = set()

    async def run(self) -> None:
        """Look again and again."""
        next_look = trio.current_time() + self._period_s
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(min(STEP_S, self._period_s))
                self._note()
                if trio.current_time() >= next_look:
                    next_look = trio.current_time() + self._period_s
                    for app in self._fleet.apps():
                        self._look(nursery, app.name)

    def _note(self) -> None:
        """See who does not run: others start machines, too, and those have just begun."""
        machines = [each for app in self._fleet.apps() for each in self._fleet.machines(app.name)]
        self._loads.keep({machine.id for machine in machines})
        for machine in machines:
            if machine.state not in RUNNING:
                self._loads.rests(machine.id)

    def _look(self, nursery: trio.Nursery, app: str) -> None:
        """Have the machines of an app stopped that are too many."""
        for group in _by_service(self._fleet.machines(app)).values():
            running = [self._running(machine, service) for machine, service in group]
            machines = {machine.id: machine for machine, _ in group}
            for each in pick(running, primary=self._region, quiet_s=self._period_s):
                if each.id not in self._ending:
                    nursery.start_soon(self._end, app, machines[each.id], each)

    def _running(self, machine: FleetMachine, service: Service) -> Running:
        return Running(
            id=machine.id,
            region=machine.region,
            load=self._loads[machine.id],
            soft_limit=service.soft_limit,
            idle_s=self._loads.idle_s(machine.id),
            way=service.autostop,
            min_running=service.min_running,
        )

    async def _end(self, app: str, machine: FleetMachine, running: Running) -> None:  # noqa: ASYNC910  (a task of its own)
        way = way_to_rest(running.way, machine.config)
        self._ending.add(machine.id)
        try:
            await self._do(app, machine, way)
        except Refused as exc:
            self._fleet.log(
                app, machine.id, "proxy", "warning", f"autostop: {way} was refused: {exc}"
            )
        except Exception:
            _log.exception("putting a machine to rest failed")
        finally:
            self._ending.discard(machine.id)

    async def _do(self, app: str, machine: FleetMachine, way: Way) -> None:
        message = f"autostop: nothing uses the machine, {way}"
        self._fleet.log(app, machine.id, "proxy", "info", message)
        if way == "suspend":
            await self._fleet.suspend(machine, "autostop")
        else:
            await self._fleet.stop(machine, "autostop")


def _by_service(
    machines: Sequence[FleetMachine],
) -> dict[int, list[tuple[FleetMachine, Service]]]:
    """Those that run, by the port of their service."""
    groups: dict[int, list[tuple[FleetMachine, Service]]] = {}
    for machine in machines:
        service = find_service(machine.config, private=False)
        if service is not None and machine.state in RUNNING:
            groups.setdefault(service.internal_port, []).append((machine, service))
    return groups
