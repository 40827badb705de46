"""Transports at rest: nothing is held open that keeps a machine awake, and the next message takes all up again."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.sessions.keeper import Keeper
from mcpctld.upstreams import make_upstream
from upstreams.neighbours import Listened, acknowledged, ask, neighbour
from upstreams.test_hearing import Ear
from upstreams.test_http_sse import Sse
from upstreams.world import World, world
from upstreams.wrapper import Wrapper

TOOLS = "notifications/tools/list_changed"


@contextlib.asynccontextmanager
async def kept(transport: str) -> AsyncIterator[World]:
    """With the keeper over it, which makes sessions anew."""
    async with world(transport, make=lambda c: Keeper(c, make_upstream)) as made:
        yield made


async def at_rest(w: World) -> int:
    """Rest, and stay so: how many requests the server has seen by then."""
    await w.settle()
    w.upstream.rest()
    w.http.close_idle()
    await w.settle()
    assert w.connections == 0
    seen = len(w.server.seen)
    await trio.sleep(1800)
    assert w.connections == 0
    assert len(w.server.seen) == seen
    return seen


@pytest.mark.parametrize("transport", ["streamable-http", "auto"])
async def test_the_stream_of_a_session_is_let_go_and_asked_for_again(
    autojump_clock: trio.testing.MockClock, transport: str
) -> None:
    async with world(transport) as w:
        ear = Ear(w)
        ear.go.set()
        await w.initialize()
        await w.server.wait_for("GET")
        await w.settle()
        assert ear.standing is not None
        assert w.connections > 0
        seen = await at_rest(w)
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        again = [exchange.method for exchange in w.server.seen[seen:]]
        assert again == ["GET", "POST"]  # a question of the server's would be heard
        assert {e.headers.get("mcp-session-id") for e in w.server.seen[seen:]} == {"session-1"}
        await at_rest(w)  # and again


async def test_a_stream_that_the_server_does_not_offer_is_not_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:

        @w.server.on("GET")
        async def none(exchange: Exchange) -> None:
            await exchange.answer(405)

        await w.initialize()
        await w.server.wait_for("GET")
        await w.settle()
        seen = await at_rest(w)
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert [exchange.method for exchange in w.server.seen[seen:]] == ["POST"]


async def test_the_shared_stream_of_changes_is_let_go_and_who_listens_hears_that_all_may_differ(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        ask(w, 1, "subscriptions/listen", notifications={"toolsListChanged": True})
        await acknowledged(w, 1)
        ask(other, 2, "subscriptions/listen", notifications={"toolsListChanged": True})
        await acknowledged(other, 2)
        other.upstream.rest()
        await at_rest(w)
        assert server.open == []
        ask(other, 3, "tools/list")
        await server.wait_open(1)
        await w.notified(TOOLS)
        await other.notified(TOOLS)


async def test_a_listen_that_is_waited_for_is_not_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        server = Listened(w)
        ask(w, 1, "subscriptions/listen", notifications={"toolsListChanged": True})
        w.upstream.rest()
        await acknowledged(w, 1)
        assert len(server.open) == 1


async def test_http_sse_is_ended_and_made_anew(autojump_clock: trio.testing.MockClock) -> None:
    async with kept("http-sse") as w:
        server = Sse(w)
        await w.initialize()
        await at_rest(w)
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        assert len(w.server.calls("GET")) == 2
        assert len(w.server.calls("initialize")) == 2
        assert server.stream is not None


async def test_an_http_sse_stream_on_which_an_answer_may_come_stays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with kept("http-sse") as w:
        server = Sse(w)
        await w.initialize()

        @w.server.on("tools/call")
        async def slow(exchange: Exchange) -> None:
            await exchange.answer(202)

        w.server.handlers["POST"] = slow
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.server.wait_for("tools/call")
        w.upstream.rest()
        await w.settle()
        await server.reply(1)
        await w.answer(1)


async def test_the_wrapper_is_let_go_and_taken_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with kept("fly-wrap") as w:
        Wrapper(w)
        await w.initialize()
        await at_rest(w)
        w.send(id=1, method="ping")
        w.send(id=2, method="tools/list")
        await w.answer(2)
        assert len(w.server.calls("GET")) == 2


@pytest.mark.parametrize("transport", ["streamable-http", "auto", "http-sse", "fly-wrap"])
async def test_what_is_abandoned_says_nothing_more(
    autojump_clock: trio.testing.MockClock, transport: str
) -> None:
    async with kept(transport) as w:
        if transport == "http-sse":
            Sse(w)
        elif transport == "fly-wrap":
            Wrapper(w)
        await w.initialize()
        await w.settle()
        seen = len(w.server.calls("POST"))
        w.upstream.abandon()
        w.running.cancel()
        await w.settle()
        assert w.server.calls("DELETE") == []
        assert len(w.server.calls("POST")) == seen
