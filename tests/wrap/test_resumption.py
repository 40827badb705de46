"""Streams that break off and are taken up again (MCP 2025-11-25, "Resumability and Redelivery")."""

import pytest

from mcpctld.wrap.streamable import MAX_OVER, StreamableSession
from mcpctld.wrap.streams import MAX_EVENTS
from wrap.clients import calm, ids, said, streamed
from wrap.replies import Ear
from wrap.stage import BOTH, call, stage

JSON, EVENTS = "application/json", "text/event-stream"


def last_id(ear: Ear) -> str:
    return f"Last-Event-ID: {ear.events[-1].id}"


async def test_a_post_that_broke_off_is_taken_up_again(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        one = await streamed(made, session, 1, _meta={"progressToken": 1})
        two = await streamed(made, session, 2, _meta={"progressToken": 2})
        for token in 1, 2, 1:
            made.processes[0].say(**said("notifications/progress", progressToken=token))
        await one.heard(2)
        await two.heard(1)
        one.leave()
        for count in 1, 2:
            made.processes[0].answer(await made.asked("tools/call", count=count))
        await two.wait()
        again = await made.get(session, f"Last-Event-ID: {one.events[1].id}").wait()
        assert [said.get("params", {}).get("progressToken") for said in again.messages] == [1, None]
        assert ids(again)[-1] == 1  # that stream's events and no other's


async def test_an_answer_that_came_while_nobody_listened_is_kept(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        reply = await streamed(made, session)
        resume = last_id(reply)
        reply.leave()
        made.processes[0].answer(await made.asked("tools/call"))
        await calm()
        again = await made.get(session, resume).wait()
        assert ids(again) == [1]


async def test_a_stream_that_is_taken_up_while_the_call_goes_on_goes_on(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        reply = await streamed(made, session)
        again = made.get(session, last_id(reply))
        assert reply.ended
        made.processes[0].say(id="q", method="roots/list")
        await again.heard(1)
        made.processes[0].answer(await made.asked("tools/call"))
        await again.wait()
        assert ids(again) == ["q", 1]


async def test_what_nobody_has_heard_comes_first_on_a_new_get(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        first = made.get(session)
        made.processes[0].say(**said("notifications/a"))
        await first.heard(1)
        first.leave()
        made.processes[0].say(**said("notifications/b"))
        await calm()
        second = made.get(session)
        made.processes[0].say(**said("notifications/c"))
        assert [one["method"][-1] for one in await second.heard(2)] == ["b", "c"]


async def test_a_get_replaces_one_whose_death_nobody_has_noticed(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        first, second = made.get(session), made.get(session)
        made.processes[0].say(**said("notifications/x"))
        await second.heard(1)
        assert first.ended
        assert first.messages == []


@pytest.mark.parametrize("id", ["nonsense", "99-1", "", "0-0"])
async def test_an_id_of_no_stream_is_a_get_like_any_other(autojump_clock, id: str):
    async with stage() as made:
        session = await made.initialize()
        ear = made.get(session, f"Last-Event-ID: {id}")
        made.processes[0].say(**said("notifications/x"))
        await ear.heard(1)
        assert ear.status == 200


async def test_what_is_kept_is_bounded(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        for number in range(MAX_EVENTS * 2):
            made.processes[0].say(**said("notifications/x", number=number))
        await calm()
        heard = made.get(session).messages
        assert len(heard) == MAX_EVENTS
        assert heard[-1]["params"]["number"] == MAX_EVENTS * 2 - 1


@pytest.mark.parametrize(("accept", "kept"), [(BOTH, 0), (JSON, 0), (EVENTS, MAX_OVER)])
async def test_streams_that_are_over_are_forgotten_at_last(autojump_clock, accept: str, kept: int):
    async with stage() as made:
        session = await made.initialize()
        first = await streamed(made, session, 0)
        for number in range(MAX_OVER * 2):
            reply = made.post(call(number + 1), session, accept=accept)
            made.processes[0].say(id=number + 1, result={})
            await reply.wait()
        (found,) = made.front.sessions
        assert isinstance(found, StreamableSession)
        assert len(found._streams) <= kept + 2  # one for GET, and that of the first call
        made.processes[0].answer(await made.asked("tools/call"))
        assert ids(await first.wait()) == [0]
