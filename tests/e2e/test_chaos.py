"""Fifty sessions under continuous calls while everything beneath them breaks.

`MCPCTL_CHAOS_S` sets how long, `MCPCTL_CHAOS_SEED` what happens. Every request must be answered exactly once; the one
message that a daemon writes at the instant of a `kill -9` may come broken or twice.
"""

import collections
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from e2e import rawclient
from e2e.rawclient import RawClient
from e2e.stage import Stage
from harness import FIXTURES, Served, steady_port, wait_until
from mcpctl import resuming

CHAOS_S = float(os.environ.get("MCPCTL_CHAOS_S", "45"))
SEED = int(os.environ.get("MCPCTL_CHAOS_SEED", "20260728"))
ANSWER_BOUND_S = 75.0
HTTP_SESSIONS, MODERN_SESSIONS, LOCAL_SESSIONS = 35, 10, 5
MAX_GROWTH_KIB = 24 * 1024
MOST_STRIKES = resuming.MOST - 2
"""Within `resuming.WITHIN_S`: stubs rightly give up on a daemon that goes away more often than that."""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "chaos", "version": "1"},
}

pytestmark = pytest.mark.slow


@dataclasses.dataclass(slots=True)
class Caller:
    """A client that calls without pause, and counts what comes back."""

    name: str
    client: RawClient
    modern: bool
    dice: random.Random
    asked: int = 0
    open: dict[int, str] = dataclasses.field(default_factory=dict)
    """What each request without an answer was, by number."""
    results: int = 0
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    strange: list[bytes] = dataclasses.field(default_factory=list)
    """Lines that are broken, or answer what was answered already."""
    answered: trio.Event = dataclasses.field(default_factory=trio.Event)
    ended: bool = False

    async def ask(self, method: str, **params: Any) -> int:
        """A request; its number."""
        self.asked += 1
        if self.modern:
            params["_meta"] = META
        self.open[self.asked] = f"{method} {params.get('name', '')} at {trio.current_time():.2f}"
        await self.client.request(self.asked, method, params)
        return self.asked

    async def call_on_and_on(self, stop: trio.Event) -> None:
        """A few requests in flight at any time."""
        while not stop.is_set():
            while len(self.open) >= 3 and not stop.is_set():
                with trio.move_on_after(0.2):
                    await self.answered.wait()
            kind = self.dice.choice(("echo", "add", "list", "long"))
            if kind == "list":
                await self.ask("tools/list")
            elif kind == "long":
                await self.ask("tools/call", name="echo", arguments={"text": "x" * 20_000})
            elif kind == "add":
                await self.ask("tools/call", name="add", arguments={"a": 1, "b": self.asked})
            else:
                await self.ask("tools/call", name="echo", arguments={"text": "y"})

    async def read(self) -> None:
        """Every line that comes, until the end."""
        rawclient_line = self.client.line
        while True:
            try:
                line = await rawclient_line()
            except rawclient.EndOfOutputError:
                self.ended = True
                return
            except trio.TooSlowError:
                continue
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self.strange.append(line)
            return
        if "method" in message:
            return
        if self.open.pop(message["id"], None) is None:
            self.strange.append(line)
            return
        if "result" in message:
            self.results += 1
        else:
            self.errors[message["error"]["message"]] += 1
        self.answered.set()
        self.answered = trio.Event()


