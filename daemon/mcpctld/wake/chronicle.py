"""What is told of one machine: to the log, to who listens for events, to the ledger."""

import logging
from collections.abc import Callable

from mcpctl import shapes
from mcpctld.logs import FieldLogger
from mcpctld.model import FlySpec
from mcpctld.wake.machines import Failed, Machine
from mcpctld.wake.records import Records
from mcpctld.wake.states import Action, Failure, State, state_of

SKEW_S = 5.0
"""How far Fly's clocks may be off."""

ANNOUNCED = {
    Action.START: "machine.starting",
    Action.SUSPEND: "machine.suspending",
    Action.STOP: "machine.stopping",
}

Publish = Callable[[str, dict[str, object]], None]


class Chronicle:
    """Of one server. `clock` tells the Unix time."""

    def __init__(
        self, name: str, records: Records, publish: Publish, clock: Callable[[], float]
    ) -> None:
        self.trouble: Failed | None = None
        """Why the last request did not succeed; None once one has."""
        self.times = records.times(name)
        self._name = name
        self._records = records
        self._ledger = records.ledger
        self._publish = publish
        self._clock = clock
        self._log = FieldLogger(logging.getLogger("mcpctld.wake"), {"server": name})
        self._seen: Machine | None = None
        self._id: str | None = None
        self._restarts = 0
        self._up = False
        self._started_from: float | None = None
        """When (Unix time) we asked for it to be started, until it is up."""
        self._who: str | None = None

    @property
    def doubts(self) -> bool:
        """Whether it was awake under the last daemon, and nobody has looked since."""
        return self._name in self._ledger.doubts

    @property
    def who(self) -> str:
        """Who needed it last."""
        return self._who or ""

    def forget(self) -> None:
        """It is another machine from now on."""
        self._seen = self._id = None

    def charge(self, who: str) -> None:
        """From now on the machine is awake for the sake of `who`."""
        if who and who != self._who:
            self._who = who
            self._ledger.charge(self._name, self._clock(), who)

    def learn(self, took: float) -> None:
        """The first answer of its server, so many seconds after it was asked for."""
        self.times.learn(took)
        self._log.info("machine.answered", extra={"wake_s": round(took, 3)})
        self._publish("machine.answered", {"server": self._name, "wake_s": round(took, 3)})
        self._records.changed()

    def begin(self, action: Action, machine: str | None) -> None:
        """A request is about to be made."""
        if action is Action.START and self._started_from is None:
            self._started_from = self._clock()
        if action in ANNOUNCED:
            self._log.info(ANNOUNCED[action], extra={"machine": machine})
            self._tell(ANNOUNCED[action])

    def fail(self, action: Action, error: Failed) -> None:
        """It was of no use; the same is told once."""
        told = self.trouble is not None and self.trouble.failure is error.failure
        self.trouble = error
        if not told and error.failure is not Failure.TIMED_OUT:
            extra = {"action": action.value, "failure": error.failure.value, "error": str(error)}
            self._log.warning("machine.failed", extra=extra)
            self._publish("machine.failed", {"server": self._name, **extra})

    def look_at(self, machine: Machine) -> None:
        """The machine, as the API tells of it now."""
        last, self._seen, self._id = self._seen, machine, machine.id
        if self._up and _restarted(last, machine):
            self._restarts += 1
            self._log.warning("machine.restarted")
            self._tell("machine.restarted")

    def note(self, state: State) -> None:
        """The plan takes it to be in this state."""
        if state is State.AWAKE and not self._up:
            self._went_up()
        elif state in (State.ASLEEP, State.GONE):
            self._went_down(state)

    def _went_up(self) -> None:
        """Counted from the start that the API tells of, if it is the one that we asked for."""
        self._up = True
        asked, self._started_from = self._started_from, None
        started_at = self._seen.started_at if self._seen is not None else None
        at = self._clock()
        if asked is not None and started_at is not None and asked - SKEW_S <= started_at:
            at = min(at, started_at)
        self._ledger.up(self._name, at, started_at)
        self._records.changed()
        self._tell("machine.started")

    def _went_down(self, state: State) -> None:
        """Counted up to the end that the API tells of."""
        now, was_up, self._up = self._clock(), self._up, False
        seen = self._seen if self._seen and state_of(self._seen.state) is state else None
        at = seen.changed_at if seen is not None else None
        self._ledger.down(self._name, now if at is None else min(at, now))
        if was_up:
            self._records.changed()
            told = f"machine.{seen.state if seen is not None else 'gone'}"
            self._log.info(told)
            self._tell(told)

    def _tell(self, event: str) -> None:
        self._publish(event, {"server": self._name, "machine": self._id})

    def describe(self, fly: FlySpec, state: State, next_wake_at: float | None) -> shapes.Machine:
        """What there is to show."""
        seen = self._seen
        is_seen = seen is not None and state_of(seen.state) is state
        return {
            "app": fly.app,
            "id": self._id or fly.machine,
            "at": fly.at,
            "policy": fly.policy,
            "state": seen.state if seen is not None and is_seen else state.value,
            "region": seen.region if seen is not None else None,
            "checks": dict(seen.checks) if seen is not None else {},
            "restarts": self._restarts,
            "wake_p50_s": self.times.median_s,
            "wake_p90_s": self.times.p90_s,
            "next_wake_at": next_wake_at,
            "trouble": str(self.trouble) if self.trouble is not None else None,
        }


def _restarted(last: Machine | None, now: Machine) -> bool:
    """Whether it has been started anew between two looks that both found it awake."""
    return (
        last is not None
        and state_of(last.state) is State.AWAKE is state_of(now.state)
        and last.started_at is not None
        and now.started_at is not None
        and now.started_at > last.started_at
    )
