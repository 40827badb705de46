"""What a carrier is, and the clock of what it carries."""

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

Kind = Literal["udp", "websocket"]

Deliver = Callable[[list[bytes]], None]
"""Takes datagrams that came together, at least one."""


class Carrier(Protocol):
    """Carries datagrams to one peer and back, as unreliably as it likes."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send them. Never waits and never raises: what cannot go is lost, as on any network."""

    async def run(self, deliver: Deliver) -> None:
        """Carry, until it cannot any more: raises `Unreachable` then. Closes what it holds at its end."""


Opener = Callable[[], Awaitable[Carrier]]
"""Makes a carrier. Raises `McpctlError`."""


def boot_time() -> float:
    """Seconds of a clock that runs on while the machine sleeps: the sessions of WireGuard age meanwhile."""
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)  # mach_continuous_time
    else:  # noqa: RET505  (so that mypy checks the one of its platform)
        return time.clock_gettime(time.CLOCK_BOOTTIME)
