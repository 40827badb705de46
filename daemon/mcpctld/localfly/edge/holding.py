"""Machines that are started for requests, and the requests that are held meanwhile.

However many requests wait for a machine, one task starts it and knocks until it answers. The codes in the log are
Fly's: PM01 the Machines API refuses, PM08 a state that cannot be started, PC01 the port is closed, PR02 the machine
is gone.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from mcpctld.localfly.edge.routing import LOST, RESTING, RUNNING
from mcpctld.localfly.fleet import Fleet, FleetMachine, Refused

_log = logging.getLogger("mcpctld.localfly.edge")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests are held. All in seconds, but `starts`."""

    hold_s: float = 90.0
    """For a machine that is expected."""
    hopeless_s: float = 5.0
    """Where nothing is known that would help: somebody may be about to create or start a machine."""
    connect_s: float = 5.0
    """One attempt to connect."""
    first_backoff_s: float = 0.02
    last_backoff_s: float = 0.25
    refused_s: float = 0.5
    """After a start that the Machines API has refused."""
    starts: int = 3
    """A machine that rests again so often after a start is given up."""

    def backoffs(self) -> Iterator[float]:
        """The pauses between attempts."""
        pause = self.first_backoff_s
        while True:
            yield pause
            pause = min(pause * 2, self.last_backoff_s)


def find_machine(fleet: Fleet, app: str, id: str) -> FleetMachine | None:
    """A machine of an app by its id."""
    return next((machine for machine in fleet.machines(app) if machine.id == id), None)


class _Waking:
    """One machine on its way. `trouble` is set at the end; empty: it can be reached."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.trouble = ""


class Waker:
    """Has machines started and reached. That is done in `nursery`: a request that gives up ends its own wait only."""

    def __init__(self, nursery: trio.Nursery, fleet: Fleet, patience: Patience) -> None:
        self._nursery = nursery
        self._fleet = fleet
        self._patience = patience
        self._waking: dict[tuple[str, int], _Waking] = {}

    async def reach(self, app: str, machine: str, internal_port: int) -> str:
        """Wait until the port of the machine takes connections: empty, or what is in the way."""
        waking = self.begin(app, machine, internal_port)
        await waking.done.wait()
        return waking.trouble

    def begin(self, app: str, machine: str, internal_port: int) -> _Waking:
        """See to it that a machine is started. Nothing happens if that is under way."""
        key = (machine, internal_port)
        waking = self._waking.get(key)
        if waking is None:
            waking = self._waking[key] = _Waking()
            self._nursery.start_soon(self._wake, app, key, waking)
        return waking

    async def _wake(self, app: str, key: tuple[str, int], waking: _Waking) -> None:  # noqa: ASYNC910  (a task of its own)
        waking.trouble = "it took too long"
        try:
            with trio.move_on_after(self._patience.hold_s):
                waking.trouble = await self._try(app, *key)
        except Exception:
            _log.exception("starting a machine failed")
            waking.trouble = "an internal error; the log of the local Fly says more"
        if waking.trouble:
            message = f"[PC07] the machine cannot be reached: {waking.trouble}"
            self._fleet.log(app, key[0], "proxy", "error", message)
        del self._waking[key]
        waking.done.set()

    async def _try(self, app: str, id: str, internal_port: int) -> str:
        attempt = _Attempt(self._fleet, app, id, internal_port, self._patience)
        for pause in self._patience.backoffs():
            trouble = await attempt.go()
            if trouble is not None:
                return trouble
            await trio.sleep(self._patience.refused_s if attempt.refused else pause)
        raise AssertionError("pauses do not end")


class _Attempt:
    """Attempts at one machine; what was said in the log is not said again."""

    def __init__(
        self, fleet: Fleet, app: str, id: str, internal_port: int, patience: Patience
    ) -> None:
        self._fleet = fleet
        self._app = app
        self._id = id
        self._internal_port = internal_port
        self._patience = patience
        self.refused = False
        """The last start was."""
        self._refusal = ""
        self._starts = 0
        self._said: set[str] = set()

    async def go(self) -> str | None:
        """Do what is due: None to try again, empty when the machine takes connections, or why it never will."""
        self.refused = False
        machine = find_machine(self._fleet, self._app, self._id)
        if machine is None:
            return self._say("[PR02] the machine is gone")  # noqa: ASYNC910  (at once where nothing can be done)
        if machine.state in RUNNING:
            return await self._knock(machine)
        if machine.state in LOST:
            why = f" ({self._refusal})" if self._refusal else ""
            return self._say(f"[PM08] the machine is {machine.state}{why}")  # noqa: ASYNC910  (at once where nothing can be done)
        if machine.state in RESTING:
            return await self._start(machine)
        await trio.lowlevel.checkpoint()
        return None

    async def _start(self, machine: FleetMachine) -> str | None:
        if self._starts >= self._patience.starts:
            return self._say(f"[PM08] the machine was started, and is {machine.state} again")  # noqa: ASYNC910  (at once where nothing can be done)
        try:
            await self._fleet.start(machine, "a request")
        except Refused as exc:
            self.refused = True
            self._refusal = str(exc)
            self._say(f'[PM01] machines API returned an error: "{exc}"')
        else:
            self._starts += 1
        return None  # noqa: ASYNC910  (what failed, or ended, has waited)

    async def _knock(self, machine: FleetMachine) -> str | None:
        address = self._fleet.address(machine, self._internal_port)
        stream = await dial(address, self._patience.connect_s)
        if stream is None:
            self._say(
                f"[PC01] port {self._internal_port} is closed: does the program listen on it, and on 0.0.0.0?"
            )
            return None
        await trio.aclose_forcefully(stream)
        return ""

    def _say(self, message: str) -> str:
        if message not in self._said:
            self._said.add(message)
            self._fleet.log(self._app, self._id, "proxy", "warning", message)
        return message.partition("] ")[2]


async def dial(address: tuple[str, int] | None, bound_s: float) -> trio.SocketStream | None:
    """A connection to a machine; None if nobody listens."""
    if address is None:
        await trio.lowlevel.checkpoint()
        return None
    with trio.move_on_after(bound_s):
        try:
            return await trio.open_tcp_stream(*address)
        except OSError:
            pass
    return None  # noqa: ASYNC910  (what failed, or ended, has waited)
