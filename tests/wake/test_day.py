"""A day of 2,000 servers in virtual time: people attach, call, pause and come back; the API's rate limits are kept."""

import heapq
import random

import pytest

from mcpctld.wake.plan import Plan
from mcpctld.wake.states import Action, Failure, State
from wake.simulated import SimulatedMachine

SERVERS = 2000
DAY_S = 86400.0
IDLE_S = 300.0
ROUND_TRIP_S = 0.2


class Server:
    """One plan with its machine, and what its clients will do."""

    def __init__(self, chance: random.Random, cold_start_s: float) -> None:
        self.chance = chance
        self.plan = Plan("attached", "suspend", IDLE_S)
        self.machine = SimulatedMachine(cold_start_s, suspendable=chance.random() < 0.8)
        self.pending: tuple[Action, Failure | None] | None = None
        self.waiting: list[float] = []  # when calls that are held were made
        self.waits: list[float] = []
        self.wakings = 0
        """How often somebody came while the machine was not awake."""

    def attach(self, now: float) -> None:
        self.plan.want(now)
        self.call(now)

    def call(self, now: float) -> None:
        self.plan.call_began(now)
        if self.plan.holds:
            self.waiting.append(now)
        elif self.machine.state(now) is State.ASLEEP:
            self.machine.start(now)  # the proxy does, which has the call
            self.plan.call_ended(now)
        else:
            self.plan.answered(now)
            self.plan.call_ended(now)

    def step(self, now: float) -> float:
        """Report what has come back, do what is next: when to look again."""
        if self.pending is not None:
            self._report(now)
        if self.waiting and not self.plan.holds:
            self._release(now)
        action = self.plan.next(now)
        if action is None:
            return self.plan.deadline(now)
        if action is Action.REST:
            self.pending = (action, None)
            return now
        outcome = self.machine.request(action, now)
        self.pending = (action, outcome)
        late = max(self.machine.until - now, 0) if action is Action.WAIT else 0.0
        return now + ROUND_TRIP_S + late

    def _report(self, now: float) -> None:
        assert self.pending is not None
        (action, failure), self.pending = self.pending, None
        if failure is not None:
            self.plan.failed(action, failure, now, self.chance.random())
        elif action in (Action.LOOK, Action.WAIT):
            self.plan.seen(self.machine.state(now), now)
        else:
            self.plan.done(action, now)

    def _release(self, now: float) -> None:
        assert self.machine.state(now) is State.AWAKE
        for since in self.waiting:
            self.waits.append(now - since)
            self.plan.answered(now)
            self.plan.call_ended(now)
        self.waiting = []


class Day:
    """All servers and one queue of moments."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        cold = [self.chance.uniform(0.3, 12.0) for _ in range(SERVERS)]
        self.servers = [Server(random.Random(seed + nth), cold[nth]) for nth in range(SERVERS)]
        self.moments: list[tuple[float, int, int, str]] = []
        self.count = 0
        self.due = [float("inf")] * SERVERS
        for nth in range(SERVERS):
            self._plan_visits(nth)

    def _plan_visits(self, nth: int) -> None:
        """Two to five visits, most of them when the day begins; several clients, a few calls with pauses."""
        for _ in range(self.chance.randint(2, 5)):
            begin = self.chance.choice([9 * 3600.0, self.chance.uniform(0, DAY_S)])
            for _ in range(self.chance.randint(1, 3)):
                self._at(begin + self.chance.random(), nth, "attach")
            at = begin + 5
            for _ in range(self.chance.randint(0, 6)):
                at += self.chance.expovariate(1 / 200)
                self._at(at, nth, "call")

    def _at(self, when: float, nth: int, what: str) -> None:
        self.count += 1
        heapq.heappush(self.moments, (when, self.count, nth, what))

    def run(self) -> None:
        while self.moments:
            now, _, nth, what = heapq.heappop(self.moments)
            server = self.servers[nth]
            if what == "attach":
                server.attach(now)
            elif what == "call":
                server.call(now)
            elif now != self.due[nth]:
                continue  # an earlier moment has taken its place
            self._step(server, nth, now)

    def _step(self, server: Server, nth: int, now: float) -> None:
        if server.pending is not None and self.due[nth] > now:
            return  # a request is on its way
        self.due[nth] = due = server.step(now)
        if due < float("inf"):
            self._at(due, nth, "step")


@pytest.mark.slow
def test_a_day_of_two_thousand_servers_keeps_the_limits_and_starts_nothing_twice() -> None:
    day = Day(seed=5)
    day.run()
    machines = [server.machine for server in day.servers]
    assert sum(bucket.overdrawn for machine in machines for bucket in machine.budget.values()) == 0
    for server in day.servers:
        machine = server.machine
        assert machine.word is State.ASLEEP  # all of them, in the end
        assert machine.starts == machine.sleeps  # no start but of a machine that slept
        assert not server.waiting
        bound = machine.cold_start_s + machine.falls_asleep_s + 2.0
        assert all(wait <= bound for wait in server.waits)
    assert sum(machine.starts for machine in machines) > 2 * SERVERS
    awake = sum(machine.awake_s for machine in machines) / SERVERS
    assert awake < DAY_S / 10  # warm does not mean billed
