"""What to do about one machine, and when: events go in, one action at a time comes out. No I/O, no clock, no chance.

Times are seconds of a clock that does not jump. The driver asks `next`, carries the action out, and reports `done`,
`seen` or `failed`; `deadline` says when to ask again if nothing happens before. While an action is under way there is
no other, so a machine is never started twice at once, however many sessions wait for it.

Whoever sends something looks at `holds` first: while that is true the machine sleeps, and the message waits here until
it has been started. A message that went on all the same may be held by Fly's proxy, which then starts the machine
itself, out of the same budget of requests; so nothing is started here before that had its chance (`proxy_grace_s`).
"""

import math
from typing import Literal

from mcpctld.wake.states import Action, Failure, State

LOOK_EVERY_S = 60.0
"""How often the state of a machine is asked for that should be awake. The API allows 5 such requests a second."""
SETTLE_S = 1.0
"""Between looks at a machine that is about to be something else."""
SILENCE_S = 2.0
"""A call that has no answer for so long may have met a machine that sleeps."""
WAKE_BOUND_S = 300.0
"""A machine that is not up after so long will not come up by waiting."""
PROXY_GRACE_S = 5.0
"""What Fly's proxy gets to begin to start a machine that it holds a request for."""

FIRST_PAUSE_S = {
    Failure.STILL_ACTIVE: 0.5,
    Failure.REFUSED: 5.0,
    Failure.RATE_LIMITED: 1.0,
    Failure.LEASE_HELD: 1.0,
    Failure.CAPACITY: 2.0,
    Failure.NOT_FOUND: 30.0,
    Failure.DENIED: 60.0,
    Failure.TIMED_OUT: 0.1,
    Failure.UNAVAILABLE: 1.0,
}
"""Before the next attempt after the first failure; it doubles, but for `STEADY` ones."""
LAST_PAUSE_S = 60.0
LAST_PAUSE_DENIED_S = 600.0
STEADY = frozenset({Failure.STILL_ACTIVE, Failure.TIMED_OUT})
"""Failures that only want another attempt a moment later."""
UNCLEAR = frozenset({Failure.UNAVAILABLE, Failure.REFUSED, Failure.TIMED_OUT})
"""Failures after which the machine may be in another state than was thought."""
TRIES = {
    Failure.STILL_ACTIVE: 120,
    Failure.REFUSED: 2,
    Failure.RATE_LIMITED: 8,
    Failure.LEASE_HELD: 8,
    Failure.CAPACITY: 3,
    Failure.NOT_FOUND: 1,
    Failure.DENIED: 1,
    Failure.TIMED_OUT: 8,
    Failure.UNAVAILABLE: 3,
}
"""Failures in a row after which nobody is held up any more: Fly's proxy may do better."""

Policy = Literal["attached", "always", "never"]


