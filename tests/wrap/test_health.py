"""Whether the server answers: what `/health` says, and what is learned on the way."""

import itertools

import pytest
import trio
import trio.testing

from mcpctld.protocols.mcp.eras import Era
from mcpctld.wrap.children import WAIT_S
from mcpctld.wrap.health import ANSWER_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_PAGES
from wrap.replies import Ear
from wrap.stage import CREDENTIALS, Stage, modern, stage


def health(made: Stage, path: str = "/health") -> Ear:
    return made.request("GET", path, b"")


async def settled(made: Stage) -> None:
    await made.front.health.wait_known()
    await trio.testing.wait_all_tasks_blocked()


async def test_it_is_ready_only_when_the_server_has_answered(autojump_clock):
    async with stage(health=True) as made:
        made.behaviour.silent = {"server/discover"}
        before = health(made)
        assert before.status == 503
        assert before.json == {"status": "unready", "reason": "the server has not answered yet"}
        request = await made.asked("server/discover")
        made.processes[0].answer(request, {"resultType": "complete", "supportedVersions": []})
        await settled(made)
        after = health(made)
        assert (after.status, after.json) == (200, {"status": "ready"})


async def test_whoever_checks_it_needs_no_credentials(autojump_clock):
    async with stage(credentials=CREDENTIALS, prefix="/x", health=True) as made:
        await settled(made)
        assert health(made).status == 200
        assert health(made, "/x/health").status == 200
        assert health(made, "/x/metrics").status == 401


@pytest.mark.parametrize("eras", [("legacy",), ("modern",), ("legacy", "modern")], ids=str)
async def test_a_server_of_any_era_is_ready(autojump_clock, eras: tuple[str, ...]):
    async with stage(*eras, health=True) as made:
        await settled(made)
        assert health(made).status == 200
        speaks = "modern" in eras
        assert made.front.pool.proven is speaks
        assert (Era.MODERN.value in made.world.shared.facts.refused) is not speaks
        assert len(made.alive) == speaks  # the process that was asked stays warm, unless bridged


async def test_the_warm_process_answers_the_first_client(autojump_clock):
    async with stage(health=True) as made:
        await settled(made)
        made.ask(modern(1))
        await made.asked("tools/call")
        assert len(made.processes) == 1


async def test_all_pages_of_the_tools_are_read_but_not_for_ever(autojump_clock):
    async with stage(health=True) as made:
        made.behaviour.silent = {"tools/list"}
        for number in range(MAX_PAGES):
            request = await made.asked("tools/list", count=number + 1)
            assert (b'"cursor":"%d"' % number in request.params) is (number > 0)
            tool = {"name": f"t{number}", "inputSchema": {"type": "object"}}
            result = {"resultType": "complete", "tools": [tool], "nextCursor": str(number + 1)}
            made.processes[0].answer(request, result)
        await trio.testing.wait_all_tasks_blocked()
        assert len(made.processes[0].requests("tools/list")) == MAX_PAGES
        assert set(made.world.shared.facts.tools) == {f"t{n}" for n in range(MAX_PAGES)}
        assert made.front.pool.idle


# ---------------------------------------------------------------- a server that does not answer


async def test_a_server_that_exits_at_once_says_why_and_is_tried_again(autojump_clock):
    async with stage(health=True) as made:
        made.behaviour.broken = "no such database"
        await settled(made)
        said = health(made)
        assert said.status == 503
        assert "exited with code 1: no such database" in said.json["reason"]
        made.behaviour.broken = None
        await trio.sleep(4 * FIRST_PAUSE_S)
        assert health(made).status == 200


async def test_calls_fail_with_what_it_said_meanwhile(autojump_clock):
    async with stage(health=True) as made:
        made.behaviour.broken = "no such database"
        reply = await made.ask(modern(1)).wait()
        assert reply.json["id"] == 1
        assert "no such database" in reply.error["message"]


async def test_it_is_tried_less_and_less_often_and_for_ever(autojump_clock, monkeypatch):
    async with stage("legacy", health=True) as made:
        made.behaviour.broken = "no"
        times: list[float] = []
        started = made.behaviour.started

        def note(process) -> None:
            times.append(trio.current_time())
            started(process)

        monkeypatch.setattr(made.behaviour, "started", note)
        await trio.sleep(5_000)
        pauses = [b - a for a, b in itertools.pairwise(times) if b - a > 0.01]
        assert len(pauses) > 150
        assert FIRST_PAUSE_S / 2 <= pauses[0] <= FIRST_PAUSE_S * 2
        assert all(LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses[10:])
        assert len({round(pause, 3) for pause in pauses[10:]}) > 50  # not all machines at once


async def test_the_pause_never_overflows(autojump_clock, monkeypatch: pytest.MonkeyPatch):
    async with stage() as made:
        asked = 0

        async def ask() -> bool:
            nonlocal asked
            asked += 1
            await trio.lowlevel.checkpoint()
            return False

        monkeypatch.setattr(made.front.health, "_ask", ask)
        with trio.move_on_after(900 * LONGEST_PAUSE_S):
            await made.front.health.run()
        assert asked > 1030  # two to that power is no float


async def test_a_server_that_is_silent_is_not_ready(autojump_clock):
    async with stage("legacy", health=True) as made:
        made.behaviour.silent = {"initialize"}
        await trio.sleep(ANSWER_S + 10)
        said = health(made)
        assert said.status == 503
        assert said.json["reason"]
        assert made.front.health.known


async def test_an_error_is_a_reason(autojump_clock):
    async with stage("modern", health=True) as made:
        made.behaviour.silent = {"server/discover"}
        request = await made.asked("server/discover")
        made.processes[0].refuse(request, -32603, "the licence has expired")
        await settled(made)
        said = health(made)
        assert said.status == 503
        assert "the licence has expired" in said.json["reason"]


# ---------------------------------------------------------------- doubt


async def test_a_process_that_fails_is_a_reason_to_ask_again(autojump_clock):
    async with stage(health=True) as made:
        await settled(made)
        count = len(made.processes)
        made.behaviour.broken = "no such database"
        reply = await made.post(
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        ).wait()
        assert "no such database" in reply.error["message"]
        await made.process(count + 2)
        await trio.testing.wait_all_tasks_blocked()
        said = health(made)
        assert said.status == 503
        assert "no such database" in said.json["reason"]
        made.behaviour.broken = None
        await trio.sleep(4 * FIRST_PAUSE_S)
        assert health(made).status == 200


async def test_a_lack_of_places_says_nothing_of_the_server(autojump_clock):
    async with stage(most=1, health=True) as made:
        await settled(made)
        session = await made.initialize()
        made.get(session)
        made.front.health.doubt()
        await trio.sleep(3 * WAIT_S)
        assert health(made).status == 200
        assert made.delete(session).status == 204
        await trio.sleep(LONGEST_PAUSE_S)
        assert health(made).status == 200
        assert made.alive


async def test_it_is_not_ready_while_it_stops(autojump_clock):
    async with stage(health=True) as made:
        await settled(made)
        made.front.drain()
        said = health(made)
        assert said.status == 503
        assert said.json["reason"] == "it is stopping"
