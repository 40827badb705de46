"""Machines that nobody uses are put to rest, in virtual time over real sockets."""

import pytest
import trio

from localfly.edge.town import Visit, ask, calling, open_town, request

PERIOD_S = 300


async def stream(visit: Visit) -> None:
    """An answer that goes on until the client leaves."""
    await visit.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(10**6):
        await visit.stream.send_all(b": still here\n\n")
        await trio.sleep(30)


@pytest.mark.parametrize(
    ("autostop", "guest", "state"),
    [
        ("stop", {}, "stopped"),
        (True, {}, "stopped"),
        ("suspend", {}, "suspended"),
        ("suspend", {"memory_mb": 4096}, "stopped"),
        ("off", {}, "started"),
        (False, {}, "started"),
    ],
)
async def test_an_idle_machine_rests_and_the_next_request_wakes_it(
    autojump_clock, autostop, guest, state
):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        machine = await fleet.add_app().add("m1", autostop=autostop, config=None)
        machine.config["guest"] = guest
        assert (await ask(fleet)).status == 200
        await trio.sleep(2.5 * PERIOD_S)
        assert machine.state == state
        assert bool(fleet.said("autostop")) is (state != "started")
        assert (await ask(fleet)).status == 200
        assert machine.starts == (state != "started")


async def test_never_while_a_stream_is_open(autojump_clock):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        machine = await fleet.add_app().add("m1", stream)
        async with calling(fleet) as caller:
            await caller.send(request())
            await caller.head()
            with trio.move_on_after(20 * PERIOD_S):
                while await caller.chunk():
                    pass
            assert machine.state == "started"
        await trio.sleep(3 * PERIOD_S)
        assert machine.state == "stopped"


async def test_an_idle_connection_of_a_client_keeps_nothing_awake(autojump_clock):
    async with open_town(autostop_period_s=20) as fleet:
        machine = await fleet.add_app().add("m1")
        async with calling(fleet) as caller:
            await caller.send(request())
            await caller.answer()
            await trio.sleep(45)
            assert machine.state == "stopped"
            await caller.send(request())
            assert (await caller.answer()).status == 200
        assert machine.starts == 1


async def test_of_several_one_rests_in_each_pass(autojump_clock):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        app = fleet.add_app()
        machines = [await app.add(f"m{number}", min_machines_running=1) for number in range(3)]
        counts = []
        for _ in range(6):
            await trio.sleep(PERIOD_S)
            counts.append(sum(each.state == "started" for each in machines))
        assert sorted(counts, reverse=True) == counts
        assert (counts[-1], set(counts) >= {2, 1}) == (1, True)


async def test_a_machine_that_is_just_used_again_and_again_stays(autojump_clock):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        machine = await fleet.add_app().add("m1")
        for _ in range(20):
            await trio.sleep(PERIOD_S * 0.7)
            assert (await ask(fleet)).status == 200
        assert machine.starts == 0


async def test_a_machine_that_somebody_else_has_just_started_gets_its_time(autojump_clock):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        machine = await fleet.add_app().add("m1")
        assert (await ask(fleet)).status == 200
        await trio.sleep(1.9 * PERIOD_S)
        await fleet.stop(machine, "a test")
        await trio.sleep(5)
        await fleet.start(machine, "a test")
        await trio.sleep(PERIOD_S * 0.9)  # with a look in it
        assert machine.state == "started"
        await trio.sleep(PERIOD_S * 1.2)
        assert machine.state == "stopped"


async def test_one_that_was_refused_is_tried_again_in_the_next_pass(autojump_clock):
    async with open_town(autostop_period_s=PERIOD_S) as fleet:
        machine = await fleet.add_app().add("m1")
        machine.keeps = 2
        await trio.sleep(4.5 * PERIOD_S)
        assert machine.state == "stopped"
        assert len(fleet.said("stop was refused: leased")) == 2
