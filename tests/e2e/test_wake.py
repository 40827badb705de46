"""Machines that are real processes behind a real Machines API, a real daemon, and clients that notice nothing."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

from e2e import wrapped
from e2e.rawclient import RawClient
from e2e.stage import Stage
from fixtures import fakefly
from fixtures.fakefly import FakeFly, FakeMachine
from harness import FIXTURES, POLL_S, program, steady_port, until

IDLE_S = 1.0
TINY = (sys.executable, "-I", "-S", str(FIXTURES / "tiny.py"))


def tiny(fly: FakeFly, stage: Stage, name: str = "time", **fields: Any) -> FakeMachine:
    """A server whose machine is a small process."""
    port = steady_port()
    machine = fly.add(name, [*TINY, str(port)], cold_start_s=fields.pop("cold_start_s", 0.3))
    configure(stage, name, port, **fields)
    return machine


def configure(stage: Stage, name: str, port: int, path: str = "/mcp", **fields: Any) -> None:
    table = {"app": name, "at": "local", "idle_timeout_s": IDLE_S, **fields}
    stage.home.add(name, url=f"http://127.0.0.1:{port}{path}", fly=table)


def wrap(fly: FakeFly, stage: Stage, name: str = "time", **fields: Any) -> FakeMachine:
    """A server whose machine runs `mcpctl wrap` around a stdio server."""
    port = steady_port()
    flags = ("--port", str(port), "--bind", "127.0.0.1", "--")
    machine = fly.add(name, [program("mcpctl"), "wrap", *flags, *wrapped.parrot(stage.home)])
    configure(stage, name, port, **fields)
    return machine


async def state_of(stage: Stage, name: str = "time") -> dict[str, Any]:
    """The server's machine, as the control API tells it."""
    _, info = await trio.to_thread.run_sync(stage.home.api, "GET", f"/v1/servers/{name}")
    machine: dict[str, Any] = info["machine"]
    return machine


async def cost_of(stage: Stage, name: str = "time") -> dict[str, Any]:
    _, cost = await trio.to_thread.run_sync(stage.home.api, "GET", "/v1/cost")
    return next(row for row in cost["servers"] if row["server"] == name)


async def text_of(client: RawClient, ident: Any, **arguments: Any) -> Any:
    answer = await client.call(ident, "echo", **arguments)
    return json.loads(answer["result"]["content"][0]["text"])


@pytest.mark.slow
async def test_it_sleeps_under_an_idle_client_and_the_next_call_wakes_it(stage: Stage) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = tiny(fly, stage)
        stage.home.start_daemon()
        async with stage.session("time") as client:
            for turn in range(1, 3):
                assert await text_of(client, turn, turn=turn) == {"turn": turn}
                assert machine.starts == turn
                await until(lambda: machine.state == "stopped", "asleep")
                await until_state(stage, "stopped")
            assert fly.asked("start") == 2
            told = await state_of(stage)
            assert told["wake_p50_s"] is not None
            assert told["checks"] == {"alive": "passing"}
            await client.finish()
        await trio.sleep(0.5)
        assert machine.starts == 2  # nor does the end of a session wake anything


async def until_state(stage: Stage, state: str, name: str = "time") -> None:
    with trio.fail_after(30):
        while (await state_of(stage, name))["state"] != state:  # noqa: ASYNC110 -- another process
            await trio.sleep(POLL_S)


@pytest.mark.slow
async def test_a_suspended_machine_goes_on_with_the_session_that_it_had(stage: Stage) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = wrap(fly, stage)
        machine.suspendable = True
        stage.home.start_daemon()
        async with stage.session("time") as client:
            await client.ask(1, "tools/list")
            assert machine.process is not None
            pid = machine.process.pid
            await until(lambda: machine.state == "suspended", "asleep")
            assert "result" in await client.ask(2, "anything")
            assert machine.process.pid == pid
            assert machine.starts == 2
            assert fly.asked("stop") == 0
            assert stage.logged("upstream.session_renewed") == []
            await client.finish()


@pytest.mark.slow
async def test_a_stopped_machine_has_its_session_made_anew_and_the_client_hears_nothing_of_it(
    stage: Stage,
) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = wrap(fly, stage, sleep="stop")
        stage.home.start_daemon()
        async with stage.session("time") as client:
            await client.ask(1, "tools/list")
            await until(lambda: machine.state == "stopped", "asleep")
            assert "result" in await client.ask(2, "anything")
            assert machine.starts == 2
            assert fly.asked("suspend") == 0
            assert len(stage.logged("upstream.session_renewed")) == 1
            await client.finish()


@pytest.mark.slow
async def test_the_ledger_agrees_with_who_watches_the_processes(stage: Stage) -> None:
    async with fakefly.serve(stage.home) as fly, trio.open_nursery() as nursery:
        machine = tiny(fly, stage, idle_timeout_s=8.0, cold_start_s=1.0)
        observed: list[float] = []
        nursery.start_soon(observe, lambda: machine.process, observed)
        stage.home.start_daemon()
        async with stage.session("time") as client:
            await text_of(client, 1)
            await until(lambda: machine.state == "stopped", "asleep")
            await until_state(stage, "stopped")
            await client.finish()
        cost = await cost_of(stage)
        (lived,) = observed
        assert sum(cost["total_s"].values()) == pytest.approx(lived, rel=0.02)
        assert list(cost["total_s"]) == ["raw"]
        assert not cost["awake"]
        nursery.cancel_scope.cancel()


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/exe")


