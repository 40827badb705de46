"""Lets happen what the lives of machines ask for: starts, stops and watches their processes.

A machine has at most one task, which begins with its boot and ends when its process has ended for good.
"""

import logging
import time
from dataclasses import dataclass, field

import trio

from mcpctld.localfly import checks, ids
from mcpctld.localfly.checks import Results
from mcpctld.localfly.commands import CannotRun
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.faults import Faults
from mcpctld.localfly.fleet import Level, Provider
from mcpctld.localfly.homes import Homes, Prepared
from mcpctld.localfly.limits import Limits
from mcpctld.localfly.logs import Line, LogBook
from mcpctld.localfly.machines import (
    Boot,
    Effect,
    Freeze,
    Halt,
    Life,
    Machine,
    Remove,
    Thaw,
)  # fmt: skip
from mcpctld.localfly.processes import Process, start_process
from mcpctld.localfly.shapes import parse_duration
from mcpctld.localfly.state import App, World

STOP_S = 5.0
LONGEST_STOP_S = 300.0
LAST_STOP_S = 20.0
"""When all of it ends nobody gets more."""
DESTROYED_SHOWN_S = 3.0
_NEVER: tuple[str, ...] = ("/bin/sh", "-c", "sleep 86400")
"""What runs instead of a program that is to never answer."""

_log = logging.getLogger("mcpctld.localfly")


@dataclass(slots=True)
class Seat:
    """What there is of a machine beside its state. `changed` is set, and replaced, whenever that changes."""

    process: Process | None = None
    prepared: Prepared | None = None
    booting: trio.CancelScope | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    checks: Results = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """How this Fly behaves. Times in seconds."""

    cold_start_s: float = 0.0
    """What a boot takes before its process is started; a resume takes a tenth."""
    start_race_s: float = 0.0
    """How long a machine that has stopped is not to be started yet."""
    rate_limits: bool = False


