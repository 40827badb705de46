"""Sessions that outlive their server side."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from mcpctld.errors import Denied, PeerError, SessionLost, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import parse
from mcpctld.protocols.mcp.tools import ToolFacts
from mcpctld.sessions.keeper import Keeper
from mcpctld.sessions.probing import Probing
from mcpctld.upstreams import Facts
from sessions.stack import Stack, stack

RESULT = {
    "protocolVersion": "2025-11-25",
    "capabilities": {
        "tools": {"listChanged": True},
        "resources": {"listChanged": True},
        "prompts": {},
    },
    "serverInfo": {"name": "s", "version": "1"},
}
INITIALIZE = {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}


@contextlib.asynccontextmanager
async def session(**given: Any) -> AsyncIterator[Stack]:
    """A legacy session, made and in use."""
    async with stack(Keeper, **given) as made:
        made.send(**INITIALIZE)
        await made.answer("initialize", RESULT)
        made.send(method="notifications/initialized")
        await made.asked("notifications/initialized")
        yield made


def lose(made: Stack, line: bytes | None, error: Exception | None = None) -> None:
    """The server does not know the session any more."""
    made.server.downstream.lost(parse(line) if line else None, error or SessionLost("gone"))


async def say_again(made: Stack, nth: int, failed: int = 0) -> None:
    """The server takes a new session, after so many that it did not."""
    await made.answer("initialize", RESULT, nth)
    await made.asked("notifications/initialized", nth - failed)


async def test_a_request_that_met_a_forgotten_session_is_answered_in_a_new_one(autojump_clock):
    async with session() as made:
        made.send(id="a", method="tools/call", params={"name": "x"})
        lose(made, made.server.sent[-1])
        await say_again(made, 1)
        assert made.server.sent[3].startswith(b'{"jsonrpc": "2.0", "id": "mcpctl:keep:')
        await made.answer("tools/call", {"content": []}, 1)
        assert (await made.heard("a"))["result"] == {"content": []}
        assert len(made.messages) == 2  # nothing of the new session reached the client


async def test_a_request_that_was_turned_away_for_a_while_may_meet_a_forgotten_session(
    autojump_clock,
):
    async with session() as made:
        request = made.send(id="a", method="tools/call", params={"name": "x"})
        error = Unreachable("stopping")
        error.unprocessed = True
        made.server.downstream.fail(request.id, error)
        again = await made.asked("tools/call", 1)
        lose(made, again.raw)
        await say_again(made, 1)
        third = await made.asked("tools/call", 2)
        assert not made.server.downstream.lost(third, SessionLost("gone"))  # once is enough
        made.server.answer(third.id)
        assert "result" in await made.heard("a")


async def test_what_the_client_set_is_set_again(autojump_clock):
    async with session() as made:
        made.send(id=1, method="logging/setLevel", params={"level": "debug"})
        await made.answer("logging/setLevel")
        for id, uri in ((2, "a:/"), (3, "b:/")):
            made.send(id=id, method="resources/subscribe", params={"uri": uri})
            made.server.answer(b"%d" % id)
        made.send(id=4, method="resources/unsubscribe", params={"uri": "a:/"})
        made.server.answer(b"4")
        before = len(made.server.sent)
        lose(made, None)
        await say_again(made, 1)
        await made.answer("logging/setLevel", nth=1)
        await made.answer("resources/subscribe", nth=2)
        await trio.sleep(1)
        said = [json.loads(line) for line in made.server.sent[before:]]
        assert [message["method"] for message in said] == [
            "initialize", "notifications/initialized", "logging/setLevel", "resources/subscribe",
        ]  # fmt: skip
        assert said[-1]["params"] == {"uri": "b:/"}


@pytest.mark.parametrize("differs", [True, False])
async def test_the_client_hears_of_lists_that_differ_and_of_no_others(autojump_clock, differs):
    async with session() as made:
        for id, method in ((1, "tools/list"), (2, "resources/list"), (3, "prompts/list")):
            made.send(id=id, method=method)
            await made.answer(method, {"first": method})
        lose(made, None)
        await say_again(made, 1)
        await made.answer("tools/list", {"first": "other" if differs else "tools/list"}, 1)
        await made.answer("resources/list", {"first": "resources/list"}, 1)
        await trio.sleep(1)
        told = [message["method"] for message in made.messages if "method" in message]
        assert told == (["notifications/tools/list_changed"] if differs else [])


async def test_messages_wait_for_the_new_session_in_their_order(autojump_clock):
    async with session() as made:
        lose(made, None)
        for id in (1, 2):
            made.send(id=id, method="tools/call", params={"name": "x"})
        made.send(method="notifications/roots/list_changed")
        await say_again(made, 1)
        await made.asked("tools/call", 1)
        last = [json.loads(line)["method"] for line in made.server.sent[-3:]]
        assert last == ["tools/call", "tools/call", "notifications/roots/list_changed"]


async def test_answers_of_the_client_to_the_old_session_are_not_said_in_the_new_one(autojump_clock):
    async with session() as made:
        lose(made, None)
        made.send(id=77, result={})
        made.send(method="notifications/progress", params={})
        lose(made, b'{"jsonrpc":"2.0","id":78,"result":{}}')
        await say_again(made, 1)
        await trio.sleep(1)
        assert json.loads(made.server.sent[-1])["method"] == "notifications/initialized"


async def test_a_request_that_is_cancelled_while_it_waits_is_not_made(autojump_clock):
    async with session() as made:
        lose(made, None)
        made.send(id=1, method="tools/call", params={"name": "x"})
        made.send(id=2, method="tools/call", params={"name": "y"})
        made.send(method="notifications/cancelled", params={"requestId": 1})
        made.top.forget(b"2")
        await say_again(made, 1)
        await trio.sleep(1)
        assert json.loads(made.server.sent[-1])["method"] == "notifications/initialized"


async def test_a_server_that_opens_no_other_session_is_quoted_and_asked_again_for_the_next_request(
    autojump_clock,
):
    async with session() as made:
        made.send(id=1, method="tools/call", params={"name": "x"})
        lose(made, made.server.sent[-1])
        again = await made.asked("initialize", 1)
        made.server.say(
            b'{"jsonrpc":"2.0","id":%b,"error":{"code":-5,"message":"full"}}' % again.id
        )
        assert str(await made.failed(1)) == (
            "somebody has lost the session and opens no other: full (-5)"
        )
        made.send(id=2, method="tools/call", params={"name": "x"})
        await say_again(made, 2, failed=1)
        await made.answer("tools/call", nth=1)
        await made.heard(2)


async def test_another_revision_cannot_be_what_was_promised(autojump_clock):
    async with session() as made:
        made.send(id=1, method="tools/call", params={"name": "x"})
        lose(made, made.server.sent[-1])
        await made.answer("initialize", {**RESULT, "protocolVersion": "2024-11-05"}, 1)
        assert str(await made.failed(1)) == (
            "somebody speaks revision 2024-11-05 now, not 2025-11-25; start the client again"
        )


async def test_while_the_server_is_down_attempts_are_spaced_out_until_patience_ends(autojump_clock):
    async with session(connect_timeout_s=30.0) as made:
        began = trio.current_time()
        lose(made, None)
        made.send(id=1, method="tools/call", params={"name": "x"})
        times = []
        for nth in range(1, 40):
            with trio.move_on_after(100) as waited:
                again = await made.asked("initialize", nth)
            if waited.cancelled_caught:
                break
            times.append(trio.current_time() - began)
            made.server.downstream.fail(again.id, Unreachable("503"))
        assert str(await made.failed(1)) == "503"
        assert 4 < len(times) < 12
        assert 29 < times[-1] < 90
        assert times[-1] - times[-2] > times[1] - times[0]


async def test_of_many_sessions_one_tries_while_the_server_is_down_and_all_go_when_it_is_up(
    autojump_clock,
):
    async with contextlib.AsyncExitStack() as opened:
        patient = {"connect_timeout_s": 60.0}  # the longest pause may end after 30
        first = await opened.enter_async_context(session(**patient))
        patient["shared"] = first.shared
        others = [await opened.enter_async_context(session(**patient)) for _ in range(20)]
        down, tries, began = True, 0, trio.current_time()

        def hook(made: Stack) -> None:
            send = made.server.send

            def refuse(message):
                nonlocal tries
                send(message)
                if message.method == "initialize" and down:
                    tries += 1
                    made.server.downstream.fail(message.id, Unreachable("down"))
                elif message.method == "initialize":
                    made.server.answer(message.id, json.dumps(RESULT).encode())

            made.server.send = refuse

        for made in (first, *others):
            hook(made)
            lose(made, None)
            made.send(id=1, method="tools/call", params={"name": "x"})
        await trio.sleep(20)
        assert 21 <= tries < 45  # all at once at first, then one at a time
        down = False
        for made in (first, *others):
            await made.asked("tools/call")
        assert trio.current_time() - began < 60


async def test_nothing_but_pings_goes_up_before_initialize_is_answered(autojump_clock):
    async with stack(Keeper) as made:
        made.send(**INITIALIZE)
        made.send(method="notifications/initialized")
        made.send(id=1, method="tools/list")
        made.send(id=2, method="tools/call", params={"name": "x"})
        made.send(id=3, method="ping")
        made.send(id="s", result={})  # to a ping of the server
        made.send(method="notifications/cancelled", params={"requestId": 2})
        made.top.send(parse(b'[{"jsonrpc":"2.0","method":"notifications/x"}]'))
        await trio.sleep(100)
        said = [json.loads(line) for line in made.server.sent]
        assert [message.get("method") for message in said] == ["initialize", "ping", None]
        await made.answer("initialize", RESULT)
        await made.asked("tools/list")
        rest = [json.loads(line) for line in made.server.sent[3:]]
        assert [message["method"] for message in rest[:2]] == [
            "notifications/initialized",
            "tools/list",
        ]
        assert len(rest) == 3


async def test_what_waited_for_an_initialize_that_failed_waits_for_another(autojump_clock):
    async with stack(Keeper) as made:
        made.send(**INITIALIZE)
        made.send(method="notifications/initialized")
        made.send(id=1, method="tools/list")
        first = await made.asked("initialize")
        made.server.downstream.fail(first.id, Unreachable("asleep"))
        await made.failed(0)
        await say_again(made, 1, failed=1)
        await made.answer("tools/list")
        await made.heard(1)


async def test_an_initialize_that_takes_too_long_is_given_up_and_said_again(autojump_clock):
    async with stack(Keeper) as made:
        made.send(**INITIALIZE)
        made.top.forget(b"0")
        made.send(id=1, method="tools/list")
        await made.answer("initialize", RESULT, 1)
        await made.answer("tools/list")
        await made.heard(1)


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize(
    ("method", "params", "again"),
    [
        ("tools/list", {}, True),
        ("resources/read", {"uri": "a:/"}, True),
        ("tools/call", {"name": "reads"}, True),
        ("tools/call", {"name": "writes"}, False),
        ("tools/call", {"name": "unknown"}, False),
        ("tasks/cancel", {}, False),
    ],
)
@pytest.mark.parametrize("error", [Unreachable("cut"), TimedOut("504")])
async def test_an_answer_that_got_lost_is_asked_for_again_if_that_changes_nothing(
    autojump_clock, method, params, again, error
):
    tools = {"reads": ToolFacts(repeatable=True), "writes": ToolFacts()}
    async with session(facts=Facts(tools=tools)) as made:
        request = made.send(id="q", method=method, params=params)
        made.server.downstream.fail(request.id, error)
        if not again:
            assert await made.failed("q") is error
            return
        second = await made.asked(method, 1)
        assert second.id.startswith(b'"mcpctl:again:')  # an id is used once in a session
        made.server.answer(second.id, b'{"x":1.0}')
        assert await made.heard("q") == {"jsonrpc": "2.0", "id": "q", "result": {"x": 1.0}}
        assert made.ears.failures == []


async def test_what_the_server_provably_did_not_see_goes_again_under_its_own_id(autojump_clock):
    async with session() as made:
        request = made.send(id=5, method="tools/call", params={"name": "writes"})
        error = Unreachable("refused")
        error.unprocessed = True
        made.server.downstream.fail(request.id, error)
        assert (await made.asked("tools/call", 1)).id == b"5"
        made.server.answer(b"5")
        await made.heard(5)
        assert made.top._retries.active is False


async def test_an_answer_that_never_comes_through_is_given_up(autojump_clock):
    async with session() as made:
        made.send(id=5, method="tools/list")
        for nth in range(4):
            request = await made.asked("tools/list", nth)
            made.server.downstream.fail(request.id, Unreachable(f"cut {nth}"))
        assert str(await made.failed(5)) == "cut 3"
        assert len(made.ears.failures) == 1


@pytest.mark.parametrize("error", [PeerError("nonsense"), Denied("no")])
async def test_a_refusal_is_no_interruption(autojump_clock, error):
    async with session() as made:
        request = made.send(id=5, method="tools/list")
        made.server.downstream.fail(request.id, error)
        assert await made.failed(5) is error


async def test_who_has_waited_as_long_as_it_may_is_not_made_to_wait_again(autojump_clock):
    async with session() as made:
        request = made.send(id=5, method="tools/list")
        error = Unreachable("down")
        error.unprocessed = error.exhausted = True
        made.server.downstream.fail(request.id, error)
        assert await made.failed(5) is error


async def test_a_request_made_again_is_cancelled_under_the_id_that_the_server_knows(autojump_clock):
    async with session() as made:
        request = made.send(id=5, method="tools/list")
        made.server.downstream.fail(request.id, Unreachable("cut"))
        second = await made.asked("tools/list", 1)
        made.send(method="notifications/cancelled", params={"requestId": 5})
        cancelled = json.loads(made.server.sent[-1])
        assert cancelled["params"]["requestId"] == json.loads(second.id)
        made.server.answer(second.id)
        await trio.sleep(1)
        assert made.top._retries.active is False


async def test_one_cancelled_before_it_is_made_again_is_not(autojump_clock):
    async with session() as made:
        request = made.send(id=5, method="tools/list")
        made.server.downstream.fail(request.id, Unreachable("cut"))
        made.send(method="notifications/cancelled", params={"requestId": 5})
        await trio.sleep(10)
        methods = [json.loads(line)["method"] for line in made.server.sent]
        assert methods.count("tools/list") == 1


# ---------------------------------------------------------------- the transport ends


async def test_a_transport_that_ends_is_made_again_for_the_next_request(autojump_clock):
    async with session() as made:
        made.send(id=1, method="tools/call", params={"name": "x"})
        made.send(id=2, method="prompts/list")
        made.server.end(Unreachable("it died"))
        assert str(await made.failed(1)) == "it died"
        await say_again(made, 0)
        await made.answer("prompts/list", {"prompts": []})
        assert (await made.heard(2))["result"] == {"prompts": []}
        assert len(made.transports) == 2
        assert made.ended is None


async def test_a_transport_that_ended_stays_down_until_somebody_needs_it(autojump_clock):
    async with session() as made:
        made.server.end(Unreachable("it died"))
        await trio.sleep(1000)
        assert len(made.transports) == 2
        assert made.server.sent == []
        made.send(id=1, method="ping")
        assert await made.heard(1) == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert made.server.sent == []
        made.send(id=2, method="tools/call", params={"name": "x"})
        await say_again(made, 0)
        await made.answer("tools/call")
        await made.heard(2)


async def test_a_server_that_was_never_there_ends_the_session(autojump_clock):
    async with stack(Keeper) as made:
        made.send(**INITIALIZE)
        made.server.end(Unreachable("no such host"))
        await made.over.wait()
        assert str(made.ended) == "no such host"


async def test_one_that_denies_us_ends_it_too(autojump_clock):
    async with session() as made:
        made.server.end(Denied("no more"))
        await made.over.wait()


async def test_a_transport_that_dies_again_and_again_fails_what_waits_and_does_not_spin(
    autojump_clock,
):
    async with session(connect_timeout_s=10.0) as made:
        made.server.end(Unreachable("it died"))
        await trio.sleep(1)
        made.send(id=1, method="tools/call", params={"name": "x"})
        while not made.ears.failures:
            await made.asked("initialize")
            made.server.end(Unreachable("it died again"))
            await trio.sleep(0.01)
        assert str(await made.failed(1)) == "it died again"
        assert len(made.transports) < 15


# ---------------------------------------------------------------- suspicion, pings, beginnings


async def test_a_suspect_session_is_tried_before_it_is_used(autojump_clock):
    async with session() as made:
        lose(made, None, Unreachable("502"))
        await trio.sleep(100)
        assert len(made.server.sent) == 2
        made.send(id=1, method="tools/call", params={"name": "x"})
        await made.answer("ping")
        await made.answer("tools/call")
        await made.heard(1)


async def test_a_suspect_session_that_is_gone_is_made_anew(autojump_clock):
    async with session() as made:
        lose(made, None, Unreachable("502"))
        made.send(id=1, method="tools/call", params={"name": "x"})
        await made.asked("ping")
        lose(made, made.server.sent[-1])
        await say_again(made, 1)
        await made.answer("tools/call")
        await made.heard(1)


async def test_a_ping_is_answered_here_unless_something_is_under_way(autojump_clock):
    async with session() as made:
        made.send(id="p", method="ping")
        assert (await made.heard("p"))["result"] == {}
        made.send(id=1, method="tools/call", params={"name": "x"})
        made.send(id="q", method="ping")
        await made.answer("ping")
        await made.heard("q")


async def test_a_ping_without_a_session_is_the_servers(autojump_clock):
    async with stack(Keeper) as made:
        made.send(id="p", method="ping", params={"_meta": {}})
        await made.answer("ping")
        await made.heard("p")


async def test_a_client_that_begins_anew_is_let(autojump_clock):
    async with session() as made:
        lose(made, None)
        await made.asked("initialize", 1)
        made.send(**{**INITIALIZE, "id": 9})
        await made.answer("initialize", RESULT, 2)
        assert (await made.heard(9))["result"] == RESULT


async def test_an_initialize_that_failed_is_said_again_for_whoever_goes_on_regardless(
    autojump_clock,
):
    # Its client was answered from what the server said at another time.
    async with stack(Keeper) as made:
        made.send(**INITIALIZE)
        first = await made.asked("initialize")
        made.server.downstream.fail(first.id, Unreachable("asleep"))
        await made.failed(0)
        made.send(method="notifications/initialized")
        made.send(id=1, method="tools/list")
        await say_again(made, 1, failed=1)
        await made.answer("tools/list", {"tools": []})
        await made.heard(1)


async def test_a_batch_is_carried_and_fails_part_by_part(autojump_clock):
    async with session() as made:
        batch = b'[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","id":2,"method":"y"}]'
        made.top.send(parse(batch))
        made.server.end(Unreachable("it died"))
        assert str(await made.failed(1)) == str(await made.failed(2)) == "it died"


async def test_nothing_is_kept_of_requests_that_are_over(autojump_clock):
    async with session() as made:
        for id in range(1, 50):
            request = made.send(id=id, method="tools/list")
            if id % 3 == 0:
                made.server.downstream.fail(request.id, Unreachable("cut"))
                request = await made.asked("tools/list", len(made.server.sent) - 3)
            if id % 5 == 0:
                made.top.forget(b"%d" % id)
            else:
                made.server.answer(request.id)
        keeper = made.top
        assert keeper._sent == {}
        assert keeper._retries._retries == {}
        assert keeper._retries._aliases == {}


async def test_probing_gives_turns_one_at_a_time_after_a_failure(autojump_clock):
    probing = Probing()
    async with probing.turn() as turn:
        turn.error = Unreachable("down")
    at_once = 0

    async def one() -> None:
        nonlocal at_once
        async with probing.turn() as turn:
            at_once += 1
            assert at_once == 1
            await trio.sleep(1)
            at_once -= 1
            turn.error = Unreachable("down")

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
