"""2026-07-28 in front of a legacy server: bridged, for each client by itself."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.wrap.modern import BRIDGED_IDLE_S
from mcpctld.wrap.pulse import BEAT_S
from wrap.clients import calm, ready
from wrap.stage import ALICE, BOB, CREDENTIALS, P, Process, Stage, modern, stage


async def test_a_legacy_server_is_bridged_and_each_client_has_a_session_of_its_own(autojump_clock):
    async with stage("legacy", health=True) as made:
        await made.front.health.wait_known()
        await calm()
        before = len(made.processes)
        replies = [made.ask(modern(1, client=name)) for name in ("one", "two", "one")]
        await made.asked("tools/call", count=3)
        mine = made.processes[before:]
        assert len(mine) == 2
        said = {
            json.loads(process.requests("initialize")[0].params)["clientInfo"]["name"]: process
            for process in mine
        }
        assert len(said["one"].requests("tools/call")) == 2
        for process in mine:
            for request in process.requests("tools/call"):
                process.answer(request, {"content": []})
        for reply in replies:
            assert (await reply.wait()).json["result"]["resultType"] == "complete"


async def bridged(made: Stage, count: int) -> Process:
    """The first process after so many that was spoken to in the old era."""
    while not (found := [p for p in made.processes[count:] if p.requests("initialize")]):
        await made.behaviour.changed.wait()
    return found[0]


async def park(made: Stage, who: str) -> tuple[Process, Any]:
    """A call in whose course the server asks something: its process, and what the client was told."""
    capable = modern(1)
    capable["params"]["_meta"][P + "clientCapabilities"] = {"elicitation": {}}
    count = len(made.processes)
    reply = made.ask(capable, who)
    process = await bridged(made, count)
    await made.asked("tools/call", process)
    params = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
    process.say(id=7, method="elicitation/create", params=params)
    await reply.wait()
    return process, reply.json["result"]


@pytest.mark.parametrize("health", [True, False], ids=["known", "unknown"])
async def test_principals_share_neither_a_bridged_session_nor_its_questions(
    autojump_clock, health: bool
):
    async with stage("legacy", credentials=CREDENTIALS, health=health) as made:
        if health:
            await made.front.health.wait_known()
            await calm()
        else:  # the first question has failed: nothing is known yet
            made.front.health._known.set()
        alices, asked = await park(made, ALICE)
        assert asked["resultType"] == "input_required"
        assert asked["requestState"].startswith("here.")  # so that any machine knows whose it is
        bobs, _ = await park(made, BOB)
        assert alices is not bobs
        # Bob says what Alice was told: her process must hear nothing of it.
        before = list(alices.sent)
        answers = {key: {"action": "accept", "content": {}} for key in asked["inputRequests"]}
        stolen = modern(2, inputResponses=answers, requestState=asked["requestState"])
        stolen["params"]["_meta"][P + "clientCapabilities"] = {"elicitation": {}}
        made.ask(stolen, BOB)
        await calm()
        assert alices.sent == before
        # Alice says it, and her call goes on.
        hers = made.ask(stolen | {"id": 3}, ALICE)
        await made.asked("", alices)
        alices.answer(alices.requests("tools/call")[0], {"content": []})
        assert (await hers.wait()).json["result"]["content"] == []


async def test_a_bridged_session_is_given_up_at_last(autojump_clock):
    async with stage("legacy", health=True, beats=True) as made:
        await made.front.health.wait_known()
        await calm()
        reply = made.ask(modern(1))
        request = await made.asked("tools/call")
        made.processes[-1].answer(request, {"content": []})
        await reply.wait()
        await trio.sleep(BRIDGED_IDLE_S - BEAT_S)
        assert len(made.alive) == 1
        await trio.sleep(3 * BEAT_S)
        assert made.alive == []


async def test_a_proven_line_is_never_bridged(autojump_clock):
    """A fresh process that is slow must not be taken for one of the old era: all clients would share that session."""
    async with stage(health=True, credentials=CREDENTIALS) as made:
        warm = await ready(made)
        made.front.pool.evict()
        await calm()
        assert warm.closed
        made.behaviour.silent = {"tools/list"}
        replies = [made.ask(modern(1, "tools/list"), who) for who in (ALICE, BOB)]
        process = await made.process(len(made.processes) + 1)
        await trio.sleep(60)
        assert made.alive == [process]
        assert process.requests("initialize") == []
        for request in process.requests("tools/list"):
            process.answer(request, {"resultType": "complete", "tools": []})
        for reply in replies:
            await reply.wait()
