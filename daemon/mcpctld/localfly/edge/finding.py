"""Finds the machine for a request, holds the request until it can be reached, and connects to it."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import trio

from mcpctld.localfly.edge.holding import Patience, Waker, dial, find_machine
from mcpctld.localfly.edge.loads import Loads
from mcpctld.localfly.edge.replay import Reason
from mcpctld.localfly.edge.routing import Await, Candidate, Hold, Send, Wish, choose
from mcpctld.localfly.edge.settings import Service, find_service
from mcpctld.localfly.edge.ways import Nowhere, Way
from mcpctld.localfly.fleet import Fleet, FleetMachine


@dataclass(frozen=True, slots=True)
class Place:
    """A connection to a machine."""

    machine: str
    region: str
    service: Service
    stream: trio.SocketStream


class Finder:
    """Finds places for requests. Its tasks run in `nursery`."""

    def __init__(
        self, nursery: trio.Nursery, fleet: Fleet, loads: Loads, patience: Patience, near: str
    ) -> None:
        self._fleet = fleet
        self._loads = loads
        self._patience = patience
        self._near = near
        self._waker = Waker(nursery, fleet, patience)
        self._turns = itertools.count()

    @contextlib.asynccontextmanager
    async def place(self, way: Way, *, private: bool) -> AsyncIterator[Place]:
        """A machine for as long as the request is with it; it counts as its load. Raises `Nowhere`."""
        search = _Search(way, private)
        bound_s = self._patience.hold_s
        if way.replay is not None:
            bound_s = min(bound_s, way.replay.timeout_s)
        with contextlib.ExitStack() as load:
            place = None
            with trio.move_on_after(bound_s):
                place = await self._search(search, load)
            if place is None:
                raise Nowhere("PR03", search.trouble, "timeout")
            async with place.stream:
                yield place

    # ------------------------------------------------------------ searching

    async def _search(self, search: "_Search", load: contextlib.ExitStack) -> Place:
        began = trio.current_time()
        for pause in self._patience.backoffs():
            verdict = self._choose(search, search.wish)
            if not isinstance(verdict, Hold):
                place = await self._try(search, verdict, load)
                if place is not None:
                    return place
                continue
            search.trouble = search.trouble if search.unreachable else verdict.reason
            waited = trio.current_time() - began
            if verdict.hopeless and waited >= self._hopeless_s(search):
                tried: Reason = "retries_exhausted" if search.unreachable else "no_candidate"
                raise Nowhere(verdict.code, search.trouble, tried)
            await self._loads.wait_room(search.way.app, pause)
        raise AssertionError("pauses do not end")

    def _hopeless_s(self, search: "_Search") -> float:
        """How long to wait for somebody to do something. Where it is known who was meant, that makes no sense."""
        known = search.unreachable or search.way.replay is not None
        return 0.0 if known else self._patience.hopeless_s

    async def _try(
        self, search: "_Search", verdict: Send | Await, load: contextlib.ExitStack
    ) -> Place | None:
        """Try the chosen machine. None: choose again."""
        app, id = search.way.app, verdict.machine
        service = search.services[id]
        load.enter_context(self._loads.one_more(app, id))
        if isinstance(verdict, Send):
            if verdict.start:
                port = search.services[verdict.start].internal_port
                self._waker.begin(app, verdict.start, port)
            place = await self._connect(app, id, service)
            if place is not None:
                return place
        if isinstance(verdict, Await) or not self._has_others(search, id):
            trouble = await self._waker.reach(app, id, service.internal_port)
        else:
            trouble = "nobody listens"
        if trouble:
            search.exclude(id, f"machine {id} cannot be reached: {trouble}")
        load.close()
        return None  # noqa: ASYNC910  (what failed, or ended, has waited)

    async def _connect(self, app: str, id: str, service: Service) -> Place | None:
        machine = find_machine(self._fleet, app, id)
        if machine is None:
            return None  # noqa: ASYNC910  (at once where nothing can be done)
        address = self._fleet.address(machine, service.internal_port)
        stream = await dial(address, self._patience.connect_s)
        return None if stream is None else Place(id, machine.region, service, stream)

    def _has_others(self, search: "_Search", id: str) -> bool:
        """Whether another machine runs that could have the request instead."""
        others = replace(search.wish, excluded=search.wish.excluded | {id})
        return isinstance(self._choose(search, others), Send)

    def _choose(self, search: "_Search", wish: Wish) -> Send | Await | Hold:
        machines = self._fleet.machines(search.way.app)
        candidates = []
        for machine in machines:
            service = find_service(machine.config, private=search.private)
            if service is not None:
                search.services[machine.id] = service
                candidates.append(self._candidate(machine, service))
        return choose(candidates, wish, near=self._near, turn=next(self._turns))

    def _candidate(self, machine: FleetMachine, service: Service) -> Candidate:
        return Candidate(
            id=machine.id,
            region=machine.region,
            state=machine.state,
            load=self._loads[machine.id],
            soft_limit=service.soft_limit,
            hard_limit=service.hard_limit,
            autostart=service.autostart,
            cordoned=machine.cordoned,
            leased=bool(machine.lease_holder),
            healthy=machine.healthy,
        )


class _Search:
    """What a search has found out."""

    def __init__(self, way: Way, private: bool) -> None:
        self.way = way
        self.private = private
        self.wish = way.wish
        self.services: dict[str, Service] = {}
        self.unreachable = False
        self.trouble = "no machine took the request"

    def exclude(self, id: str, trouble: str) -> None:
        """It cannot be reached."""
        self.unreachable = True
        self.trouble = trouble
        self.wish = replace(self.wish, excluded=self.wish.excluded | {id})