class Storm:
    """The servers, the daemon, and what happens to them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.dice = random.Random(SEED)
        self.kills = 0
        self.strikes: collections.deque[float] = collections.deque(maxlen=MOST_STRIKES)
        self.happened: collections.Counter[str] = collections.Counter()
        self.house = self._start_house(steady_port())
        port = str(self.house.port)
        gate = [sys.executable, str(FIXTURES / "chaos_gate.py"), str(SEED), f"127.0.0.1:{port}"]
        self.gate = stage.home.serve(*gate)

    def _start_house(self, port: int) -> Served:
        house = [sys.executable, str(FIXTURES / "house.py"), "http"]
        return self.stage.home.serve(*house, env={"PORT": str(port)})

    async def rage(self, seconds: float) -> None:
        """Break things for so long."""
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await trio.sleep(self.dice.uniform(0.5, 3.0))
            what = self.dice.choice(("kill -9", "kill -9", "SIGTERM", "server", "nothing"))
            if what in ("kill -9", "SIGTERM") and not self._may_strike():
                what = "nothing"
            self.happened[what] += 1
            print(f"{trio.current_time():.2f} {what}")
            if what == "server":
                await trio.to_thread.run_sync(self._restart_house, self.dice.uniform(0, 1.5))
            elif what != "nothing":
                self._strike(signal.SIGKILL if what == "kill -9" else signal.SIGTERM)

    def _may_strike(self) -> bool:
        """Whether the daemon has not gone too often lately; counts this time."""
        now = trio.current_time()
        strikes = self.strikes
        if len(strikes) == MOST_STRIKES and now - strikes[0] < resuming.WITHIN_S:
            return False
        strikes.append(now)
        return True

    def _strike(self, number: signal.Signals) -> None:
        for daemon in self.stage.home.daemons():
            self.kills += number is signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, number)

    def _restart_house(self, pause_s: float) -> None:
        self.house.process.kill()
        self.house.process.wait()
        time.sleep(pause_s)
        self.house = self._start_house(self.house.port)

    def calm(self) -> None:
        """No more faults."""
        self.gate.process.send_signal(signal.SIGUSR1)


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.asynccontextmanager
async def callers(stage: Stage) -> AsyncIterator[list[Caller]]:
    """All of them, attached and introduced."""
    made: list[Caller] = []
    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        for number in range(HTTP_SESSIONS + MODERN_SESSIONS + LOCAL_SESSIONS):
            modern = HTTP_SESSIONS <= number < HTTP_SESSIONS + MODERN_SESSIONS
            server = "remote" if number < HTTP_SESSIONS + MODERN_SESSIONS else "local"
            opened = stage.attached(server) if modern else stage.session(server)
            client = await stack.enter_async_context(opened)
            caller = Caller(f"{server}-{number}", client, modern, random.Random(SEED + number))
            made.append(caller)
            nursery.start_soon(caller.read)
        yield made
        nursery.cancel_scope.cancel()


async def settle(everybody: list[Caller]) -> None:
    """Wait until nobody waits for an answer."""
    with trio.move_on_after(ANSWER_BOUND_S):
        for caller in everybody:
            while caller.open and not caller.ended:
                with trio.move_on_after(0.2):
                    await caller.answered.wait()


async def test_every_call_is_answered_once_whatever_breaks(stage: Stage) -> None:
    storm = Storm(stage)
    stage.home.settings(drain_timeout_s=2.0)
    stage.remote(storm.gate.base + "/mcp", connect_timeout_s=15.0)
    stage.home.add("local", command=[sys.executable, str(FIXTURES / "house.py"), "stdio"])
    storm.calm()  # while everybody introduces themselves
    async with callers(stage) as everybody:
        storm.gate.process.send_signal(signal.SIGUSR2)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for caller in everybody:
                nursery.start_soon(caller.call_on_and_on, stop)
            await storm.rage(CHAOS_S)
            storm.calm()
            stop.set()
        await settle(everybody)

        report(everybody, storm)
        check(everybody, storm)
        await all_is_well(stage, everybody)
    await nothing_is_left(stage)


def report(everybody: list[Caller], storm: Storm) -> None:
    errors: collections.Counter[str] = sum((one.errors for one in everybody), collections.Counter())
    print(dict(storm.happened), sum(one.asked for one in everybody), "asked", end=", ")
    print(sum(one.results for one in everybody), "results,", sum(errors.values()), "errors")
    for one in everybody:
        if one.open or one.strange:
            print(one.name, one.open, [line[:80] for line in one.strange])
    for text, count in errors.most_common(12):
        print(f"  {count:6} {text[:150]}")


def check(everybody: list[Caller], storm: Storm) -> None:
    """Every request has one answer, but for what the daemons wrote when they were killed."""
    assert [one.name for one in everybody if one.ended] == []
    unanswered = {one.name: one.open for one in everybody if one.open}
    strange = [line[:100] for one in everybody for line in one.strange]
    assert unanswered == {}
    assert len(strange) <= storm.kills, strange
    assert sum(one.results for one in everybody) > 0.5 * sum(one.asked for one in everybody)


async def all_is_well(stage: Stage, everybody: list[Caller]) -> None:
    """Every session works, and a daemon under load neither grows nor gathers descriptors."""
    sizes = []
    for _ in range(3):
        for _ in range(20):
            for caller in everybody:
                await caller.ask("tools/call", name="echo", arguments={"text": "z" * 20_000})
            await settle(everybody)
        (daemon,) = stage.home.daemons()
        sizes.append((memory_kib(daemon.pid), open_files(daemon.pid)))
    assert [one.name for one in everybody if one.open or one.ended] == []
    (first, files), *_, (last, more_files) = sizes
    assert last - first < MAX_GROWTH_KIB, sizes
    assert more_files <= files + 10, sizes
    sessions = stage.home.api("GET", "/v1/status")[1]["sessions"]
    assert len(sessions) == len(everybody)


async def nothing_is_left(stage: Stage) -> None:
    """With the clients gone there is one daemon, without sessions, and nothing else."""

    def only_the_daemon() -> bool:
        return all(process.is_daemon for process in stage.home.processes())

    await trio.to_thread.run_sync(
        wait_until, only_the_daemon, "the end of all but the daemon", 20.0
    )
    assert stage.home.api("GET", "/v1/status")[1]["sessions"] == []
