"""A machine of the Machines API as a pure model: it takes its time, refuses what the real one refuses, and counts."""

from dataclasses import dataclass, field

from mcpctld.wake.states import Action, Failure, State

Outcome = Failure | None


@dataclass
class Bucket:
    """Requests of one action on one machine: so many at once, so many a second after that."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = 0.0
    overdrawn: int = 0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float) -> bool:
        self.tokens = min(self.tokens + (now - self.at) * self.rate, self.burst)
        self.at = now
        if self.tokens < 1:
            self.overdrawn += 1
            return False
        self.tokens -= 1
        return True


@dataclass
class SimulatedMachine:
    """Asleep at first. `cold_start_s` and `falls_asleep_s` are how long it is in between."""

    cold_start_s: float = 2.0
    falls_asleep_s: float = 1.5
    suspendable: bool = True
    word: State = State.ASLEEP
    until: float = 0.0
    starts: int = 0
    sleeps: int = 0
    awake_s: float = 0.0
    since: float | None = None

    def __post_init__(self) -> None:
        slow, fast = Bucket(1, 3), Bucket(5, 10)
        self.budget = {Action.LOOK: fast, Action.WAIT: fast}
        self.budget |= dict.fromkeys((Action.START, Action.SUSPEND, Action.STOP), slow)

    def state(self, now: float) -> State:
        """Where it is now."""
        if now >= self.until:
            if self.word is State.STARTING:
                self.word = State.AWAKE
            elif self.word is State.FALLING_ASLEEP:
                self.word = State.ASLEEP
                self._stop_counting(self.until)
        return self.word

    def start(self, now: float) -> Outcome:
        """Fly's 412 to whatever is not at rest, but for a suspend, which is aborted."""
        state = self.state(now)
        if state is State.AWAKE:
            return None
        if state is not State.ASLEEP:
            return Failure.STILL_ACTIVE
        self.starts += 1
        self.word, self.until, self.since = State.STARTING, now + self.cold_start_s, now
        return None

    def sleep(self, now: float) -> None:
        """Suspend or stop."""
        if self.state(now) is State.AWAKE:
            self.sleeps += 1
            self.word, self.until = State.FALLING_ASLEEP, now + self.falls_asleep_s

    def stop_by_itself(self, now: float) -> None:
        """Fly's proxy stops it, or it exits."""
        if self.state(now) in (State.AWAKE, State.STARTING):
            self.word, self.until = State.ASLEEP, now
            self._stop_counting(now)

    def _stop_counting(self, now: float) -> None:
        if self.since is not None:
            self.awake_s += now - self.since
            self.since = None

    def request(self, action: Action, now: float) -> Outcome:
        """One request of the plan's."""
        if not self.budget[action].take(now):
            return Failure.RATE_LIMITED
        match action:
            case Action.START:
                return self.start(now)
            case Action.SUSPEND if not self.suspendable:
                return Failure.REFUSED
            case Action.SUSPEND | Action.STOP:
                self.sleep(now)
        return None
