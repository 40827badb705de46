"""Requests that wait: for a machine that starts, for room under a hard limit; and what becomes of hopeless ones."""

import functools

import pytest
import trio

from localfly.edge.town import Answer, Town, Visit, ask, calling, echo, open_town, request
from mcpctld.localfly.edge.holding import Patience
from mcpctld.localfly.fleet import Refused


async def ask_many(fleet: Town, count: int, **fields: str) -> list[Answer]:
    """Requests at once."""
    answers: list[Answer] = []

    async def one() -> None:
        answers.append(await ask(fleet, **fields))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return answers


def roomy(**settings: object) -> dict[str, object]:
    return {"concurrency": {"type": "connections", "soft_limit": 100, **settings}}


@pytest.mark.parametrize("state", ["stopped", "suspended", "suspending"])
async def test_forty_requests_wait_for_one_start(autojump_clock, state):
    async with open_town() as fleet:
        machine = await fleet.add_app().add(
            "m1", state=state, cold_start_s=2, silent_s=3, **roomy()
        )
        answers = await ask_many(fleet, 40)
        assert [answer.status for answer in answers] == [200] * 40
        assert machine.starts == 1
        assert 5 <= trio.current_time() <= 6.1  # no later than a pause between two knocks
        assert len(fleet.said("[PC01]")) == 1


async def test_thirty_machines_start_at_once_each_once(autojump_clock):
    """And every request has its answer a second after the cold start at the latest."""
    async with open_town() as fleet:
        names = [f"app{number}" for number in range(30)]
        settings = {"state": "stopped", "cold_start_s": 2}
        machines = [await fleet.add_app(name).add(f"m-{name}", **settings) for name in names]
        async with trio.open_nursery() as nursery:
            for name in names:
                for _ in range(2):
                    nursery.start_soon(functools.partial(ask, fleet, host=f"{name}.localhost"))
        assert trio.current_time() <= 3
        assert [(machine.starts, machine.visits) for machine in machines] == [(1, 2)] * 30


async def test_a_machine_that_fails_says_why(autojump_clock):
    async with open_town() as fleet:
        refused = Refused(412, "machine is failed: no such image")
        machine = await fleet.add_app().add("m1", state="stopped", refusals=[refused])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_many, fleet, 1)
            await trio.sleep(0.1)
            machine.state = "failed"
            answer = await ask(fleet)
        assert answer.status == 503
        assert fleet.said("the machine is failed (machine is failed: no such image)")
        assert trio.current_time() < 6


async def test_a_start_that_somebody_else_has_begun_is_waited_for(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="starting")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_many, fleet, 3)
            await trio.sleep(10)
            machine.state = "started"
            await fleet.launch(machine)
        assert (machine.starts, machine.visits) == (0, 3)


async def test_a_start_goes_on_when_its_request_has_gone(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="stopped", cold_start_s=5)
        async with calling(fleet) as caller:
            await caller.send(request())
            await trio.sleep(1)
        assert machine.starts == 1
        await trio.sleep(5)
        assert (machine.state, machine.visits) == ("started", 0)
        assert (await ask(fleet)).status == 200
        assert machine.starts == 1


@pytest.mark.parametrize(
    "refused",
    [
        Refused(412, "failed_precondition: machine still active, refusing to start"),
        Refused(429, "rate limit exceeded"),
        Refused(409, "machine ID m1 lease currently held by x@tokens.fly.io"),
    ],
)
async def test_a_start_that_is_refused_is_tried_again(autojump_clock, refused):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="stopped", refusals=[refused] * 5)
        assert (await ask(fleet)).status == 200
        assert machine.starts == 6
        assert fleet.said(f'[PM01] machines API returned an error: "{refused}"') != []


async def test_a_machine_that_ends_again_and_again_is_given_up(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="stopped", crashes=100)
        answers = await ask_many(fleet, 5)
        assert [answer.status for answer in answers] == [503] * 5
        assert b"started, and is stopped again" in answers[0].body
        assert machine.starts == 3
        assert fleet.said("[PM08]")


async def test_a_machine_that_never_listens_is_given_up_in_the_end(autojump_clock):
    async with open_town(patience=Patience(hold_s=30)) as fleet:
        await fleet.add_app().add("m1", state="stopped", silent_s=1000)
        answer = await ask(fleet)
        assert answer.status == 503
        assert trio.current_time() == pytest.approx(30, abs=2)
        assert fleet.said("[PC01] port 8080 is closed")


@pytest.mark.parametrize(
    ("state", "settings", "reason"),
    [
        ("stopped", {"autostart": False}, b"autostart is off"),
        ("stopped", {"config": {"disable_machine_autostart": True}}, b"autostart is off"),
        ("stopped", {"cordoned": True}, b"no machine that could take"),
        ("started", {"cordoned": True}, b"no machine that could take"),
        (None, {}, b"no machine that could take"),
    ],
)
async def test_what_is_hopeless_is_told_soon(autojump_clock, state, settings, reason):
    async with open_town() as fleet:
        app = fleet.add_app()
        if state is not None:
            await app.add("m1", state=state, **settings)
        answer = await ask(fleet)
        assert answer.status == 503
        assert reason in answer.body
        assert trio.current_time() < 10


