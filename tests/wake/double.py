"""A Machines API in memory, on trio's clock, and an engine on it: for tests in virtual time."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from mcpctld.model import FlySpec, Server, ServerSpec
from mcpctld.wake.engine import Engine
from mcpctld.wake.machines import Failed, Machine
from mcpctld.wake.records import Records
from mcpctld.wake.states import Action, Failure, State
from mcpctld.wake.watch import Watch
from wake.simulated import SimulatedMachine

ROUND_TRIP_S = 0.05
BEGAN = 1_800_000_000.0
"""The Unix time at which trio's clock says 0."""
WORDS = {
    State.ASLEEP: "suspended",
    State.STARTING: "starting",
    State.AWAKE: "started",
    State.FALLING_ASLEEP: "suspending",
    State.GONE: "destroyed",
}


@dataclass
class Double:
    """The machines of one Fly, one for each app. `fails` says what the next request of an action meets."""

    machines: dict[str, SimulatedMachine] = field(default_factory=dict)
    asked: list[tuple[float, Action, str]] = field(default_factory=list)
    fails: dict[Action, list[Failed | None]] = field(default_factory=dict)
    hangs: set[Action] = field(default_factory=set)
    started_at: dict[str, float] = field(default_factory=dict)

    def of(self, app: str) -> SimulatedMachine:
        return self.machines.setdefault(app, SimulatedMachine())

    def count(self, action: Action, app: str = "time") -> int:
        return sum(one == (action, app) for _, *rest in self.asked for one in [tuple(rest)])

    async def _ask(self, action: Action, app: str) -> float:
        self.asked.append((trio.current_time(), action, app))
        if action in self.hangs:
            await trio.sleep_forever()
        await trio.sleep(ROUND_TRIP_S)
        planned = self.fails.get(action)
        failure = planned.pop(0) if planned else None
        if failure is not None:
            raise failure
        refused = self.of(app).request(action, trio.current_time())
        if refused is not None:
            raise Failed(refused, f"{action.value} was refused: {refused.value}")
        return trio.current_time()

    async def get(self, app: str, machine: str) -> Machine:
        now = await self._ask(Action.LOOK, app)
        state = self.of(app).state(now)
        until = self.of(app).until
        return Machine(
            machine, WORDS[state], "local", BEGAN + until, self.started_at.get(app),
            (("health", "passing"),), app,
        )  # fmt: skip

    async def list(self, app: str) -> list[Machine]:
        return [await self.get(app, f"machine-of-{app}")]

    async def start(self, app: str, machine: str) -> bool:
        already = self.of(app).state(trio.current_time()) is State.AWAKE
        now = await self._ask(Action.START, app)
        self.started_at[app] = BEGAN + now
        return already

    async def wait(self, app: str, machine: str, seconds: float) -> None:
        await self._ask(Action.WAIT, app)
        with trio.move_on_after(seconds):
            while self.of(app).state(trio.current_time()) is not State.AWAKE:  # noqa: ASYNC110 -- a model has no event
                await trio.sleep(0.1)
            return
        raise Failed(Failure.TIMED_OUT, "it has not started yet")

    async def suspend(self, app: str, machine: str) -> None:
        await self._ask(Action.SUSPEND, app)

    async def stop(self, app: str, machine: str) -> None:
        await self._ask(Action.STOP, app)


@dataclass
class World:
    """One engine."""

    fly: Double
    engine: Engine
    records: Records
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    rests: list[str] = field(default_factory=list)
    made: int = 0

    def watch(self, name: str = "time") -> Watch:
        found = self.engine.watch(name)
        assert found is not None
        return found

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    async def until(self, reached: Callable[[], object], step_s: float = 0.5) -> None:
        with trio.fail_after(1000):
            while not reached():  # noqa: ASYNC110 -- nor has what is waited for here
                await trio.sleep(step_s)

    async def call(self, seconds: float = 0.1, who: str = "editor", name: str = "time") -> float:
        """One request from begin to end: how long it was held."""
        watch, began = self.watch(name), trio.current_time()
        watch.begin(who)
        await self.until(lambda: not watch.holds, 0.02)
        held = trio.current_time() - began
        await trio.sleep(seconds)
        watch.answered()
        watch.end()
        return held


def server(name: str = "time", url: str | None = None, **fly: Any) -> Server:
    spec = FlySpec(app=name, **fly)
    return Server(name=name, spec=ServerSpec(url=url or f"https://{name}.fly.dev/mcp", fly=spec))


@contextlib.asynccontextmanager
async def world(
    state_dir: str, *servers: Server, fly: Double | None = None
) -> AsyncIterator[World]:
    """An engine that watches `servers`."""

    async def machines(spec: FlySpec) -> Double:
        made.made += 1
        await trio.lowlevel.checkpoint()
        return double

    double = fly or Double()
    async with trio.open_nursery() as nursery:
        records = Records(state_dir, nursery)
        await records.load()
        engine = Engine(
            nursery,
            records,
            machines,
            lambda kind, data: made.events.append((kind, data)),
            lambda name: made.rests.append(name),
            clock=lambda: BEGAN + trio.current_time(),
        )
        made = World(double, engine, records)
        engine.apply({one.name: one for one in servers})
        yield made
        await engine.save()
        nursery.cancel_scope.cancel()
