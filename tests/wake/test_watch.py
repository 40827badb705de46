"""Watches against a Machines API in memory, in virtual time: what is asked of it, and when who waits may go on."""

from pathlib import Path

import pytest
import trio
import trio.testing

from mcpctld.errors import Denied, Unreachable, UserError
from mcpctld.model import FlySpec
from mcpctld.wake.machines import Failed
from mcpctld.wake.states import Action, Failure, State
from wake.double import BEGAN, Double, server, world
from wake.simulated import SimulatedMachine

IDLE_S = 300.0


@pytest.fixture
def folder(tmp_path: Path, instant_threads: None) -> str:
    return str(tmp_path)


async def test_nothing_is_asked_of_a_fly_that_nobody_uses(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:
        await trio.sleep(86400)
        assert w.fly.asked == []
        assert w.made == 0


async def test_thirty_clients_wake_it_once_and_go_on_when_it_is_up(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:
        held: list[float] = []

        async def client() -> None:
            w.watch().attached("editor")
            held.append(await w.call())

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(client)
        assert w.fly.count(Action.START) == 1
        cold_start_s = w.fly.of("time").cold_start_s
        assert all(cold_start_s <= seconds <= cold_start_s + 1 for seconds in held)
        assert w.kinds() == ["machine.starting", "machine.started", "machine.answered"]
        assert w.records.times("time").median_s == pytest.approx(2.3, abs=0.2)


async def test_thirty_servers_start_once_each_within_the_limits(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    servers = [server(f"app-{nth}") for nth in range(30)]
    async with world(folder, *servers) as w:
        async with trio.open_nursery() as nursery:
            for one in servers:
                nursery.start_soon(w.call, 0.1, "editor", one.name)
        machines = w.fly.machines.values()
        assert [machine.starts for machine in machines] == [1] * 30
        assert not any(b.overdrawn for machine in machines for b in machine.budget.values())


async def test_it_sleeps_while_an_idle_client_stays_and_wakes_for_the_next_call(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:
        w.watch().attached("editor")
        await w.call()
        await w.until(lambda: w.watch().plan.state is State.ASLEEP)
        assert w.rests == ["time"]
        assert w.fly.of("time").state(trio.current_time()) is State.ASLEEP
        await trio.sleep(3600)
        asked = len(w.fly.asked)
        await trio.sleep(3600)
        assert len(w.fly.asked) == asked  # at rest, nothing is asked
        assert await w.call() < 4
        assert w.fly.count(Action.START) == 2
        assert w.kinds()[-4:] == [
            "machine.suspended", "machine.starting", "machine.started", "machine.answered",
        ]  # fmt: skip


async def test_the_ledger_counts_what_an_observer_of_the_machine_sees(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(), server("other")) as w:
        for nth in range(5):
            await w.call(who=f"client {nth % 2}")
            await trio.sleep(1000)
        seen = w.fly.of("time").awake_s
        (cost,) = w.engine.cost()["servers"]
        assert not cost["awake"]
        assert sum(cost["total_s"].values()) == pytest.approx(seen, rel=0.02)
        assert cost["today_s"] == cost["month_s"] == cost["total_s"]
        assert cost["total_s"]["client 0"] > cost["total_s"]["client 1"] > IDLE_S


async def test_what_was_learned_outlives_the_daemon(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    double = Double()
    async with world(folder, server(), fly=double) as w:
        await w.call(who="editor")
        spent = w.engine.cost()["servers"][0]["total_s"]["editor"]
    async with world(folder, server(), fly=double) as w:
        assert w.records.times("time").median_s is not None
        await w.until(lambda: w.watch().plan.state is State.ASLEEP)  # it was left awake
        (cost,) = w.engine.cost()["servers"]
        assert cost["total_s"]["editor"] == pytest.approx(spent, abs=0.1)
        assert double.count(Action.SUSPEND) == 1


async def test_a_damaged_record_begins_anew(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    (Path(folder) / "wake.json").write_text('{"accounts": 7')
    async with world(folder, server()) as w:
        assert w.engine.cost() == {"servers": []}
        await w.call()
    assert '"time"' in (Path(folder) / "wake.json").read_text()
    assert (Path(folder) / "wake.json").stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("failure", "times", "within_s"),
    [
        (Failure.STILL_ACTIVE, 5, 9),
        (Failure.RATE_LIMITED, 2, 8),
        (Failure.LEASE_HELD, 2, 8),
        (Failure.CAPACITY, 2, 13),
        (Failure.UNAVAILABLE, 2, 8),
        (Failure.REFUSED, 1, 12),
    ],
)
async def test_a_start_that_fails_is_made_again(
    folder: str,
    autojump_clock: trio.testing.MockClock,
    failure: Failure,
    times: int,
    within_s: float,
) -> None:
    async with world(folder, server()) as w:
        w.fly.fails[Action.START] = [Failed(failure, "no")] * times
        assert await w.call() <= within_s
        assert w.fly.count(Action.START) == times + 1
        assert w.fly.of("time").starts == 1
        assert w.watch().trouble is None


async def test_a_start_whose_answer_was_lost_is_not_made_twice(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:
        await trio.sleep(1)

        async def lose(app: str, machine: str) -> bool:
            w.fly.of(app).start(trio.current_time())
            raise Failed(Failure.UNAVAILABLE, "connection reset")

        w.fly.start = lose  # type: ignore[method-assign]
        assert await w.call() < 5
        assert w.fly.of("time").starts == 1


@pytest.mark.parametrize("failure", [Failure.DENIED, Failure.NOT_FOUND])
async def test_what_will_not_get_better_holds_nobody(
    folder: str, autojump_clock: trio.testing.MockClock, failure: Failure
) -> None:
    async with world(folder, server()) as w:
        w.fly.fails[Action.LOOK] = [Failed(failure, "the token may not")] * 100
        assert await w.call() < 1
        info = w.engine.describe("time")
        assert info is not None
        assert info["trouble"] == "the token may not"
        await trio.sleep(IDLE_S)
        assert w.kinds().count("machine.failed") == 1  # told once, however often it is met


async def test_without_a_token_calls_go_on_and_the_reason_is_shown(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:

        async def none(fly: FlySpec) -> Double:
            raise Denied("there is no Fly token")

        w.engine._machines = none
        w.watch()._machines = none
        assert await w.call() < 1
        with pytest.raises(Unreachable, match="cannot wake time: there is no Fly token"):
            await w.engine.wake("time")


async def test_an_api_that_does_not_answer_holds_nobody_for_ever(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server()) as w:
        w.fly.hangs = set(Action)
        assert await w.call() < 110  # three requests of 30 s, and the pauses between
        with pytest.raises(Unreachable, match="the Machines API does not answer"):
            await w.engine.wake("time")


async def test_a_machine_that_never_comes_up_is_given_up(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    fly = Double({"time": SimulatedMachine(cold_start_s=1e6)})
    async with world(folder, server(), fly=fly) as w:
        assert await w.call() < 400
        assert fly.of("time").starts == 1


# ------------------------------------------------------------ by name, by the clock, by the configuration


@pytest.mark.parametrize("policy", ["attached", "always", "never"])
async def test_waking_by_name_whatever_the_policy(
    folder: str, autojump_clock: trio.testing.MockClock, policy: str
) -> None:
    async with world(folder, server(policy=policy)) as w:
        woken = await w.engine.wake("time")
        assert 2 <= woken["seconds"] < 4
        assert woken["machine"]["state"] == "started"
        assert woken["machine"]["checks"] == {"health": "passing"}
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE


async def test_what_has_no_machine_cannot_be_woken(folder: str) -> None:
    async with world(folder, server()) as w:
        with pytest.raises(UserError, match="other has no machine to wake"):
            await w.engine.wake("other")


async def test_an_hour_of_wake_at_finds_it_awake(
    folder: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    # BEGAN is 2027-01-15, a Friday, 08:00 UTC
    async with world(folder, server(wake_at=["09:00"])) as w:
        for seconds in (4.0, 5.0, 6.0):
            w.records.times("time").learn(seconds)
        info = w.engine.describe("time")
        assert info is not None
        assert info["next_wake_at"] == BEGAN + 3600
        await trio.sleep(3600 - 7)
        assert w.fly.count(Action.START) == 0
        await trio.sleep(7)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        await trio.sleep(IDLE_S - 1)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        await trio.sleep(30)
        assert w.fly.of("time").state(trio.current_time()) is State.ASLEEP
        assert w.engine.cost()["servers"][0]["total_s"].keys() == {"schedule"}
        await trio.sleep(86400)
        assert w.fly.count(Action.START) == 2  # the next morning, and not in between


async def test_always_is_started_again_when_something_stops_it(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(policy="always")) as w:
        await trio.sleep(1000)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        w.fly.of("time").stop_by_itself(trio.current_time())
        await trio.sleep(70)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        assert w.fly.count(Action.SUSPEND) == 0


async def test_never_is_left_alone_but_let_go(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(policy="never")) as w:
        w.watch().attached("editor")
        assert await w.call() == 0
        await trio.sleep(1000)
        assert w.fly.asked == []
        assert w.rests == ["time"]


async def test_another_policy_holds_at_once_and_a_server_that_is_gone_holds_nobody(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(policy="always")) as w:
        await trio.sleep(1000)
        w.engine.apply({"time": server(idle_timeout_s=10.0)})
        await trio.sleep(30)
        assert w.fly.of("time").state(trio.current_time()) is State.ASLEEP
        watch, released = w.watch(), trio.Event()
        watch.on_release(released.set)
        w.fly.hangs = set(Action)
        watch.begin("editor")
        assert watch.holds
        w.engine.apply({})
        with trio.fail_after(1):
            await released.wait()
        assert not watch.holds
        assert w.engine.watch("time") is None


async def test_a_restart_is_seen(folder: str, autojump_clock: trio.testing.MockClock) -> None:
    async with world(folder, server(policy="always")) as w:
        await trio.sleep(100)
        w.fly.started_at["time"] = BEGAN + 90
        await trio.sleep(100)
        assert w.kinds().count("machine.restarted") == 1
        info = w.engine.describe("time")
        assert info is not None
        assert info["restarts"] == 1


async def test_what_a_client_configuration_gains_is_woken_ahead(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(), server("quiet", policy="never")) as w:
        for name in ("time", "quiet", "unknown"):
            w.engine.gained(name)
        await trio.sleep(10)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        assert {app for _, _, app in w.fly.asked} == {"time"}


async def test_what_no_client_configuration_names_any_more_is_not_kept_warm(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with world(folder, server(policy="always")) as w:
        await trio.sleep(IDLE_S * 3)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
        w.engine.lost("time")
        w.engine.lost("unknown")
        await trio.sleep(IDLE_S * 3)
        assert w.fly.of("time").state(trio.current_time()) is State.ASLEEP
        w.engine.gained("time")
        await trio.sleep(IDLE_S * 3)
        assert w.fly.of("time").state(trio.current_time()) is State.AWAKE
