"""Several sessions on one `fly mcp wrap`: one GET, one lane of POSTs, one handshake."""

import json
from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import Conflict, PeerError, TimedOut, Unreachable
from mcpctld.upstreams._wrap_core import LAG_S, LEFT, RENEWAL_BOUND_S
from mcpctld.upstreams.fly_wrap import FlyWrap
from sessions.client import INITIALIZE
from upstreams.guest import Guest
from upstreams.world import World, world
from upstreams.wrapper import Wrapper

RESULT = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x"}}


async def greet(w: World, wrapper: Wrapper, *guests: World) -> None:
    """All shake hands."""
    wrapper.results["initialize"] = RESULT
    for one in (w, *guests):
        one.send(id=0, method="initialize", params=INITIALIZE)
        await one.answer(0)
        one.send(method="notifications/initialized")
    await wrapper.hears("notifications/initialized")


# ---------------------------------------------------------------- together


async def test_all_share_one_get_and_one_handshake(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        guests = [Guest(w), Guest(w)]
        await greet(w, wrapper, *guests)
        assert w.shared.sharing == 3
        assert len(w.server.calls("GET")) == 1
        for one in (w, *guests):
            one.send(id=1, method="tools/list")
            await one.answer(1)
        methods = [message["method"] for message in wrapper.messages]
        assert methods == ["initialize", "notifications/initialized", *["tools/list"] * 3]
        for guest in guests:
            await guest.leave()
        assert w.shared.sharing == 1


async def test_messages_of_all_go_one_at_a_time_in_the_order_of_each(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        under_way = most = 0

        @w.server.on("POST")
        async def count(exchange: Exchange) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await trio.sleep(0.1)
            await wrapper.take(exchange)
            under_way -= 1

        for number in range(20):
            for one in (w, guest):
                one.send(id=number, method="ping", params={"n": number, "who": one is w})
        await w.answer(19)
        await guest.answer(19)
        assert most == 1
        for who in (True, False):
            heard = [message["params"] for message in wrapper.messages]
            assert [said["n"] for said in heard if said["who"] is who] == list(range(20))


async def test_each_gets_its_own_answer_and_its_own_progress(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        for one in (w, guest):
            one.send(id=1, method="never", params={"_meta": {"progressToken": 1}})
        second = await wrapper.id_of("never", 2)
        await wrapper.tell(
            method="notifications/progress", params={"progressToken": second, "progress": 1}
        )
        await wrapper.tell(id=second, result={"for": "guest"})
        assert (await guest.answer(1))["result"] == {"for": "guest"}
        assert guest.messages[0]["params"] == {"progressToken": 1, "progress": 1}
        assert w.messages == []


async def test_a_question_goes_to_the_client_with_the_call(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        guest.send(id=1, method="never")
        await wrapper.hears("never")
        await wrapper.tell(id="q", method="elicitation/create", params={})
        await guest.notified("elicitation/create")
        guest.send(id="q", result={"action": "accept"})
        assert (await wrapper.hears(""))["result"] == {"action": "accept"}
        assert w.messages == []


# ---------------------------------------------------------------- coming and going


async def test_who_leaves_takes_its_calls_along_and_the_others_go_on(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        await greet(guest, wrapper, w)
        guest.send(id=1, method="never")
        await wrapper.hears("never")
        await guest.leave()
        assert isinstance(await guest.failure(1), Unreachable)
        cancelled = await wrapper.hears("notifications/cancelled")
        assert cancelled["params"]["requestId"] == (await wrapper.hears("never"))["id"]
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert len(w.server.calls("GET")) == 1


async def test_with_the_last_session_the_connection_ends_and_a_new_one_begins_anew(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        await greet(w, wrapper)
        await w.upstream.aclose()
        await w.settle()
        assert wrapper.listener is None
        assert w.shared.sharing == 0
        assert set(w.shared.hubs) == {LEFT}
        guest = Guest(w)
        await greet(guest, wrapper)
        assert len(w.server.calls("GET")) == len(wrapper.of("initialize")) == 2
        await guest.leave()


async def test_the_ghost_of_the_last_session_is_waited_out_by_the_next(autojump_clock):
    """The wrapper may take a while to notice that nobody listens any more."""
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        await greet(w, wrapper)
        await w.upstream.aclose()
        wrapper.others = True
        guest = Guest(w)
        guest.send(id=1, method="ping")
        await trio.sleep(2)
        wrapper.others = False
        await guest.answer(1)
        await guest.leave()


async def test_while_another_client_holds_it_each_is_told(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        wrapper.others = True
        for one in (w, guest):
            one.send(id=1, method="ping")
            assert isinstance(await one.failure(1), Conflict)
        assert len(w.server.calls("POST")) == 0


async def test_when_there_is_no_use_all_end_and_get_back_what_was_not_sent(autojump_clock):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(404)

        guest = Guest(w)
        for one in (w, guest):
            one.send(id=1, method="ping")
        for one in (w, guest):
            await one.over.wait()
            assert "no MCP server there" in str(one.ended)
            ((lost, error),) = one.ears.losses
            assert json.loads(lost or b"")["id"] == 1
            assert error.unprocessed
        assert w.shared.hubs == {LEFT: -5.0}
        guest.send(id=2, method="ping")
        assert len(guest.upstream.surrender()) == 1


# ---------------------------------------------------------------- a machine that slept


async def test_a_process_that_may_be_fresh_hears_the_beginning_again(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        await greet(w, wrapper, guest)
        guest.send(id=1, method="logging/setLevel", params={"level": "debug"})
        guest.send(id=2, method="resources/subscribe", params={"uri": "x:1"})
        await guest.answer(2)
        await wrapper.hang_up()
        await w.settle()
        guest.send(id=3, method="tools/list")
        await guest.answer(3)
        heard = [message["method"] for message in wrapper.messages]
        assert heard[4:] == [
            *("initialize", "notifications/initialized", "logging/setLevel"),
            *("resources/subscribe", "tools/list"),
        ]
        assert w.ears.failures == guest.ears.failures == []


async def test_one_that_does_not_answer_it_is_not_waited_for_for_ever(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        await greet(w, wrapper)

        @w.server.on("POST")
        async def deaf_to_it(exchange: Exchange) -> None:
            if exchange.rpc == "initialize":
                await exchange.answer(202)
            else:
                await wrapper.take(exchange)

        await wrapper.hang_up()
        await w.settle()
        began = trio.current_time()
        w.send(id=3, method="tools/list")
        await w.answer(3)
        assert RENEWAL_BOUND_S <= trio.current_time() - began < RENEWAL_BOUND_S + 1


async def test_a_stream_over_another_network_is_taken_anew_unless_an_answer_may_come(
    autojump_clock,
):
    async with world("fly-wrap", url="http://wrapper.example/mcp") as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="ping")
        await w.answer(1)
        w.send(id=2, method="never")
        id = await wrapper.id_of("never")
        w.http.renew("test")
        await w.settle()
        await wrapper.tell(id=id, result={})
        await w.answer(2)
        assert len(w.server.calls("GET")) == 1
        w.http.renew("test")
        await w.server.wait_for("GET", 2)


# ---------------------------------------------------------------- clients that lag behind


async def lag(w: World, wrapper: Wrapper, lame: World) -> None:
    """One client does not read, and there is something to tell."""
    lame.ears.client_full = True
    for _ in range(3):
        await wrapper.tell(method="notifications/n")


async def test_a_client_that_does_not_read_goes_when_others_wait(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        await greet(w, wrapper, guest)
        guest.send(id=1, method="never")
        w.send(id=1, method="never")
        id = await wrapper.id_of("never", 2)
        await lag(w, wrapper, guest)
        began = trio.current_time()
        await wrapper.tell(id=id, result={})
        await w.answer(1)
        assert trio.current_time() - began <= LAG_S + 1
        assert "does not read" in str(guest.ended)
        assert isinstance(await guest.failure(1), Unreachable)
        assert w.shared.sharing == 1


async def test_one_that_catches_up_stays(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        await greet(w, wrapper, guest)
        await lag(w, wrapper, guest)
        await trio.sleep(LAG_S / 2)
        guest.ears.read_on()
        guest.send(id=1, method="ping")
        await guest.answer(1)
        assert len(guest.messages) == len([*range(3), "initialize", "ping"])


async def test_one_that_is_alone_is_waited_for(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        await greet(w, wrapper)
        await lag(w, wrapper, w)
        await trio.sleep(5 * LAG_S)
        w.ears.read_on()
        w.send(id=1, method="ping")
        await w.answer(1)
        assert len(w.messages) == len([*range(3), "initialize", "ping"])


# ---------------------------------------------------------------- odd wrappers, and none


async def test_a_wrapper_that_answers_the_get_with_its_first_line_only_is_spoken_to(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        wrapper.slow_head = True
        w.send(id=1, method="ping")
        await w.answer(1)
        w.send(id=2, method="ping")
        await w.answer(2)
        assert len(w.server.calls("GET")) == 1


async def test_one_that_is_found_to_be_held_after_all_fails_what_was_sent(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)

        @w.server.on("GET")
        async def refuse_late(exchange: Exchange) -> None:
            await trio.sleep(5)
            await exchange.answer(409)

        w.send(id=1, method="never")
        await wrapper.hears("never")
        w.send(id=2, method="never")
        assert isinstance(await w.failure(1), Conflict)
        assert isinstance(await w.failure(2), Conflict)


async def test_a_process_that_does_not_read_is_given_up_with_half_a_message(autojump_clock):
    async with world("fly-wrap", call_timeout_s=20) as w:
        wrapper = Wrapper(w)

        @w.server.on("POST")
        async def stuck(exchange: Exchange) -> None:
            w.server.on("POST")(wrapper.take)
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="ping")
        w.send(id=2, method="ping")
        assert isinstance(await w.failure(1), TimedOut)
        await w.answer(2)
        assert wrapper.heard[0].startswith(b"\n{")


EVENTS = (b"event: endpoint\ndata: /say\n\n", b": hello\n\n", b"data: {}\n\n")


@pytest.mark.parametrize("first", EVENTS)
async def test_server_sent_events_are_no_lines_of_a_process(autojump_clock, first: bytes):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def be_sse(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.chunk(first)
            await exchange.client_left()
            await exchange.drop()

        await w.over.wait()
        assert isinstance(w.ended, PeerError)
        assert "HTTP+SSE" in str(w.ended)


async def test_a_web_page_is_no_wrapper(autojump_clock):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def page(exchange: Exchange) -> None:
            await exchange.answer(200, b"<p>", ("Content-Type", "text/html"))

        await w.over.wait()
        assert "text/html" in str(w.ended)


@pytest.mark.parametrize(("method", "times"), [("tools/list", 1), ("tools/call", 0)])
async def test_who_answers_a_post_is_no_wrapper_and_what_can_be_asked_again_is_given_back(
    autojump_clock, method: str, times: int
):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method=method, params={})
        await w.over.wait()
        assert "answered a POST with application/json" in str(w.ended)
        assert len(w.ears.losses) == times
        assert len(w.ears.failures) == 1 - times


async def test_who_takes_no_posts_there_is_no_wrapper_and_has_not_read_what_it_refused(
    autojump_clock,
):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        @w.server.on("POST")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(405)

        w.send(id=1, method="tools/call", params={})
        await w.over.wait()
        assert "no MCP server there" in str(w.ended)
        assert len(w.ears.losses) == 1


async def test_a_wrapper_with_a_word_too_many_is_still_one(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="ping")
        await w.answer(1)

        @w.server.on("POST")
        async def chatter(exchange: Exchange) -> None:
            await exchange.json({"accepted": True})
            wrapper.heard.append(exchange.body)
            await wrapper.answer(json.loads(exchange.body))

        w.send(id=2, method="ping")
        await w.answer(2)
        await wrapper.say(b"data: nonsense\n")
        w.send(id=3, method="ping")
        await w.answer(3)
        assert len(w.log.of("server.garbage")) == 1


async def test_the_layers_above_may_say_something_while_they_are_told_something(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        deliver, said = w.ears.deliver, []

        def reply(message: Any) -> None:
            deliver(message)
            if not said:
                said.append(message)
                w.send(id=2, method="ping")

        w.ears.deliver = reply  # type: ignore[method-assign]
        w.send(id=1, method="ping")
        await w.answer(2)
        assert isinstance(w.upstream, FlyWrap)
        w.upstream.forget(b"2")
        assert len(wrapper.messages) == 2
