"""How long sessions live, whose they are, and which of them gives its place to another."""

import pytest
import trio
import trio.testing

from mcpctld.wrap.children import WAIT_S
from mcpctld.wrap.pulse import BEAT_S
from mcpctld.wrap.sessions import EVICT_AFTER_S
from wrap.stage import ALICE, BOB, CREDENTIALS, Stage, call, initialize, modern, stage

IDLE_S = 300.0


def exists(made: Stage, session: str, *who: str) -> bool:
    """Whether the session is there; a notification does not keep it, for the test asks at the end only."""
    said = made.post({"jsonrpc": "2.0", "method": "notifications/x"}, session, *who)
    assert said.status in (202, 404)
    return said.status == 202


# ---------------------------------------------------------------- whose


async def test_a_session_is_for_who_began_it(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        session = await made.initialize(ALICE)
        for refused in (
            made.post(call(1), session, BOB),
            made.get(session, BOB),
            made.delete(session, BOB),
        ):
            assert refused.status == 404
            assert refused.error["code"] == -32001
        assert exists(made, session, ALICE)
        assert made.processes[0].requests("tools/call") == []


async def test_without_credentials_nobody_gets_so_far(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        session = await made.initialize(ALICE)
        assert made.post(call(1), session).status == 401
        assert made.world.figures.refused == 1


@pytest.mark.parametrize("id", ["", "x", "here.a.b", "here.\u00e9.b"])
async def test_a_session_that_there_is_not_is_not_found(autojump_clock, id: str):
    async with stage() as made:
        await made.initialize()
        session = f"Mcp-Session-Id: {id}"
        for refused in made.post(call(1), session), made.get(session), made.delete(session):
            assert refused.status == 404


# ---------------------------------------------------------------- how long


async def test_a_deleted_session_is_gone_with_its_process(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        assert made.delete(session).status == 204
        refused = made.post(call(7), session)
        assert (refused.status, refused.json["id"]) == (404, 7)
        assert made.delete(session).status == 404
        await trio.testing.wait_all_tasks_blocked()
        assert made.processes[0].closed
        assert made.front.running == 0


async def test_a_session_that_nobody_uses_ends(autojump_clock):
    async with stage(beats=True, idle_timeout_s=IDLE_S) as made:
        session = await made.initialize()
        await trio.sleep(IDLE_S + 3 * BEAT_S)
        assert not exists(made, session)
        assert made.processes[0].closed
        assert len(made.front.sessions) == 0
        assert made.world.figures.sessions == {"streamable-http": 0}


async def test_a_session_in_use_goes_on(autojump_clock):
    async with stage(beats=True, idle_timeout_s=IDLE_S) as made:
        session = await made.initialize()
        for _ in range(10):
            await trio.sleep(IDLE_S / 2)
            assert exists(made, session)


async def test_a_session_that_is_listened_to_goes_on_and_counts_from_the_end(autojump_clock):
    async with stage(beats=True, idle_timeout_s=IDLE_S) as made:
        session = await made.initialize()
        ear = made.get(session)
        await trio.sleep(10 * IDLE_S)
        ear.leave()
        await trio.sleep(IDLE_S / 2)
        assert made.get(session).status == 200


async def test_a_session_with_a_call_under_way_goes_on_and_counts_from_the_answer(autojump_clock):
    async with stage(beats=True, idle_timeout_s=IDLE_S) as made:
        session = await made.initialize()
        reply = made.post(call(1), session)
        await trio.sleep(3 * IDLE_S)
        made.processes[0].answer(await made.asked("tools/call"))
        await reply.wait()
        await trio.sleep(IDLE_S / 2)
        assert exists(made, session)


# ---------------------------------------------------------------- whose place


async def test_a_session_that_nobody_uses_gives_its_place_to_a_new_one(autojump_clock):
    async with stage(most=2) as made:
        first = await made.initialize()
        await trio.sleep(1)
        second = await made.initialize()
        await trio.sleep(EVICT_AFTER_S)
        began = trio.current_time()
        third = await made.initialize()
        assert trio.current_time() == pytest.approx(began, abs=0.1)
        assert not exists(made, first)
        assert exists(made, second)
        assert exists(made, third)
        assert len(made.alive) == 2


async def test_the_one_that_was_used_the_longest_ago_goes(autojump_clock):
    async with stage(most=2) as made:
        first = await made.initialize()
        second = await made.initialize()
        await trio.sleep(1)
        assert exists(made, first)
        await trio.sleep(EVICT_AFTER_S)
        await made.initialize()
        assert exists(made, first)
        assert not exists(made, second)


async def test_a_session_in_use_keeps_its_place_and_the_new_one_is_told_to_come_back(
    autojump_clock,
):
    async with stage(most=1) as made:
        session = await made.initialize()
        listening = made.get(session)
        await trio.sleep(10 * EVICT_AFTER_S)
        began = trio.current_time()
        refused = await made.post(initialize(ident="new")).wait()
        assert trio.current_time() - began == pytest.approx(WAIT_S, abs=0.1)
        assert refused.status == 503
        assert refused.headers["retry-after"] == "5"
        assert refused.json["id"] == "new"
        assert "--max-children" in refused.error["message"]
        assert not listening.ended
        assert made.world.figures.children_failed == 0
        assert exists(made, session)


async def test_those_who_wait_are_served_in_the_order_in_which_they_came(autojump_clock):
    async with stage(most=1) as made:
        session = await made.initialize()
        waiting = []
        for number in range(3):
            waiting.append(made.post(initialize(ident=number)))
            await trio.testing.wait_all_tasks_blocked()
        assert made.delete(session).status == 204
        for number in range(3):
            reply = await waiting[number].wait()
            assert reply.status == 200
            assert [one.status for one in waiting[number + 1 :]] == [0] * (2 - number)
            made.delete(f"Mcp-Session-Id: {reply.headers['mcp-session-id']}")


async def test_a_warm_process_gives_its_place_to_a_session(autojump_clock):
    async with stage(most=1, health=True) as made:
        await made.asked("tools/list")
        await trio.testing.wait_all_tasks_blocked()
        await made.initialize()
        assert made.processes[0].closed
        # and the other way round
        await trio.sleep(EVICT_AFTER_S + 1)
        reply = made.ask(modern(1))
        process = await made.process(3)
        process.answer(await made.asked("tools/call", process))
        assert (await reply.wait()).status == 200


async def test_a_session_that_is_given_up_while_it_waits_takes_no_process(autojump_clock):
    async with stage(most=1) as made:
        session = await made.initialize()
        reply = made.post(initialize(ident="new"))
        await trio.testing.wait_all_tasks_blocked()
        (waiting,) = [one for one in made.front.sessions if one.id not in session]
        waiting.close()
        made.delete(session)
        await reply.wait()
        assert len(made.processes) == 1