async def test_a_machine_that_somebody_creates_meanwhile_gets_the_request(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_many, fleet, 1)
            await trio.sleep(3)
            machine = await app.add("m1")
        assert machine.visits == 1


async def test_a_leased_machine_is_started_when_the_lease_ends(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="stopped", lease_holder="deployer")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_many, fleet, 2)
            await trio.sleep(20)
            assert machine.starts == 0
            machine.lease_holder = ""
        assert (machine.starts, machine.visits) == (1, 2)


async def test_a_machine_that_is_being_stopped_is_started_when_it_is(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", state="stopping")
        machine.port = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_many, fleet, 2)
            await trio.sleep(4)
            machine.end("stopped")
        assert (machine.starts, machine.visits) == (1, 2)


# ---------------------------------------------------------------- limits


async def slow(visit: Visit) -> None:
    await trio.sleep(1)
    await echo(visit)


async def test_above_the_hard_limit_requests_wait_in_a_queue(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", slow, **roomy(soft_limit=2, hard_limit=3))
        answers = await ask_many(fleet, 12)
        assert [answer.status for answer in answers] == [200] * 12
        assert machine.most_open == 3
        assert trio.current_time() == pytest.approx(4, abs=1)


async def test_at_the_soft_limit_another_machine_is_started(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        limits = roomy(soft_limit=5, hard_limit=50)
        first = await app.add("m1", slow, **limits)
        second = await app.add("m2", slow, state="stopped", **limits)
        third = await app.add("m3", slow, state="stopped", **limits)
        assert len(await ask_many(fleet, 4)) == 4
        assert (second.starts, third.starts) == (0, 0)
        await ask_many(fleet, 8)
        assert second.starts + third.starts == 1
        await ask_many(fleet, 4)
        assert first.most_open >= 5
        assert second.visits + third.visits > 0


async def test_machines_that_are_equal_take_turns(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        machines = [await app.add(f"m{number}") for number in range(4)]
        for _ in range(40):
            assert (await ask(fleet)).status == 200
        assert [machine.visits for machine in machines] == [10] * 4


async def test_a_machine_that_cannot_be_reached_is_passed_over(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        dead = await app.add("m1", silent_s=1000)
        alive = await app.add("m2")
        answers = await ask_many(fleet, 10)
        assert [answer.status for answer in answers] == [200] * 10
        assert (dead.visits, alive.visits) == (0, 10)


@pytest.mark.parametrize("broken", [{"healthy": False}, {"cordoned": True}])
async def test_what_takes_no_requests_gets_none(autojump_clock, broken):
    async with open_town() as fleet:
        app = fleet.add_app()
        out = await app.add("m1", **broken)
        machine = await app.add("m2")
        await ask_many(fleet, 10)
        assert (out.visits, machine.visits) == (0, 10)


# ---------------------------------------------------------------- what clients may wish


@pytest.mark.parametrize(
    ("state", "other", "fields", "served"),
    [
        ("started", "started", {"Fly_Force_Instance_Id": "m1"}, "m1"),
        ("stopped", "started", {"Fly_Force_Instance_Id": "m1"}, "m1"),
        ("started", "started", {"Fly_Prefer_Instance_Id": "m1"}, "m1"),
        ("stopped", "started", {"Fly_Prefer_Instance_Id": "m1"}, "m1"),
        ("failed", "started", {"Fly_Prefer_Instance_Id": "m1"}, "m2"),
        ("started", "started", {"Fly_Prefer_Instance_Id": "m9"}, None),
        ("started", "started", {"Fly_Force_Region": "ams"}, "m2"),
        ("started", "stopped", {"Fly_Force_Region": "ams"}, "m2"),
        ("started", "started", {"Fly_Prefer_Region": "ams"}, "m2"),
        ("started", "started", {}, "m1"),
    ],
)
async def test_a_wish_is_met(autojump_clock, state, other, fields, served):
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", state=state)
        await app.add("m2", state=other, region="ams")
        for _ in range(3):
            answer = await ask(fleet, **fields)
            assert answer.status == 200
            assert served in (None, answer.told["machine"])
            missed = fields.get("Fly_Prefer_Instance_Id") not in (None, answer.told["machine"])
            assert bool(answer.seen("fly-preferred-instance-unavailable")) is missed


@pytest.mark.parametrize("fields", [{"Fly_Force_Instance_Id": "m9"}, {"Fly_Force_Region": "syd"}])
async def test_a_wish_that_cannot_be_met_is_an_error(autojump_clock, fields):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        assert (await ask(fleet, **fields)).status == 503