class Supervisor:
    """All machines of a world; their tasks run in `nursery`."""

    def __init__(
        self, nursery: trio.Nursery, world: World, homes: Homes, settings: Settings, faults: Faults
    ) -> None:
        self._nursery = nursery
        self.world = world
        self.homes = homes
        self.settings = settings
        self.faults = faults
        self.limits = Limits()
        self.closing = False
        """What ends now was running, and is to run again next time."""
        self._seats: dict[str, Seat] = {}
        self._books: dict[str, LogBook] = {}

    # ---------------------------------------------------------------- what others ask of it

    def log(self, app: str, machine: str, provider: Provider, level: Level, message: str) -> None:
        """A line of an app's log."""
        found = self.world.apps.get(app)
        if found is None:
            return
        known = found.machines.get(machine)
        line = Line(
            id=time.time_ns(),
            message=message,
            level=level,
            instance=machine,
            region=known.region if known else "",
            provider=provider,
        )
        self.book(app).add(line)

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def book(self, app: str) -> LogBook:
        """The log of an app."""
        if app not in self._books:
            self._books[app] = LogBook(f"{self.world.app_folder(app)}/log.ndjson")
        return self._books[app]

    def seat(self, machine: Machine) -> Seat:
        """What there is of a machine beside its state."""
        return self._seats.setdefault(machine.id, Seat())

    def seat_of(self, machine_id: str) -> Seat | None:
        """The same by id; None for a machine of which there is nothing."""
        return self._seats.get(machine_id)

    def life(self, machine: Machine) -> Life:
        """What may happen to a machine."""
        return Life(machine, ids.ulid, self.settings.start_race_s)

    def count(self, action: str, identifier: str) -> None:
        """Raise 429 when this has been done too often, and limits are on."""
        if self.settings.rate_limits and self.limits.take(action, identifier, self.now()):
            raise ApiError(429, "rate limit exceeded")

    def act(self, app: App, machine: Machine, effect: Effect) -> None:
        """A machine has changed, and this is to happen now."""
        self._changed(app, machine)
        seat = self.seat(machine)
        match effect:
            case Boot(after_s):
                self._nursery.start_soon(self._run, app, machine, after_s)
            case Halt(signal, timeout_s):
                self._halt(machine, seat, signal, timeout_s)
            case Freeze():
                self._freeze(app, machine, seat)
            case Thaw():
                self._nursery.start_soon(self._thaw, app, machine)
            case Remove():
                self._nursery.start_soon(self._remove, app, machine)
            case None:
                pass

    async def end_app(self, app: App) -> None:
        """End all that runs of an app that is deleted, and wait for that."""
        for machine in app.machines.values():
            seat = self.seat(machine)
            machine.state, machine.then = "destroyed", "destroy"
            self._wake(seat)
            if seat.process is not None:
                seat.process.kill()
            elif seat.booting is not None:
                seat.booting.cancel()
        with trio.move_on_after(STOP_S):
            for machine in tuple(app.machines.values()):
                while self.seat(machine).process is not None:
                    await self.seat(machine).changed.wait()
        await trio.lowlevel.checkpoint()
        book = self._books.pop(app.name, None)
        if book is not None:
            book.close()

    def resume(self) -> None:
        """Let go on what ran when the state was written."""
        for app in tuple(self.world.apps.values()):
            for machine in tuple(app.machines.values()):
                if machine.state == "destroyed":
                    self.act(app, machine, Remove())
                else:
                    self.act(app, machine, self.life(machine).host_lost(self.now()))

    async def close(self) -> None:
        """End all processes; what they were is kept, so that they are started again next time."""
        async with trio.open_nursery() as nursery:
            for app in self.world.apps.values():
                for machine in app.machines.values():
                    process = self.seat(machine).process
                    if process is not None:
                        signal, bound_s = _stop_config(machine)
                        process.signal(signal)
                        nursery.start_soon(process.end, min(bound_s, LAST_STOP_S))
        for book in self._books.values():
            book.close()

    # ---------------------------------------------------------------- a machine's task

    async def _run(self, app: App, machine: Machine, after_s: float) -> None:
        await trio.lowlevel.checkpoint()
        effect: Effect = Boot(after_s)
        again = False
        try:
            while isinstance(effect, Boot):
                effect = await self._boot(app, machine, effect.after_s, again)
                again = True
        except Exception:  # a bug costs one machine and no other
            _log.exception(
                "localfly.machine_failed", extra={"app": app.name, "machine": machine.id}
            )
            effect = self._failed(app, machine, "a bug of localfly; its log says more")
        self.act(app, machine, effect)

    async def _boot(self, app: App, machine: Machine, after_s: float, again: bool) -> Effect:
        """Start its process and wait for its end."""
        await trio.lowlevel.checkpoint()
        life, seat = self.life(machine), self.seat(machine)
        if self.faults.of_machine(app.name, "stuck_created"):
            return None
        if not life.boot_begun(self.now()):
            return None
        self._changed(app, machine)
        with trio.CancelScope() as seat.booting:
            await trio.sleep(after_s + self.settings.cold_start_s + self._slowness(app))
            prepared = await self._prepare(app, machine, again)
        seat.booting = None
        if machine.then:  # it was stopped before it came to anything
            return self._ended(app, machine, (0, 0, False))
        if isinstance(prepared, CannotRun):
            return self._failed(app, machine, str(prepared))
        try:
            process = await self._start(app, machine, prepared)
        except CannotRun as exc:
            return self._failed(app, machine, str(exc))
        return await self._watch(app, machine, process, prepared)

    def _slowness(self, app: App) -> float:
        slow = self.faults.of_machine(app.name, "slow_start")
        return slow.seconds if slow else 0.0

    async def _prepare(self, app: App, machine: Machine, again: bool) -> Prepared | CannotRun:
        await trio.lowlevel.checkpoint()
        if self.faults.of_machine(app.name, "fails_to_start"):
            return CannotRun("a failure was asked for: fails_to_start")
        secrets = self.world.secret_values(app.name, machine.secrets_version)
        try:
            return await trio.to_thread.run_sync(
                lambda: self.homes.prepare(app.name, machine, secrets, again=again)
            )
        except CannotRun as exc:
            return exc

    async def _start(self, app: App, machine: Machine, prepared: Prepared) -> Process:
        silent = self.faults.of_machine(app.name, "never_answers")
        return await start_process(
            self._nursery,
            _NEVER if silent else prepared.argv,
            prepared.env,
            prepared.cwd,
            machine.memory_mb,
            lambda line: self.log(app.name, machine.id, "app", "info", line),
        )

    async def _watch(
        self, app: App, machine: Machine, process: Process, prepared: Prepared
    ) -> Effect:
        seat = self.seat(machine)
        seat.process, seat.prepared = process, prepared
        if machine.then:  # while it was being started
            process.kill()
        else:
            self.life(machine).booted(self.now())
            self._changed(app, machine)
            self.log(
                app.name, machine.id, "runner", "info", f"Machine started, process {process.pid}"
            )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checks.watch, machine, prepared.ports, seat.checks)
            end = await process.wait()
            nursery.cancel_scope.cancel()
        seat.process = seat.prepared = None
        seat.checks.clear()
        return None if self.closing else self._ended(app, machine, end)

    def _ended(self, app: App, machine: Machine, end: tuple[int, int, bool]) -> Effect:
        code, signal, oom = end
        requested = bool(machine.then)
        effect = self.life(machine).exited(self.now(), code, signal, oom=oom)
        self._changed(app, machine)
        self.log(
            app.name,
            machine.id,
            "runner",
            "info" if requested or not code else "error",
            f"Machine exited with code {code} (oom_killed={oom}, requested_stop={requested})",
        )
        return effect

    def _failed(self, app: App, machine: Machine, reason: str) -> Effect:
        self.life(machine).boot_failed(self.now(), reason)
        self._changed(app, machine)
        self.log(app.name, machine.id, "runner", "error", f"failed to launch: {reason}")
        return None

    # ---------------------------------------------------------------- effects

    def _halt(
        self, machine: Machine, seat: Seat, signal: str | None, timeout_s: float | None
    ) -> None:
        if seat.process is None:
            if seat.booting is not None:
                seat.booting.cancel()
            return
        if timeout_s == 0.0:
            seat.process.kill()
            return
        usual, usual_s = _stop_config(machine)
        seat.process.signal(signal or usual)
        bound_s = usual_s if timeout_s is None else timeout_s
        self._nursery.start_soon(self._kill_later, seat, seat.process, min(bound_s, LONGEST_STOP_S))

    async def _kill_later(self, seat: Seat, process: Process, bound_s: float) -> None:
        with trio.move_on_after(bound_s):
            while seat.process is process:
                await seat.changed.wait()
            await trio.lowlevel.checkpoint()
            return
        process.kill()

    def _freeze(self, app: App, machine: Machine, seat: Seat) -> None:
        if seat.process is not None:
            seat.process.freeze()
        self.life(machine).frozen(self.now())
        self._changed(app, machine)

    async def _thaw(self, app: App, machine: Machine) -> None:
        await trio.sleep(self.settings.cold_start_s / 10)
        seat = self.seat(machine)
        if machine.state == "starting" and seat.process is not None:
            seat.process.thaw()
            self.life(machine).thawed(self.now())
            self._changed(app, machine)

    async def _remove(self, app: App, machine: Machine) -> None:
        await trio.to_thread.run_sync(self.homes.remove, app.name, machine.id)
        await trio.sleep(DESTROYED_SHOWN_S)
        app.machines.pop(machine.id, None)
        self._wake(self._seats.pop(machine.id, Seat()))
        if self.world.apps.get(app.name) is app:
            self.world.touch(app.name)

    def _changed(self, app: App, machine: Machine) -> None:
        self._wake(self.seat(machine))
        if self.world.apps.get(app.name) is app:
            self.world.touch(app.name)

    def _wake(self, seat: Seat) -> None:
        seat.changed.set()
        seat.changed = trio.Event()


def _stop_config(machine: Machine) -> tuple[str, float]:
    """By which signal it is ended, and how many seconds it gets."""
    stop = machine.config.get("stop_config") or {}
    return stop.get("signal") or "SIGINT", parse_duration(stop.get("timeout"), STOP_S)
