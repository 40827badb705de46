"""The plan against a simulated machine, by a state machine of Hypothesis: anything may happen at any time."""

import copy
import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcpctld.wake.plan import Plan
from mcpctld.wake.states import Action, Failure, State
from wake.simulated import SimulatedMachine

IDLE_S = 60.0
PATIENCE_S = 3600.0
"""Far above the longest pause after the failures of one example."""


class PlanAndMachine(RuleBasedStateMachine):
    """`begin` takes an action of the plan, `end` lets it reach the machine and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.plan = Plan("attached", "suspend", IDLE_S)
        self.machine = SimulatedMachine()
        self.under_way: Action | None = None
        self.calls = 0

    # ------------------------------------------------------------ the world

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.0, 10.0, 61.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_client_attaches(self) -> None:
        self.plan.want(self.now)

    @rule()
    def somebody_asks(self) -> None:
        self.plan.ask(self.now)

    @rule()
    def a_call_begins(self) -> None:
        self.calls += 1
        self.plan.call_began(self.now)

    @precondition(lambda self: self.calls)
    @rule(answered=st.booleans())
    def a_call_ends(self, answered: bool) -> None:
        self.calls -= 1
        if answered and self.machine.state(self.now) is State.AWAKE and not self.plan.holds:
            self.plan.answered(self.now)
        self.plan.call_ended(self.now)

    @precondition(lambda self: not self.calls)
    @rule()
    def the_machine_stops_by_itself(self) -> None:
        self.machine.stop_by_itself(self.now)

    @rule()
    def somebody_else_starts_it(self) -> None:
        self.machine.start(self.now)

    # ------------------------------------------------------------ the driver

    @precondition(lambda self: self.under_way is None)
    @rule()
    def begin(self) -> None:
        action = self.plan.next(self.now)
        assert action is None or self.plan.next(self.now) is None  # one at a time
        if action in (Action.SUSPEND, Action.STOP):
            assert not self.plan.calls
            assert self.plan.rested
            assert not self.plan.foreign
        self.under_way = action

    @precondition(lambda self: self.under_way is not None)
    @rule(failure=st.sampled_from([None, None, None, *Failure]), jitter=st.floats(0, 1))
    def end(self, failure: Failure | None, jitter: float) -> None:
        action, self.under_way = self.under_way, None
        assert action is not None
        if failure is None or failure is Failure.UNAVAILABLE:  # whose answer only got lost
            failure = self.reach(action) or failure
        self.report(action, failure, jitter)

    def reach(self, action: Action) -> Failure | None:
        if action is Action.REST:
            return None
        return self.machine.request(action, self.now)

    def report(self, action: Action, failure: Failure | None, jitter: float) -> None:
        state = self.machine.state(self.now)
        if failure is not None and action is not Action.REST:
            self.plan.failed(action, failure, self.now, jitter)
        elif action is Action.LOOK:
            self.plan.seen(state, self.now)
        elif action is Action.WAIT and state is not State.AWAKE:
            self.plan.failed(action, Failure.TIMED_OUT, self.now, jitter)
        elif action is Action.WAIT:
            self.plan.seen(state, self.now)
        else:
            self.plan.done(action, self.now)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def counts_agree(self) -> None:
        assert self.plan.calls == self.calls
        assert self.plan.busy is self.under_way

    @invariant()
    def the_driver_is_told_when_to_ask_again(self) -> None:
        """Asking before the deadline brings nothing."""
        deadline = self.plan.deadline(self.now)
        assert deadline > self.now
        if copy.copy(self.plan).next(self.now) is None:
            almost = min(self.now + (deadline - self.now) * 0.999, self.now + 1e7)
            assert copy.copy(self.plan).next(almost) is None

    def teardown(self) -> None:
        """From anywhere: once nothing fails any more, a call is let go to an awake machine, and at last it sleeps."""
        if self.under_way is not None:
            self.end(failure=None, jitter=0.0)
        self.a_call_begins()
        self.drive(lambda: not self.plan.holds and self.machine.state(self.now) is State.AWAKE)
        self.plan.answered(self.now)
        while self.calls:
            self.calls -= 1
            self.plan.call_ended(self.now)
        if not self.plan.foreign:
            self.drive(lambda: self.machine.state(self.now) is State.ASLEEP)
            self.drive(lambda: self.plan.state is State.ASLEEP)
            assert self.plan.deadline(self.now) == math.inf  # at rest nothing is asked

    def drive(self, reached: object) -> None:
        end = self.now + PATIENCE_S
        while not reached():  # type: ignore[operator]
            assert self.now < end, f"stuck: {vars(self.plan)}"
            action = self.plan.next(self.now)
            if action is None:
                self.now = min(self.plan.deadline(self.now), self.now + 1.0)
            else:
                if action is Action.WAIT:
                    self.now += self.machine.cold_start_s
                self.report(action, self.reach(action), 0.0)


PlanAndMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestPlanAndMachine = PlanAndMachine.TestCase