async def observe(process: Callable[[], Any], lives: list[float]) -> None:
    """Measure how long each process lives, from outside: by what /proc shows."""
    while True:
        while (found := process()) is None:  # noqa: ASYNC110 -- another process has no event
            await trio.sleep(POLL_S)
        began = trio.current_time()
        while alive(found.pid):  # noqa: ASYNC110 -- another process has no event
            await trio.sleep(POLL_S)
        lives.append(trio.current_time() - began)


async def meet(stage: Stage, name: str) -> None:
    """A client that looks what there is, and goes."""
    async with stage.session(name) as client:
        await client.ask(1, "tools/list")
        await client.finish()


@pytest.mark.slow
async def test_thirty_sleeping_servers_are_started_once_each_for_thirty_clients(
    stage: Stage,
) -> None:
    names = [f"app-{nth}" for nth in range(30)]
    async with fakefly.serve(stage.home) as fly:
        for name in names:
            tiny(fly, stage, name, cold_start_s=0.0)
        stage.home.start_daemon()
        async with trio.open_nursery() as nursery:  # what they say is known from before
            for name in names:
                nursery.start_soon(meet, stage, name)
        await until(lambda: all(m.state == "stopped" for m in fly.machines.values()), "asleep")
        for machine in fly.machines.values():
            machine.cold_start_s = 2.0
        seen = len(fly.api.seen)
        early: list[bool] = []

        async def attach(name: str) -> None:
            async with stage.attached(name) as client:
                assert "result" in await client.initialize()
                early.append(fly.machines[name].starts == 1)
                assert await text_of(client, 1, name=name) == {"name": name}
                await client.finish()

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(attach, name)
        assert early.count(True) == 30  # answered before the machine was up
        assert [machine.starts for machine in fly.machines.values()] == [2] * 30
        starts = [e for e in fly.api.seen[seen:] if e.target.endswith("/start")]
        assert len(starts) == 30


async def test_wake_and_status_tell_what_a_machine_does(stage: Stage) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = tiny(fly, stage, policy="never")
        stage.home.start_daemon()
        woken = await stage.home.ask("wake", "time")
        assert woken.code == 0, woken.err
        assert woken.out.startswith(f"time is awake: time {machine.id}, ")
        assert machine.state == "started"
        status = await stage.home.ask("status")
        assert "time (local)  started  never" in status.out
        cost = await stage.home.ask("status", "--cost")
        assert "mcpctl wake" in cost.out
        unknown = await stage.home.ask("wake", "tim")
        assert unknown.code == 4
        assert "did you mean" in unknown.err


FAULTS: list[Any] = [
    pytest.param([(429, {"error": "rate limit exceeded"})], id="429"),
    pytest.param([(500, {"error": "internal"})], id="500"),
    pytest.param([(409, {"error": "machine ID x lease currently held by y"})], id="lease"),
    pytest.param([(412, {"error": "failed_precondition: machine still active"})] * 2, id="412"),
    pytest.param(
        [(422, {"error": "no room", "status": "insufficient_capacity"})], id="no capacity"
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("refusals", FAULTS)
async def test_a_start_that_is_refused_for_a_while_delays_the_call_and_no_more(
    stage: Stage, refusals: list[tuple[int, dict[str, Any]]]
) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = tiny(fly, stage)
        fly.refusals["start"] = list(refusals)
        stage.home.start_daemon()
        async with stage.session("time") as client:
            assert await text_of(client, 1, x=1) == {"x": 1}
            assert machine.starts == 1
            assert fly.asked("start") == len(refusals) + 1
            assert len(stage.logged("machine.failed")) == 1
            await client.finish()


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        ("token", "check the token"),
        ("no fly", "mcpctl localfly start"),
        ("no machine", "has no machine"),
    ],
)
async def test_what_is_wrong_with_the_api_is_said(stage: Stage, break_it: str, says: str) -> None:
    async with fakefly.serve(stage.home) as fly:
        tiny(fly, stage)
        place = stage.home.state_dir / "localfly" / "localfly.json"
        if break_it == "token":
            place.write_text(place.read_text().replace(fakefly.TOKEN, "fo1_other"))
        elif break_it == "no fly":
            place.unlink()
        else:
            fly.api.handlers["GET"] = none
        stage.home.start_daemon()
        asked = await stage.home.ask("wake", "time")
        assert asked.code == 6
        assert asked.err.startswith("mcpctl: cannot wake time: ")
        assert says in asked.err
        assert says in (await state_of(stage))["trouble"]
        assert fakefly.TOKEN not in asked.err
        log = stage.home.log_file.read_text()
        assert "fo1_" not in log


async def none(exchange: Any) -> None:
    await exchange.json([])


@pytest.mark.slow
async def test_the_next_daemon_goes_on_counting(stage: Stage) -> None:
    async with fakefly.serve(stage.home) as fly:
        machine = tiny(fly, stage, idle_timeout_s=60.0)
        stage.home.start_daemon()
        async with stage.session("time") as client:
            await text_of(client, 1)
            await trio.to_thread.run_sync(stage.home.stop_daemon)
            with contextlib.suppress(Exception):
                await client.finish()
        kept = json.loads((stage.home.state_dir / "wake.json").read_text())
        assert kept["accounts"]["time"]["since"] is not None
        stage.home.start_daemon()
        await until_state(stage, "started")  # found out, for it was awake before
        assert (await cost_of(stage))["awake"]
        assert machine.starts == 1