class Plan:
    """Of one machine."""

    def __init__(
        self,
        policy: Policy,
        sleep: Literal["suspend", "stop"],
        idle_timeout_s: float,
        proxy_grace_s: float = PROXY_GRACE_S,
    ) -> None:
        self.state = State.UNKNOWN
        self.busy: Action | None = None
        """What is being carried out."""
        self.calls = 0
        """Requests that are under way or held."""
        self.helpless = False
        """The API does not help: nobody is held up for its sake."""
        self.foreign = False
        """Somebody else has woken the machine: it is not ours to be put to sleep."""
        self.rested = True
        """Nothing of ours keeps the machine awake: no stream, no idle connection."""
        self.wakes_since: float | None = None
        """When the wake that has no first answer yet was begun."""
        self.configure(policy, sleep, idle_timeout_s, proxy_grace_s)
        self._wanted = -math.inf  # when it was wanted last
        self._spared = -math.inf  # not put to sleep before
        self._not_before = -math.inf
        self._looked = -math.inf
        self._began = -math.inf  # when the oldest call without an answer was sent
        self._passed = -math.inf  # when a call last went on without being held
        self._failures: dict[Failure, int] = {}  # since it was last as it should be
        self._used = False  # since it was last seen asleep
        self._asked = False  # by name, whatever the policy

    def configure(
        self,
        policy: Policy,
        sleep: Literal["suspend", "stop"],
        idle_timeout_s: float,
        proxy_grace_s: float = PROXY_GRACE_S,
    ) -> None:
        """Go by these from now on; what goes on goes on."""
        self._policy = policy
        self._sleep = self._sleep_first = Action.SUSPEND if sleep == "suspend" else Action.STOP
        self._idle_timeout_s = idle_timeout_s
        self._grace_s = proxy_grace_s

    # ------------------------------------------------------------ what is wanted

    def needed(self, now: float) -> bool:
        """Whether the machine should be awake."""
        return self._policy == "always" or self.calls > 0 or now < self._until

    @property
    def _until(self) -> float:
        """Awake is wanted until then."""
        return self._wanted + self._idle_timeout_s

    @property
    def holds(self) -> bool:
        """Whether messages wait here for the machine to be started."""
        awake = self.state in (State.AWAKE, State.GONE)
        return self._policy != "never" and not self.helpless and not awake

    def want(self, now: float, ahead_s: float = 0.0) -> None:
        """It is needed from now on until the idle time has passed, counted from now or `ahead_s` later."""
        self._wanted = max(self._wanted, now + ahead_s)
        self._use()

    def wonder(self, now: float) -> None:
        """It may be awake from before: find out, and let it sleep if nobody comes within the idle time."""
        self._used = True
        self._spared = now + self._idle_timeout_s

    def ask(self, now: float) -> None:
        """Somebody wants it awake, whatever the policy and whatever has failed before."""
        self._asked, self.helpless, self._not_before = True, False, -math.inf
        if self.state is State.AWAKE and self.busy is None and now > self._looked + SETTLE_S:
            self.state = State.UNKNOWN  # it may have been stopped since
        self.want(now)

    def call_began(self, now: float) -> None:
        """A request is about to be sent, or held."""
        if not self.calls:
            self._began = now
        self.calls += 1
        self.want(now)
        if not self.holds:
            self._passed = now

    def call_ended(self, now: float) -> None:
        """It was answered, has failed or was given up."""
        self.calls -= 1
        self.want(now)

    def answered(self, now: float) -> float | None:
        """The server has said something: how long this wake took, if it is the first answer after one."""
        if self.state is not State.FALLING_ASLEEP:
            self.state, self.helpless = State.AWAKE, False
        took, self.wakes_since = self.wakes_since, None
        return None if took is None else now - took

    def _use(self) -> None:
        self._used, self.rested = True, False

    # ------------------------------------------------------------ what to do

    def next(self, now: float) -> Action | None:
        """What is to be done now; it counts as begun. None while there is nothing, or something is under way."""
        if self.busy is not None or now < self._not_before:
            return None
        action = self._choose(now)
        if action is not None:
            self._begin(action, now)
        return action

    def _choose(self, now: float) -> Action | None:
        if self._policy == "never" and not self._asked:
            return None if self.rested or self.needed(now) else Action.REST
        match self.state:
            case State.UNKNOWN | State.GONE:
                return Action.LOOK if self._used or self.needed(now) else None
            case State.ASLEEP:
                return Action.START if self.needed(now) else None
            case State.STARTING:
                return Action.WAIT
            case State.FALLING_ASLEEP:
                return Action.START if self.needed(now) else Action.LOOK
            case State.AWAKE:
                return self._choose_awake(now)

    def _choose_awake(self, now: float) -> Action | None:
        if self.needed(now) or now < self._spared or (self.foreign and self.rested):
            return Action.LOOK if now >= self._look_due() else None
        if not self.rested:
            return Action.REST
        return self._sleep

    def _look_due(self) -> float:
        due = self._looked + LOOK_EVERY_S
        if self.calls and self._looked < self._began:
            due = min(due, self._began + SILENCE_S)
        return due

    def _begin(self, action: Action, now: float) -> None:
        self.busy = action
        if action is Action.START and self.wakes_since is None:
            self.wakes_since = now
        elif action in (Action.SUSPEND, Action.STOP):
            self.state = State.FALLING_ASLEEP  # who comes now waits for the outcome

    def deadline(self, now: float) -> float:
        """When to ask `next` again; infinite when only an event can change anything."""
        if self.busy is not None:
            return math.inf
        if now < self._not_before:
            return self._not_before
        times = [] if self._policy == "always" or self.calls else [self._until, self._spared]
        if self.state is State.AWAKE and self._policy != "never":
            times.append(self._look_due())
        return min((time for time in times if time > now), default=math.inf)

    # ------------------------------------------------------------ what came of it

    def done(self, action: Action, now: float, *, already: bool = False) -> None:
        """It has succeeded. Of `LOOK` and `WAIT` the outcome is `seen`. `already`: what was to start was awake."""
        self.busy = None
        match action:
            case Action.START:
                self.state, self.foreign = State.STARTING, already
            case Action.REST:
                self.rested = not self.needed(now)
            case Action.SUSPEND | Action.STOP:
                self.state = State.FALLING_ASLEEP
                self._failures.clear()
                self._not_before = now + SETTLE_S

    def seen(self, state: State, now: float) -> None:
        """This is its state, as the API says."""
        before, self.state = self.state, state
        self.busy, self._looked = None, now
        match state:
            case State.AWAKE:
                self._woke(before, now)
            case State.ASLEEP:
                self._fell_asleep(now)
            case State.FALLING_ASLEEP | State.UNKNOWN:
                self._not_before = now + SETTLE_S
            case State.GONE:
                self._not_before = now + FIRST_PAUSE_S[Failure.NOT_FOUND]

    def _woke(self, before: State, now: float) -> None:
        ours = self.wakes_since is not None or self.calls > 0
        self.foreign = self.foreign or (before is State.ASLEEP and not ours)
        self.helpless = self._asked = False
        if self.needed(
            now
        ):  # else it will not go to sleep, and what is in the way of that still counts
            self._failures.clear()
        if not self.calls:  # nothing is there to be answered: how long that takes will not be known
            self.wakes_since = None

    def _fell_asleep(self, now: float) -> None:
        self.foreign, self._sleep = False, self._sleep_first
        if self.calls and now < self._passed + self._grace_s:
            self.state, self._not_before = State.UNKNOWN, now + SETTLE_S
        elif not self.needed(now):
            self._used, self.wakes_since = False, None
            self._failures.clear()

    def failed(
        self,
        action: Action,
        failure: Failure,
        now: float,
        jitter: float,
        retry_after_s: float = 0.0,
    ) -> None:
        """It has not succeeded. `jitter`, from 0 to 1, lengthens the pause by up to half of it."""
        self.busy = None
        count = self._failures[failure] = self._failures.get(failure, 0) + 1
        if self._cannot_sleep_so(action, failure):
            return
        pause = max(_pause(failure, count), retry_after_s) * (1 + jitter / 2)
        self._not_before = now + pause
        self._learn_from(action, failure)
        overdue = self.wakes_since is not None and now - self.wakes_since > WAKE_BOUND_S
        if count >= TRIES[failure] or overdue:
            self.helpless, self._asked = True, False
        if overdue:
            self.wakes_since, self.state = None, State.UNKNOWN

    def _cannot_sleep_so(self, action: Action, failure: Failure) -> bool:
        """What cannot be suspended is stopped. It is asked for anew after the next wake: machines are changed."""
        if action is not Action.SUSPEND or failure is not Failure.REFUSED:
            return False
        self._sleep, self.state = Action.STOP, State.AWAKE
        self._failures.clear()
        return True

    def _learn_from(self, action: Action, failure: Failure) -> None:
        """What the failure says of the machine."""
        if failure is Failure.NOT_FOUND:
            self.state = State.GONE
        elif action in (Action.SUSPEND, Action.STOP) or failure in UNCLEAR:
            self.state = State.UNKNOWN  # look before anything else is done


def _pause(failure: Failure, count: int) -> float:
    growth = 1.0 if failure in STEADY else 2.0 ** min(count - 1, 16)
    last = LAST_PAUSE_DENIED_S if failure is Failure.DENIED else LAST_PAUSE_S
    return min(FIRST_PAUSE_S[failure] * growth, last)
