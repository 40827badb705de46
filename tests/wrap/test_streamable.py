"""Sessions of 2025-03-26 to 2025-11-25 over Streamable HTTP (MCP 2025-11-25, Transports)."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.wrap.conversation import MOST_UNHEARD
from mcpctld.wrap.pulse import BEAT_S
from mcpctld.wrap.soon import AFTER_S
from mcpctld.wrap.streamable import STREAM_AFTER_S
from mcpctld.wrap.streams import KEEP_ALIVE
from wrap.clients import calm, ids, said, streamed
from wrap.replies import Ear
from wrap.stage import Stage, call, initialize, stage

JSON, EVENTS = "application/json", "text/event-stream"
OLDER = ["2025-03-26", "2025-06-18"]


def cancel(ident: Any) -> dict[str, Any]:
    return said("notifications/cancelled", requestId=ident)


# ---------------------------------------------------------------- beginning


async def test_a_session_is_named_in_the_answer_to_initialize(autojump_clock):
    async with stage() as made:
        reply = await made.post(initialize()).wait()
        assert reply.json["result"]["serverInfo"]["name"] == "server"
        assert reply.headers["mcp-session-id"].startswith("here.")
        other = await made.post(initialize()).wait()
        assert other.headers["mcp-session-id"] != reply.headers["mcp-session-id"]
        assert len(made.processes) == 2


async def test_a_server_that_refuses_initialize_makes_no_session(autojump_clock):
    async with stage("legacy") as made:
        made.behaviour.silent = {"initialize"}
        reply = made.post(initialize())
        request = await made.asked("initialize")
        made.processes[0].refuse(request, -32602, "no such revision")
        await reply.wait()
        assert reply.error["message"] == "no such revision"
        session = f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"
        await calm()
        assert made.post(call(1), session).status == 404
        assert made.front.running == 0


async def test_an_initialize_that_takes_long_is_streamed_late(autojump_clock):
    async with stage(beats=True) as made:
        made.behaviour.silent = {"initialize"}
        reply = made.post(initialize())
        await trio.sleep(STREAM_AFTER_S - 1)
        assert reply.status == 0
        await trio.sleep(BEAT_S + 2)
        assert reply.streams
        assert "mcp-session-id" in reply.headers


async def test_an_initialize_that_takes_too_long_makes_no_session(autojump_clock):
    async with stage("legacy", beats=True, call_timeout_s=10) as made:
        made.behaviour.silent = {"initialize"}
        reply = await made.post(initialize()).wait()
        assert "within 10 s" in reply.error["message"]
        await calm()
        assert made.alive == []
        assert (
            made.post(call(1), f"Mcp-Session-Id: {reply.headers['mcp-session-id']}").status == 404
        )


@pytest.mark.parametrize(
    "message", [call(1), said("notifications/initialized"), [call(1), call(2)]], ids=str
)
async def test_nothing_but_initialize_begins_a_session(autojump_clock, message: Any):
    async with stage() as made:
        reply = made.post(message)
        assert reply.status == 400
        assert "initialize" in reply.error["message"]
        wanted = 1 if "1" in json.dumps(message) and "id" in json.dumps(message) else None
        assert reply.json["id"] == wanted
        assert made.processes == []


async def test_a_server_of_the_new_era_is_bridged(autojump_clock):
    async with stage("modern") as made:
        session = await made.initialize(initialized=False)
        reply = made.post(call(1), session)
        request = await made.asked("tools/call")
        assert b"io.modelcontextprotocol/protocolVersion" in request.raw
        made.processes[-1].answer(request, {"resultType": "complete", "content": []})
        await reply.wait()
        assert (reply.messages or [reply.json])[-1]["result"]["content"] == []


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("version", [*OLDER, "2025-11-25"])
async def test_a_quick_call_is_answered_in_one_piece(autojump_clock, version: str):
    async with stage() as made:
        session = await made.initialize(version=version)
        reply = made.post(call(1), session)
        made.processes[0].answer(await made.asked("tools/call"))
        await reply.wait()
        assert reply.json == {"jsonrpc": "2.0", "id": 1, "result": {"name": "x"}}
        assert "mcp-session-id" not in reply.headers


async def test_a_call_that_takes_longer_becomes_a_stream_that_can_be_resumed(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        reply = made.post(call(1), session)
        await trio.sleep(AFTER_S / 2)
        assert reply.status == 0
        await trio.sleep(AFTER_S)
        assert reply.streams
        (priming,) = reply.events
        assert priming.data == ""
        assert priming.id
        assert b"retry: " in reply.body
        made.processes[0].answer(await made.asked("tools/call"))
        await reply.wait()
        assert ids(reply) == [1]


@pytest.mark.parametrize("version", OLDER)
async def test_older_clients_get_a_stream_only_when_silence_would_be_dangerous(
    autojump_clock, version: str
):
    async with stage(beats=True) as made:
        session = await made.initialize(version=version)
        reply = made.post(call(1), session)
        await trio.sleep(STREAM_AFTER_S - 1)
        assert reply.status == 0
        await trio.sleep(BEAT_S + 2)
        assert reply.streams
        assert reply.events == []  # no priming: they would take it for a message
        assert reply.body.count(KEEP_ALIVE) >= 1
        made.processes[0].answer(await made.asked("tools/call"))
        assert ids(await reply.wait()) == [1]


async def test_a_call_that_takes_too_long_is_given_up(autojump_clock):
    async with stage(beats=True, call_timeout_s=60) as made:
        session = await made.initialize()
        reply = await made.post(call(1), session).wait()
        assert "within 60 s" in reply.error["message"]
        made.processes[0].answer(await made.asked("tools/call"))
        await calm()
        assert ids(reply) == [1]


async def test_an_answer_that_nobody_waits_for_is_dropped(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        ear = made.get(session)
        made.processes[0].say(id=99, result={})
        await calm()
        assert ear.messages == []


async def test_ids_in_use_are_refused(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        first = made.post(call(1), session)
        refused = made.post(call(1.0), session)
        assert (refused.status, refused.error["message"]) == (400, "this id is in use")
        assert made.post(call("1"), session).status == 0
        made.processes[0].answer(await made.asked("tools/call"))
        await first.wait()
        assert made.post(call(1), session).status == 0


# ---------------------------------------------------------------- batches (2025-03-26)


async def batch(made: Stage, accept: str) -> Ear:
    session = await made.initialize(version="2025-03-26")
    reply = made.post([call(1), said("notifications/x"), call(2)], session, accept=accept)
    for count in 2, 1:
        made.processes[0].answer(await made.asked("tools/call", count=count))
    return await reply.wait()


async def test_a_batch_is_answered_with_an_array(autojump_clock):
    async with stage() as made:
        reply = await batch(made, JSON)
        assert [answer["id"] for answer in reply.json] == [2, 1]


async def test_a_batch_is_answered_with_a_stream(autojump_clock):
    async with stage() as made:
        assert ids(await batch(made, JSON + "," + EVENTS)) == [2, 1]


async def test_answers_that_come_as_a_batch_are_told_apart(autojump_clock):
    async with stage() as made:
        session = await made.initialize(version="2025-03-26")
        replies = [made.post(call(number), session) for number in (1, 2)]
        await made.asked("tools/call", count=2)
        both = [{"jsonrpc": "2.0", "id": number, "result": {}} for number in (1, 2)]
        made.processes[0].say_line(json.dumps(both).encode())
        assert [(await reply.wait()).json["id"] for reply in replies] == [1, 2]


async def test_a_batch_without_requests_is_accepted(autojump_clock):
    async with stage() as made:
        session = await made.initialize(version="2025-03-26")
        assert made.post([said("notifications/x"), said("notifications/y")], session).status == 202
        await made.asked("notifications/y")


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(autojump_clock, version: str):
    async with stage() as made:
        session = await made.initialize(version=version)
        refused = made.post([call(1)], session, f"MCP-Protocol-Version: {version}")
        assert (refused.status, refused.error["code"]) == (400, -32600)


# ---------------------------------------------------------------- cancelled requests


@pytest.mark.parametrize("accept", [JSON, f"{JSON}, {EVENTS}"])
async def test_a_cancelled_request_gets_no_answer_and_its_post_ends(autojump_clock, accept: str):
    async with stage() as made:
        session = await made.initialize()
        reply = made.post(call(1), session, accept=accept)
        question = await made.asked("tools/call")
        assert made.post(cancel(1), session).status == 202
        await reply.wait()
        assert reply.streams is (accept != JSON)
        await made.asked("notifications/cancelled", made.processes[0])
        made.processes[0].answer(question)
        await calm()
        assert b"result" not in reply.body
        assert made.post(call(1), session).status == 0  # the id is free


async def test_what_is_not_under_way_cannot_be_cancelled(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        for message in cancel(7), cancel(None), said("notifications/cancelled"):
            assert made.post(message, session).status == 202


# ---------------------------------------------------------------- what the server says


async def test_progress_goes_on_the_post_that_it_belongs_to(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        one = await streamed(made, session, 1, _meta={"progressToken": "a"})
        two = await streamed(made, session, 2, _meta={"progressToken": "b"})
        made.processes[0].say(**said("notifications/progress", progressToken="b", progress=1))
        await two.heard(1)
        assert one.messages == []


async def test_questions_go_on_the_post_in_whose_course_they_are_asked(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        ping = made.post({"jsonrpc": "2.0", "id": 0, "method": "completion/complete"}, session)
        reply = made.post(call(1), session)
        await made.asked("tools/call")
        made.processes[0].say(id="q", method="elicitation/create", params={})
        assert (await reply.heard(1))[0]["method"] == "elicitation/create"
        assert made.post({"jsonrpc": "2.0", "id": "q", "result": {}}, session).status == 202
        await made.asked("", made.processes[0])
        assert listening.messages == []
        assert ping.messages == []


async def test_the_server_takes_a_question_back_where_it_asked_it(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        reply = made.post(call(1), session)
        await made.asked("tools/call")
        made.processes[0].say(id="q", method="elicitation/create", params={})
        await reply.heard(1)
        made.post(call(2), session)
        made.processes[0].say(**cancel("q"))
        assert (await reply.heard(2))[1]["method"] == "notifications/cancelled"
        assert listening.messages == []


async def test_it_is_taken_back_on_the_get_when_that_post_is_over(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        reply = made.post(call(1), session)
        request = await made.asked("tools/call")
        made.processes[0].say(id="q", method="elicitation/create", params={})
        await reply.heard(1)
        made.processes[0].answer(request)
        await reply.wait()
        made.processes[0].say(**cancel("q"))
        assert (await listening.heard(1))[0]["params"] == {"requestId": "q"}


@pytest.mark.parametrize("busy", [False, True])
async def test_questions_go_on_the_get_when_no_call_could_have_caused_them(
    autojump_clock, busy: bool
):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        if busy:  # a client of JSON alone hears nothing but answers
            made.post(call(1), session, accept=JSON)
        made.processes[0].say(id="q", method="roots/list")
        assert (await listening.heard(1))[0]["id"] == "q"


async def test_changes_go_on_the_get_if_somebody_listens_else_on_a_call(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        reply = made.post(call(1), session)
        await made.asked("tools/call")
        made.processes[0].say(**said("notifications/tools/list_changed"))
        await reply.heard(1)
        listening = made.get(session)
        made.processes[0].say(**said("notifications/tools/list_changed"))
        await listening.heard(1)
        made.processes[0].say(**said("notifications/message", level="info", data=1))
        assert (await reply.heard(2))[1]["method"] == "notifications/message"
        assert len(listening.messages) == 1


# ---------------------------------------------------------------- readers that lag


async def test_a_connection_that_is_not_read_holds_its_own_process_only(autojump_clock):
    async with stage() as made:
        slow = await made.initialize()
        quick = await made.initialize()
        ears = [made.get(slow), made.get(quick)]
        ears[0].lagging = True
        for process in made.processes:
            for _ in range(4):
                process.say(**said("notifications/x"))
        await ears[1].heard(4)
        assert len(ears[0].messages) == 1
        ears[0].read_on()
        await ears[0].heard(4)


async def test_nobody_waits_for_a_connection_that_is_gone(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        ear = made.get(session)
        ear.lagging = True
        for _ in range(4):
            made.processes[0].say(**said("notifications/x"))
        await ear.heard(1)
        ear.leave()
        await calm()
        assert len(made.get(session).messages) == 3


async def test_a_process_that_does_not_read_is_sent_no_more(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        made.processes[0].lagging = True
        refused = made.post(call(1), session)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert b"does not read" in refused.body
        made.processes[0].lagging = False
        assert made.post(call(1), session).status == 0


async def test_what_waits_for_a_process_is_bounded(autojump_clock):
    async with stage(most=1) as made:
        await made.initialize()
        reply = made.post(initialize(ident="new"))
        _, found = made.front.sessions
        session = f"Mcp-Session-Id: {found.id}"
        statuses = []
        while 503 not in statuses:
            big = call(len(statuses), padding="x" * 700_000)
            statuses.append(made.post(big, session).status)
        assert 700_000 * len(statuses) <= MOST_UNHEARD + 2 * 700_000
        assert (await reply.wait()).status == 503


# ---------------------------------------------------------------- processes that end


async def test_calls_in_flight_are_failed_with_what_is_known_and_the_next_one_starts_another(
    autojump_clock,
):
    async with stage() as made:
        session = await made.initialize()
        quick = made.post(call(1), session)
        slow = await streamed(made, session, 2)
        await made.asked("tools/call", count=2)
        made.processes[0].die("the process of x exited with code 3: no more memory")
        for reply in quick, slow:
            await reply.wait()
            assert "exited with code 3: no more memory" in reply.error["message"]
            assert reply.error["data"] == {"source": "mcpctl", "kind": "unreachable"}
        again = made.post(call(3), session)
        process = await made.process(2)
        process.answer(await made.asked("tools/call", process))
        await again.wait()
        assert again.json["id"] == 3
        assert process.requests("initialize")
        assert made.processes[0].closed


async def test_a_server_that_cannot_be_started_says_why(autojump_clock):
    async with stage() as made:
        made.behaviour.broken = "no such database"
        reply = await made.post(initialize()).wait()
        assert reply.json["id"] == "init"
        assert "no such database" in reply.error["message"]
        await calm()
        session = f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"
        assert made.post(call(1), session).status == 404
        assert made.world.figures.children_failed == 1
        assert made.world.figures.sessions == {"streamable-http": 0}


async def test_a_session_that_is_deleted_fails_what_is_under_way_and_ends_its_streams(
    autojump_clock,
):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        reply = made.post(call(1), session)
        assert made.delete(session).status == 204
        assert "closed" in (await reply.wait()).error["message"]
        await listening.wait()


# ---------------------------------------------------------------- the front stops


async def test_listeners_are_told_to_come_back_and_calls_finish(autojump_clock):
    async with stage() as made:
        session = await made.initialize()
        listening = made.get(session)
        reply = await streamed(made, session)
        made.front.drain()
        assert listening.ended
        assert listening.body.endswith(b"retry: 1000\n\n")
        for refused in (
            made.post(call(2), session),
            made.post([call(3)], session),
            made.post(initialize()),
            made.get(session),
        ):
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert made.front.busy
        question = await made.asked("tools/call")
        made.processes[0].say(id="q", method="roots/list")
        await reply.heard(1)
        assert made.post({"jsonrpc": "2.0", "id": "q", "result": {}}, session).status == 202
        made.processes[0].answer(question)
        await reply.wait()
        assert ids(reply) == ["q", 1]
        assert not made.front.busy
