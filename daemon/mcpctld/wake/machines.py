"""What is asked of a Fly, whichever it is: the few requests that waking and sleeping take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mcpctld.wake.states import Failure, State, state_of

OURS = "mcpctl_server"
"""The key of a machine's metadata that names the server it was launched for."""
_PREFERENCE = (State.AWAKE, State.STARTING, State.FALLING_ASLEEP, State.ASLEEP)


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as the Machines API tells of it."""

    id: str
    state: str
    """In the API's word."""
    region: str = ""
    changed_at: float | None = None
    """When (Unix time) it came into this state, if the API says so."""
    started_at: float | None = None
    """When (Unix time) it was last started."""
    checks: tuple[tuple[str, str], ...] = ()
    """Its health checks by name: `passing`, `warning` or `critical`."""
    server: str | None = None
    """The server that it was launched for."""


class Failed(Exception):
    """A request to the Machines API that did not succeed. The text says what failed, on what, and what to do next."""

    def __init__(self, failure: Failure, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.failure = failure
        self.retry_after_s = retry_after_s


class Machines(Protocol):
    """The machines of one Fly. Each method waits for its answer, for a bounded time, and raises `Failed`."""

    async def get(self, app: str, machine: str) -> Machine:
        """One machine. Wakes nothing."""

    async def list(self, app: str) -> Sequence[Machine]:
        """All machines of an app."""

    async def start(self, app: str, machine: str) -> bool:
        """Start or resume it; whether it was awake already."""

    async def wait(self, app: str, machine: str, seconds: float) -> None:
        """Wait until it has started; `Failure.TIMED_OUT` when that takes longer."""

    async def suspend(self, app: str, machine: str) -> None:
        """Keep its memory and take it off the processor."""

    async def stop(self, app: str, machine: str) -> None:
        """Stop it."""


def choose(machines: Sequence[Machine], server: str) -> Machine | None:
    """The machine that stands for an app of which none was named: one of the server's own, the most awake of them."""
    alive = [machine for machine in machines if state_of(machine.state) in _PREFERENCE]
    return min(alive, key=lambda machine: _rank(machine, server), default=None)


def _rank(machine: Machine, server: str) -> tuple[bool, int, str]:
    return (
        machine.server not in (None, server),
        _PREFERENCE.index(state_of(machine.state)),
        machine.id,
    )
