"""2026-07-28 over HTTP: every request by itself, and a few warm processes for all of them."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.wrap.children import WAIT_S
from mcpctld.wrap.modern import BRIDGED_IDLE_S, LAG_S, MOST_LINES
from mcpctld.wrap.pulse import BEAT_S
from mcpctld.wrap.streamable import STREAM_AFTER_S
from mcpctld.wrap.streams import KEEP_ALIVE
from wrap.clients import calm, ready
from wrap.replies import Ear
from wrap.stage import ALICE, BOB, CREDENTIALS, P, Process, modern, stage

JSON = "application/json"
FAST = {"resultType": "complete", "content": []}
TOOL = {
    "name": "paint",
    "inputSchema": {
        "type": "object",
        "properties": {"colour": {"type": "string", "x-mcp-header": "Colour"}},
    },
}


def progress(process: Process, request: Any, number: int = 1) -> None:
    """Report progress of a request, under the token that the process was given."""
    token = json.loads(request.params)["_meta"]["progressToken"]
    params = {"progressToken": token, "progress": number}
    process.say(method="notifications/progress", params=params)


def log(process: Process, text: str) -> None:
    process.say(method="notifications/message", params={"level": "info", "data": text})


# ---------------------------------------------------------------- answers


async def test_a_request_is_answered_in_one_piece(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1))
        warm.answer(await made.asked("tools/call"), FAST)
        await reply.wait()
        assert reply.status == 200
        assert reply.json == {"jsonrpc": "2.0", "id": 1, "result": FAST}
        assert "mcp-session-id" not in reply.headers


async def test_requests_that_come_before_anything_is_known_wait(autojump_clock):
    async with stage("modern", health=True) as made:
        made.behaviour.silent = {"server/discover"}
        reply, gone = made.ask(modern(1)), made.ask(modern(2))
        process = await made.process(1)
        await calm()
        assert process.requests("tools/call") == []
        gone.leave()
        process.answer(
            await made.asked("server/discover"),
            {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}},
        )
        process.answer(await made.asked("tools/call"), FAST)
        assert (await reply.wait()).json["id"] == 1
        assert len(made.processes) == 1
        assert len(process.requests("tools/call")) == 1


async def test_equal_ids_of_many_clients_meet_in_one_process(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        replies = [made.ask(modern("same", client=f"c{number}", n=number)) for number in range(20)]
        await made.asked("tools/call", count=20)
        requests = warm.requests("tools/call")
        assert len({request.id for request in requests}) == 20
        for request in reversed(requests):
            warm.answer(request, {"n": json.loads(request.params)["n"]})
        for number, reply in enumerate(replies):
            await reply.wait()
            assert reply.json == {"jsonrpc": "2.0", "id": "same", "result": {"n": number}}
        assert len(made.processes) == 1


async def test_principals_share_a_process_that_speaks_the_revision(autojump_clock):
    async with stage("modern", health=True, credentials=CREDENTIALS) as made:
        warm = await ready(made)
        for who in ALICE, BOB:
            made.ask(modern(1), who)
        await made.asked("tools/call", warm, count=2)
        assert len(made.processes) == 1


@pytest.mark.parametrize(
    ("code", "status"), [(-32601, 404), (-32602, 400), (-32603, 200), (-32021, 400)]
)
async def test_an_error_has_its_status(autojump_clock, code: int, status: int):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1, "vendor/x"))
        warm.refuse(await made.asked("vendor/x"), code)
        await reply.wait()
        assert (reply.status, reply.error["code"]) == (status, code)


async def test_progress_makes_a_stream_and_goes_to_who_asked(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        replies = [made.ask(modern(1, token="mine", n=number)) for number in range(2)]
        await made.asked("tools/call", count=2)
        second = next(
            r for r in warm.requests("tools/call") if b'"n":1' in r.params.replace(b" ", b"")
        )
        progress(warm, second)
        warm.answer(second, FAST)
        await replies[1].wait()
        said = replies[1].messages
        assert said[0]["params"] == {"progressToken": "mine", "progress": 1}
        assert said[1]["id"] == 1
        assert replies[0].status == 0
        assert all(event.id == "" for event in replies[1].events)  # nothing can be resumed


async def test_a_client_of_json_alone_gets_the_answer_alone(autojump_clock):
    async with stage("modern", health=True, beats=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1, token=7), accept=JSON)
        request = await made.asked("tools/call")
        progress(warm, request)
        await trio.sleep(3 * BEAT_S)
        warm.answer(request, FAST)
        assert (await reply.wait()).json["id"] == 1


async def test_what_belongs_to_no_request_is_dropped(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1))
        request = await made.asked("tools/call")
        warm.say(method="notifications/tools/list_changed")
        warm.say(id=77, result={})
        warm.answer(request, FAST)
        assert (await reply.wait()).json["id"] == 1


async def test_an_answer_that_takes_long_becomes_a_stream_that_is_kept_alive(autojump_clock):
    async with stage("modern", health=True, beats=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1))
        await trio.sleep(STREAM_AFTER_S - 1)
        assert reply.status == 0
        await trio.sleep(3 * BEAT_S)
        assert reply.body.startswith(KEEP_ALIVE)
        assert 2 <= reply.body.count(KEEP_ALIVE) <= 4
        warm.answer(await made.asked("tools/call"), FAST)
        assert [said["id"] for said in (await reply.wait()).messages] == [1]


@pytest.mark.parametrize("beats", [0, 2], ids=["in one piece", "in the stream"])
async def test_a_request_that_takes_too_long_is_given_up_and_cancelled(autojump_clock, beats: int):
    limit_s = STREAM_AFTER_S + beats * BEAT_S - 5
    async with stage("modern", health=True, beats=True, call_timeout_s=limit_s) as made:
        await ready(made)
        reply = await made.ask(modern(1)).wait()
        assert reply.error["data"]["kind"] == "timeout"
        await made.asked("notifications/cancelled")
        assert made.front.pool.idle


# ---------------------------------------------------------------- subscriptions


async def test_a_subscription_is_told_its_changes_and_lasts(autojump_clock):
    async with stage("modern", health=True, beats=True, call_timeout_s=60) as made:
        warm = await ready(made)
        listen = modern("sub", "subscriptions/listen", notifications={"toolsListChanged": True})
        reply = made.ask(listen)
        request = await made.asked("subscriptions/listen")
        key = P + "subscriptionId"
        for name in "subscriptions/acknowledged", "tools/list_changed":
            meta = {key: json.loads(request.id)}
            warm.say(method=f"notifications/{name}", params={"_meta": meta})
        for said in await reply.heard(2):
            assert said["params"]["_meta"][key] == "sub"
        await trio.sleep(600)
        assert not reply.ended
        warm.answer(request, {"_meta": {key: json.loads(request.id)}})
        last = (await reply.wait()).messages[-1]
        assert (last["id"], last["result"]["_meta"][key]) == ("sub", "sub")


async def test_a_server_may_end_a_subscription_with_a_cancellation(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        reply = made.ask(modern("sub", "subscriptions/listen", notifications={}))
        request = await made.asked("subscriptions/listen")
        params = {"requestId": json.loads(request.id)}
        warm.say(method="notifications/cancelled", params=params)
        (said,) = (await reply.wait()).messages
        assert said["params"] == {"requestId": "sub"}
        assert made.front.pool.idle


# ---------------------------------------------------------------- clients that leave


async def test_a_client_that_leaves_cancels_its_request_at_the_process(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        leaving, staying = made.ask(modern(1, n=1)), made.ask(modern(1, n=2))
        await made.asked("tools/call", count=2)
        leaving.leave()
        cancelled = await made.asked("notifications/cancelled")
        first, second = warm.requests("tools/call")
        gone, stays = (first, second) if b'"n": 1' in first.params else (second, first)
        assert json.loads(cancelled.params)["requestId"] == json.loads(gone.id)
        warm.answer(gone, FAST)
        warm.answer(stays, FAST)
        assert (await staying.wait()).json["id"] == 1
        assert leaving.body == b""
        assert made.front.pool.idle


async def test_the_last_client_that_leaves_cancels_too(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        made.ask(modern(1)).leave()
        await made.asked("notifications/cancelled")


async def test_a_slow_reader_has_to_go_and_the_others_go_on(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        slow, quick = made.ask(modern(1, token=1, n=1)), made.ask(modern(2, n=2))
        await made.asked("tools/call", count=2)
        by_number = {json.loads(r.params)["n"]: r for r in warm.requests("tools/call")}
        slow.lagging = True
        progress(warm, by_number[1])
        warm.answer(by_number[2], FAST)
        began = trio.current_time()
        await quick.wait()
        assert trio.current_time() - began == pytest.approx(LAG_S, abs=0.1)
        assert "does not read" in slow.error["message"]
        assert made.world.figures.dropped_readers == 1
        await made.asked("notifications/cancelled")
        third = made.ask(modern(3, n=3))
        warm.answer(await made.asked("tools/call", count=3), FAST)
        await third.wait()


async def test_a_reader_that_catches_up_in_time_stays(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        slow = made.ask(modern(1, token=1))
        request = await made.asked("tools/call")
        slow.lagging = True
        progress(warm, request)
        progress(warm, request, 2)
        await trio.sleep(LAG_S - 1)
        assert len(slow.messages) == 1
        slow.read_on()
        warm.answer(request, FAST)
        await slow.wait()
        assert len(slow.messages) == 3
        assert made.world.figures.dropped_readers == 0


# ---------------------------------------------------------------- log messages


async def test_requests_that_want_logs_have_a_process_each_while_they_last(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        replies: list[Ear] = []
        for number in range(MOST_LINES):
            replies.append(made.ask(modern(number, logs=True)))
            await made.asked("tools/call", count=number + 1)
        assert len(made.alive) == MOST_LINES
        for number, process in enumerate(made.alive):
            (request,) = process.requests("tools/call")
            log(process, f"of {number}")
            process.answer(request, FAST)
        for number, reply in enumerate(replies):
            said = (await reply.wait()).messages
            assert said[0]["params"]["data"] == f"of {number}"
            assert said[1]["id"] == number


async def test_further_ones_wait_for_their_turn(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        for number in range(MOST_LINES):
            made.ask(modern(number, logs=True))
        await made.asked("tools/call", count=MOST_LINES)
        late = made.ask(modern("late", logs=True))
        gone = made.ask(modern("gone", logs=True))
        await calm()
        assert sum(len(p.requests("tools/call")) for p in made.alive) == MOST_LINES
        gone.leave()
        for process in made.alive:
            (request,) = process.requests("tools/call")
            process.answer(request, FAST)
        request = await made.asked("tools/call", count=MOST_LINES + 1)
        owner = next(p for p in made.alive if len(p.requests("tools/call")) == 2)
        request = owner.requests("tools/call")[1]
        log(owner, "mine")
        owner.answer(request, FAST)
        assert [said.get("id") for said in (await late.wait()).messages] == [None, "late"]
        await calm()
        assert sum(len(p.requests("tools/call")) for p in made.alive) == MOST_LINES + 1


async def test_one_without_logs_does_not_wait_and_hears_none(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        with_logs = made.ask(modern(1, logs=True))
        first = await made.asked("tools/call")
        without = made.ask(modern(2))
        second = await made.asked("tools/call", count=2)
        log(warm, "x")
        warm.answer(second, FAST)
        assert (await without.wait()).json["id"] == 2
        warm.answer(first, FAST)
        assert [said.get("id") for said in (await with_logs.wait()).messages] == [None, 1]
        assert len(made.processes) == 1


async def test_without_a_place_for_another_process_they_share_one(autojump_clock):
    async with stage("modern", health=True, most=1) as made:
        warm = await ready(made)
        replies = [made.ask(modern(number, logs=True)) for number in range(3)]
        for number in range(3):
            warm.answer(await made.asked("tools/call", count=number + 1), FAST)
            assert (await replies[number].wait()).json["id"] == number
        assert made.processes == [warm]


# ---------------------------------------------------------------- what is checked first


async def test_what_the_tools_want_in_headers_is_learned_and_checked(autojump_clock):
    async with stage("modern", health=True) as made:
        made.behaviour.tools = [TOOL]
        warm = await ready(made)
        painting = modern(1, name="paint", arguments={"colour": "red"})
        good = made.ask(painting)
        warm.answer(await made.asked("tools/call"), FAST)
        assert (await good.wait()).status == 200
        standard = [
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            "Mcp-Name: paint",
        ]
        bad = made.post(painting, *standard, "Mcp-Param-Colour: blue")
        assert (bad.status, bad.error["code"], bad.json["id"]) == (400, -32020, 1)


async def test_tools_are_learned_from_every_list_that_goes_by(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        assert made.world.shared.facts.tools == {}
        made.behaviour.tools = [TOOL]
        await made.ask(modern(1, "tools/list")).wait()
        assert made.world.shared.facts.tools["paint"].headers == {"Colour": ["colour"]}


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        (modern(1, "initialize"), 404, -32601),
        (modern(1, "ping"), 404, -32601),
    ],
)
async def test_methods_of_older_revisions_are_not_there(
    autojump_clock, message: dict[str, Any], status: int, code: int
):
    async with stage(health=True) as made:
        await ready(made)
        headers = ("MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {message['method']}")
        reply = made.post(message, *headers)
        assert (reply.status, reply.error["code"], reply.json["id"]) == (status, code, 1)


async def test_another_revision_is_told_which_there_is(autojump_clock):
    async with stage(health=True) as made:
        message = modern(1, "tools/list")
        message["params"]["_meta"][P + "protocolVersion"] = "2099-01-01"
        reply = made.ask(message)
        assert (reply.status, reply.error["code"]) == (400, -32022)
        assert reply.error["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


async def test_a_notification_is_accepted(autojump_clock):
    async with stage() as made:
        message = {"jsonrpc": "2.0", "method": "notifications/x"}
        assert made.post(message, "MCP-Protocol-Version: 2026-07-28").status == 202
        assert made.processes == []


# ---------------------------------------------------------------- processes


async def test_requests_in_flight_are_failed_when_the_process_dies_and_the_next_has_another(
    autojump_clock,
):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        replies = [made.ask(modern(number)) for number in range(3)]
        await made.asked("tools/call", count=3)
        warm.die("the process of x exited with code 3: no more memory")
        for number, reply in enumerate(replies):
            await reply.wait()
            assert reply.json["id"] == number
            assert "exited with code 3: no more memory" in reply.error["message"]
        again = made.ask(modern(4))
        process = await made.process(len(made.processes) + 1)
        process.answer(await made.asked("tools/call", process), FAST)
        assert (await again.wait()).json["id"] == 4


async def test_a_process_that_does_not_read_is_sent_no_more(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        warm.lagging = True
        before = len(warm.sent)
        for number in range(3):
            refused = made.ask(modern(number))
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert refused.json["id"] == number
        assert len(warm.sent) == before
        assert made.front.pool.idle
        warm.lagging = False
        reply = made.ask(modern(7))
        warm.answer(await made.asked("tools/call"), FAST)
        assert (await reply.wait()).status == 200


async def test_without_a_place_it_is_told_to_come_back(autojump_clock):
    async with stage(most=1, health=True) as made:
        await ready(made)
        session = await made.initialize()  # takes the place of the warm process
        made.get(session)
        await trio.sleep(3600)
        began = trio.current_time()
        refused = await made.ask(modern(1)).wait()
        assert trio.current_time() - began == pytest.approx(WAIT_S, abs=0.1)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert "--max-children" in refused.error["message"]


async def test_spare_processes_are_given_up_and_the_warm_one_stays(autojump_clock):
    async with stage("modern", health=True, beats=True) as made:
        warm = await ready(made)
        for number in range(3):
            made.ask(modern(number, logs=True))
        await made.asked("tools/call", count=3)
        for process in made.alive:
            process.answer(process.requests("tools/call")[0], FAST)
        await trio.sleep(BRIDGED_IDLE_S - BEAT_S)
        assert len(made.alive) == 3
        await trio.sleep(3 * BEAT_S)
        assert made.alive == [warm]


# ---------------------------------------------------------------- the front stops


async def test_nothing_new_is_taken_and_what_is_under_way_finishes(autojump_clock):
    async with stage("modern", health=True) as made:
        warm = await ready(made)
        reply = made.ask(modern(1))
        request = await made.asked("tools/call")
        made.front.drain()
        refused = made.ask(modern(2))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert b"stopping" in refused.body
        assert made.front.busy
        warm.answer(request, FAST)
        assert (await reply.wait()).json["id"] == 1
        assert not made.front.busy


async def test_a_subscription_ends_with_an_empty_result_when_the_front_stops(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        reply = made.ask(modern("sub", "subscriptions/listen", notifications={}))
        await made.asked("subscriptions/listen")
        made.front.drain()
        answer = (await reply.wait()).messages[-1] if reply.streams else (await reply.wait()).json
        meta = {"io.modelcontextprotocol/subscriptionId": "sub"}
        assert answer == {
            "jsonrpc": "2.0",
            "id": "sub",
            "result": {"resultType": "complete", "_meta": meta},
        }
        assert not made.front.busy


async def test_a_client_that_takes_no_events_cannot_listen(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        listen = modern("sub", "subscriptions/listen", notifications={})
        refused = made.ask(listen, accept="application/json")
        assert refused.status == 406
        assert refused.json["id"] == "sub"


async def test_what_does_not_finish_is_failed(autojump_clock):
    async with stage("modern", health=True) as made:
        await ready(made)
        reply = made.ask(modern(1))
        await made.asked("tools/call")
        made.front.close()
        assert "being stopped" in (await reply.wait()).error["message"]
