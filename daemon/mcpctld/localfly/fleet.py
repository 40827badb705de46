"""What the edge proxy sees of the apps and machines, and what it can have done to them.

Implemented by `supervisor.Supervisor`; called by `edge/`, which knows nothing else of a machine's insides. Everything
that does not wait answers from memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Provider = Literal["app", "proxy", "runner"]
"""Who says a line of the log: the program, the proxy, or what runs machines."""
Level = Literal["debug", "info", "warning", "error"]


class Refused(Exception):
    """A machine was not started, stopped or suspended. The text is that of the Machines API.

    `status` is the HTTP status it would answer with: 404 unknown machine, 408 it did not get there in time, 409 leased
    to somebody, 412 not from this state, 429 too often, 5xx an injected failure.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class FleetMachine(Protocol):
    """A machine as it is now; it changes under who holds it."""

    @property
    def id(self) -> str:
        """14 hexadecimal digits."""

    @property
    def region(self) -> str:
        """A code such as `iad`."""

    @property
    def state(self) -> str:
        """`created`, `starting`, `started`, `stopping`, `stopped`, `suspending`, `suspended`, `replacing`, ..."""

    @property
    def version(self) -> str:
        """A ULID, another one after each update."""

    @property
    def config(self) -> Mapping[str, Any]:
        """As the Machines API has it."""

    @property
    def cordoned(self) -> bool:
        """Taken out of routing."""

    @property
    def lease_holder(self) -> str:
        """Who holds a lease that has not run out; empty when nobody does. It keeps the proxy from starting it."""

    @property
    def healthy(self) -> bool:
        """Whether no check of a service fails; a machine without checks is healthy."""


class FleetApp(Protocol):
    """An app as it is now."""

    @property
    def name(self) -> str:
        """One DNS label."""

    @property
    def public(self) -> bool:
        """Whether it has an address that everybody reaches: `APP.localhost` answers."""

    @property
    def private(self) -> bool:
        """Whether it has a `private_v6` address: `APP.flycast.localhost` answers."""


class Fleet(Protocol):
    """All apps and machines. Every method that waits may be cancelled; what it began goes on."""

    def app(self, name: str) -> FleetApp | None:
        """The app of this name, unless it is gone."""

    def apps(self) -> Sequence[FleetApp]:
        """All of them."""

    def machines(self, app: str) -> Sequence[FleetMachine]:
        """Its machines, destroyed ones not among them; empty for an unknown app."""

    def address(self, machine: FleetMachine, internal_port: int) -> tuple[str, int] | None:
        """Where the process of a machine is to be reached for what it takes for its port `internal_port`.

        None while there is no process. That it is `started` does not mean that it listens already.
        """

    async def start(self, machine: FleetMachine, reason: str) -> None:
        """Start it, or join a start that is under way, and wait until it is `started`. Raises `Refused`."""

    async def stop(self, machine: FleetMachine, reason: str) -> None:
        """Stop it and wait until it is `stopped`. Raises `Refused`."""

    async def suspend(self, machine: FleetMachine, reason: str) -> None:
        """Suspend it and wait until it is `suspended`; one that cannot be suspended is stopped. Raises `Refused`."""

    def log(self, app: str, machine: str, provider: Provider, level: Level, message: str) -> None:
        """Add a line to the app's log. `machine` may be empty: the proxy speaks of no machine in particular."""

    def now(self) -> float:
        """Unix time in seconds; by `trio.current_time` intervals are measured, not by this."""
