"""The dialect of `fly mcp wrap`, in detail; what all transports do is in the contract suite."""

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import Conflict, Denied, NotFound, Unreachable
from upstreams.world import world
from upstreams.wrapper import Wrapper


async def test_the_stream_stands_before_anything_is_sent(autojump_clock):
    async with world("fly-wrap", instance="148e21f", headers={"X-Own": "yes"}) as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="ping")
        w.send(id=2, method="ping")
        await w.answer(2)
        assert [exchange.method for exchange in w.server.seen] == ["GET", "POST", "POST"]
        assert {e.headers["fly-force-instance-id"] for e in w.server.seen} == {"148e21f"}
        assert {e.headers["x-own"] for e in w.server.seen} == {"yes"}
        assert all(body.endswith(b"}\n") and body.count(b"\n") == 1 for body in wrapper.heard)


async def test_messages_go_one_at_a_time(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        under_way = most = 0

        @w.server.on("POST")
        async def count(exchange: Exchange) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await trio.sleep(0.1)
            await wrapper.take(exchange)
            under_way -= 1

        for ident in range(20):
            w.send(id=ident, method="ping")
        await w.answer(19)
        assert most == 1
        first = wrapper.messages[0]["id"]
        assert [seen["id"] for seen in wrapper.messages] == list(range(first, first + 20))


async def test_lines_may_be_cut_and_joined_in_any_way(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        w.send(id=0, method="never")
        id = await wrapper.id_of("never")
        line = b'{"jsonrpc":"2.0","method":"n","params":"\xc3\xa9"}'
        await wrapper.say(line + b"\n" + line + b"\r\n\n" + line[:43])
        for at in range(43, len(line)):
            await wrapper.say(line[at : at + 1])
        await wrapper.say(b"\nnoise\n" + b'{"jsonrpc":"2.0","id":%d,"result":{}}\n' % id)
        await w.answer(0)
        assert w.ears.lines[:3] == [line] * 3
        assert len(w.log.of("server.garbage")) == 1


async def test_an_answer_over_the_limit_fails_its_call(autojump_clock):
    async with world("fly-wrap", max_message_bytes=5000) as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="never")
        id = await wrapper.id_of("never")
        await wrapper.say(b'{"method":"n","params":"%s"}\n' % (b"x" * 9999))
        await wrapper.say(b'{"jsonrpc":"2.0","id":%d,"result":"%s"}\n' % (id, b"x" * 9999))
        assert "max_message_bytes" in str(await w.failure(1))


# ---------------------------------------------------------------- when the stream breaks


async def test_what_was_in_flight_has_failed_and_what_comes_later_is_answered(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="never")
        w.send(id=2, method="ping")
        await w.answer(2)
        await wrapper.hang_up()
        error = await w.failure(1)
        assert isinstance(error, Unreachable)
        assert "closed the connection" in str(error)
        w.send(id=3, method="ping")
        await w.answer(3)
        assert len(w.server.calls("GET")) == 2
        assert w.ended is None


async def test_a_post_under_way_when_the_stream_breaks_has_failed_too(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)

        @w.server.on("POST")
        async def stuck(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="ping")
        w.send(id=2, method="ping")
        await w.server.wait_for("POST")
        w.server.on("POST")(wrapper.take)
        await wrapper.hang_up()
        assert isinstance(await w.failure(1), Unreachable)
        await w.answer(2)


async def test_a_machine_that_is_away_for_longer_fails_what_waits_and_is_found_again(
    autojump_clock,
):
    async with world("fly-wrap", connect_timeout_s=2) as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="ping")
        await w.answer(1)
        w.up = False
        w.http.close_idle()
        await wrapper.hang_up()
        w.send(id=2, method="ping")
        assert isinstance(await w.failure(2), Unreachable)
        await trio.sleep(60)
        w.up = True
        w.send(id=3, method="ping")
        await w.answer(3)


async def test_our_own_ghost_is_waited_out(autojump_clock):
    """The wrapper may take a while to notice that our last connection is gone."""
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="ping")
        await w.answer(1)
        wrapper.others = True
        await wrapper.hang_up()
        await w.settle()
        w.send(id=2, method="ping")
        await trio.sleep(2)
        wrapper.others = False
        await w.answer(2)
        assert w.ears.failures == []


# ---------------------------------------------------------------- another client


async def test_while_another_client_holds_it_every_call_is_refused_by_name(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        wrapper.others = True
        for ident in range(3):
            w.send(id=ident, method="ping")
            w.send(method="notifications/x")
            error = await w.failure(ident)
            assert isinstance(error, Conflict)
            assert "another client" in str(error)
        assert w.ended is None
        wrapper.others = False
        await w.server.wait_for("GET", len(w.server.calls("GET")) + 1)
        await w.settle()
        w.send(id=9, method="ping")
        await w.answer(9)


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (404, NotFound)])
async def test_a_refusal_that_will_not_change_ends_the_session(
    autojump_clock, status: int, kind: type[Exception]
):
    async with world("fly-wrap") as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        w.send(id=1, method="ping")
        await w.over.wait()
        assert isinstance(w.ended, kind)


@pytest.mark.parametrize("status", [400, 500])
async def test_a_refused_message_fails_and_the_next_one_goes(autojump_clock, status: int):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)

        @w.server.on("POST")
        async def refuse(exchange: Exchange) -> None:
            if exchange.rpc == "bad":
                await exchange.answer(status)
            else:
                await wrapper.take(exchange)

        w.send(id=1, method="bad")
        w.send(id=2, method="ping")
        assert str(status) in str(await w.failure(1))
        await w.answer(2)


async def test_a_call_that_was_given_up_is_not_failed_again(autojump_clock):
    async with world("fly-wrap") as w:
        wrapper = Wrapper(w)
        w.send(id=1, method="never")
        await w.server.wait_for("POST")
        w.upstream.forget(b"1")
        await wrapper.hang_up()
        await w.settle()
        w.send(id=2, method="ping")
        await w.answer(2)
        assert w.ears.failures == []


async def test_a_process_that_does_not_read_makes_us_full(autojump_clock):
    async with world("fly-wrap", max_message_bytes=1000) as w:
        wrapper = Wrapper(w)
        gate = trio.Event()

        @w.server.on("POST")
        async def later(exchange: Exchange) -> None:
            await gate.wait()
            await wrapper.take(exchange)

        w.send(id=1, method="ping", params={"x": "y" * 900})
        w.send(id=2, method="ping", params={"x": "y" * 900})
        assert w.upstream.full
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.upstream.wait_room)
            await w.settle()
            gate.set()
        await w.answer(2)
