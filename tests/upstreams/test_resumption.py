"""Streams that break and are taken up again (MCP 2025-11-25, Transports, "Resumability and Redelivery")."""

import itertools
from collections.abc import Awaitable, Callable

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import PeerError, Unreachable
from mcpctld.upstreams import _listen, _post
from upstreams.world import World, world

NOTE = {"jsonrpc": "2.0", "method": "notifications/message"}


def note(number: int) -> dict[str, object]:
    return NOTE | {"params": {"number": number}}


def resumed(w: World) -> Callable[[Callable[[Exchange], Awaitable[None]]], object]:
    """Answer GETs that resume; the others are told that there is no stream."""

    def register(handler: Callable[[Exchange], Awaitable[None]]) -> None:
        @w.server.on("GET")
        async def get(exchange: Exchange) -> None:
            if "last-event-id" in exchange.headers:
                await handler(exchange)
            else:
                await exchange.answer(405)

    return register


def resumptions(w: World) -> list[str]:
    ids = [exchange.headers.get("last-event-id") for exchange in w.server.calls("GET")]
    return [ident for ident in ids if ident is not None]


async def poll(w: World, *fields: str, **event: object) -> None:
    """A call whose stream ends at once, after one event with these fields."""

    @w.server.on("tools/call")
    async def call(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.event("", *fields)
        await exchange.end()

    await w.initialize()
    w.send(id=1, method="tools/call")


# ---------------------------------------------------------------- the stream of a POST


async def test_the_rest_is_asked_for_after_the_time_that_the_server_names(autojump_clock):
    async with world() as w:
        began: list[float] = []

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            began.append(trio.current_time())
            assert exchange.headers["mcp-session-id"]
            assert exchange.headers["mcp-protocol-version"] == "2025-11-25"
            await exchange.start_events()
            await exchange.event(note(1), "id: 2")
            await exchange.event({"jsonrpc": "2.0", "id": 1, "result": {}}, "id: 3")
            await exchange.end()

        await poll(w, "id: 1", "retry: 7500")
        start = trio.current_time()
        await w.answer(1)
        assert began[0] - start == pytest.approx(7.5, abs=0.1)
        assert resumptions(w) == ["1"]
        assert [m["method"] for m in w.messages if "method" in m] == ["notifications/message"]


async def test_a_server_may_end_its_streams_as_often_as_it_likes_while_it_gets_on(autojump_clock):
    async with world() as w:

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            number = int(exchange.headers["last-event-id"]) + 1
            await exchange.start_events()
            if number < 100:
                await exchange.event("", f"id: {number}")
            else:
                await exchange.event({"jsonrpc": "2.0", "id": 1, "result": {}}, "id: end")
            await exchange.end()

        await poll(w, "id: 1", "retry: 100")
        start = trio.current_time()
        await w.answer(1)
        assert trio.current_time() - start == pytest.approx(9.9, abs=0.5)
        assert len(resumptions(w)) == 99


async def test_a_stream_that_is_only_cut_from_time_to_time_is_not_given_up(autojump_clock):
    """A proxy that cuts idle connections after a minute must not limit how long a call may take."""
    async with world() as w:
        start = trio.current_time()

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            await exchange.start_events()
            if trio.current_time() - start > 1800:
                await exchange.event({"jsonrpc": "2.0", "id": 1, "result": {}})
            else:
                await trio.sleep(60)
            await exchange.drop()

        await poll(w, "id: 1")
        await w.answer(1)
        assert set(resumptions(w)) == {"1"}
        assert len(resumptions(w)) > 20


@pytest.mark.parametrize("retry", ["retry: 0", ": none"])
async def test_attempts_that_bring_nothing_come_slower_and_end(autojump_clock, retry: str):
    async with world() as w:

        @resumed(w)
        async def nothing(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.end()

        await poll(w, "id: 1", retry)
        start = trio.current_time()
        error = await w.failure(1)
        assert isinstance(error, PeerError)
        assert "without the response" in str(error)
        assert len(resumptions(w)) == _post.MAX_RESUMPTIONS
        assert 10 < trio.current_time() - start < 60


async def test_a_lost_connection_is_taken_up_again_too(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def call(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event(note(1), "id: é\u4e2d")
            await exchange.chunk(b"id: not yet\ndata: {")
            await exchange.drop()

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            ident = exchange.headers["last-event-id"].encode("latin-1").decode()
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "id": 1, "result": ident})
            await exchange.end()

        await w.initialize()
        w.send(id=1, method="tools/call")
        assert (await w.answer(1))["result"] == "é\u4e2d"


@pytest.mark.parametrize("fields", [(), ("id:",), ("id: \x01",)])
async def test_without_an_id_that_can_be_sent_back_the_call_has_failed(
    autojump_clock, fields: tuple[str, ...]
):
    async with world() as w:
        await poll(w, *fields)
        assert "without the response" in str(await w.failure(1))
        assert resumptions(w) == []


@pytest.mark.parametrize("status", [400, 404, 405, 500])
async def test_a_server_that_does_not_resume_fails_the_call(autojump_clock, status: int):
    async with world() as w:

        @resumed(w)
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        await poll(w, "id: 1")
        error = await w.failure(1)
        assert "without the response" in str(error)
        assert str(status) in str(error)
        assert len(w.server.calls("tools/call")) == 1
        w.send(id=2, method="tools/list")
        await w.answer(2)


async def test_a_server_that_has_gone_fails_the_call_at_last(autojump_clock):
    async with world(connect_timeout_s=3) as w:
        await poll(w, "id: 1")
        while w.server.calls("tools/call") == []:
            await w.server.changed.wait()
        await w.settle()
        w.up = False
        w.http.close_idle()
        assert isinstance(await w.failure(1), Unreachable)


async def test_a_call_cancelled_between_two_attempts_is_not_taken_up(autojump_clock):
    async with world() as w:
        await poll(w, "id: 1", "retry: 60000")
        await w.server.wait_for("tools/call")
        await w.settle()
        w.send(method="notifications/cancelled", params={"requestId": 1})
        await w.server.wait_for("notifications/cancelled")
        await trio.sleep(120)
        assert resumptions(w) == []
        assert w.ears.failures == []


async def test_initialize_may_be_answered_after_a_pause_too(autojump_clock):
    async with world() as w:

        @w.server.on("initialize")
        async def slow(exchange: Exchange) -> None:
            await exchange.start_events(("Mcp-Session-Id", "slow"))
            await exchange.event("", "id: 1")
            await exchange.end()

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            result = {"protocolVersion": "2025-11-25", "capabilities": {}}
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "id": "init", "result": result})
            await exchange.end()

        w.send(id="init", method="initialize", params={"protocolVersion": "2025-11-25"})
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert w.server.calls("tools/list")[0].headers["mcp-session-id"] == "slow"
        assert w.server.calls("GET")[0].headers["mcp-session-id"] == "slow"


# ---------------------------------------------------------------- the stream for what is said unasked


async def test_what_the_server_says_unasked_arrives(autojump_clock):
    async with world() as w:

        @w.server.on("GET")
        async def talk(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("not a message")
            await exchange.event({"jsonrpc": "2.0", "id": "s-1", "method": "roots/list"})
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        assert (await w.notified("roots/list"))["id"] == "s-1"
        assert len(w.log.of("server.garbage")) == 1


async def test_the_stream_is_taken_up_where_it_broke_again_and_again(autojump_clock):
    async with world() as w:

        @w.server.on("GET")
        async def talk(exchange: Exchange) -> None:
            number = int(exchange.headers.get("last-event-id", "0")) + 1
            await exchange.start_events()
            await exchange.event(note(number), f"id: {number}", "retry: 500")
            await exchange.drop()

        await w.initialize()
        start = trio.current_time()
        while len(w.messages) < 21:
            await w.ears.heard.wait()
        numbers = [m["params"]["number"] for m in w.messages if "method" in m]
        assert numbers == list(range(1, 21))
        took = trio.current_time() - start
        assert 9.5 <= took <= 9.5 * (1 + _listen.JITTER) + 0.5


async def test_without_retry_the_pauses_grow_until_a_stream_has_lived(autojump_clock):
    async with world() as w:
        asked: list[float] = []

        @w.server.on("GET")
        async def short(exchange: Exchange) -> None:
            asked.append(trio.current_time())
            await exchange.start_events()
            if len(asked) == 5:
                await trio.sleep(_listen.LIVED_S + 1)
            await exchange.end()

        await w.initialize()
        await trio.sleep(100)
        pauses = [later - before for before, later in itertools.pairwise(asked)]
        expected = [1, 2, 4, 8, _listen.LIVED_S + 2]
        for pause, least in zip(pauses, expected, strict=False):
            assert least <= pause <= least * (1 + _listen.JITTER) + 0.1
        assert len({pause % 1 for pause in pauses}) > 1  # jitter


@pytest.mark.parametrize("status", [400, 401, 404, 405, 501])
async def test_a_server_without_such_a_stream_is_asked_again_only_if_it_was_in_trouble(
    autojump_clock, status: int
):
    async with world() as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        await w.initialize()
        await trio.sleep(30)
        assert (len(w.server.calls("GET")) > 1) == (status == 501)
        assert w.ended is None


async def test_a_get_answered_with_something_else_is_no_stream(autojump_clock):
    async with world() as w:

        @w.server.on("GET")
        async def page(exchange: Exchange) -> None:
            await exchange.json({"hello": "world"})

        await w.initialize()
        await trio.sleep(30)
        assert len(w.server.calls("GET")) == 1


async def test_an_unsolicited_message_over_the_limit_is_logged(autojump_clock):
    async with world(max_message_bytes=5000) as w:

        @w.server.on("GET")
        async def shout(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event(note(1) | {"x": "y" * 10_000})
            await exchange.event(note(2))
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        assert (await w.notified("notifications/message"))["params"]["number"] == 2
        assert w.log.of("server.too_long")


async def test_the_server_may_be_away_while_we_listen(autojump_clock):
    async with world(connect_timeout_s=1) as w:
        first = trio.Event()

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            if not first.is_set():
                first.set()
                await exchange.drop()
            await exchange.event(note(2))
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        await first.wait()
        w.up = False
        w.http.close_idle()
        await trio.sleep(300)
        w.up = True
        await w.notified("notifications/message")


# ---------------------------------------------------------------- another network

FAR = "http://far.example/mcp"


async def test_after_a_change_of_network_the_stream_is_taken_up_at_once_where_it_was(
    autojump_clock,
):
    async with world(url=FAR) as w:

        @w.server.on("GET")
        async def talk(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("", "id: 7", "retry: 60000")
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        await w.server.wait_for("GET")
        await trio.sleep(100)
        began = trio.current_time()
        w.http.renew("the network has changed")
        await w.server.wait_for("GET", 2)
        assert trio.current_time() == began
        assert resumptions(w) == ["7"]
        assert w.ears.losses == []


async def test_who_pauses_after_failures_tries_again_at_once(autojump_clock):
    async with world(connect_timeout_s=1, url=FAR) as w:
        first = trio.Event()

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            if not first.is_set():
                first.set()
                await exchange.drop()
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        await first.wait()
        w.up = False
        w.http.close_idle()
        await trio.sleep(300)
        w.up = True
        began = trio.current_time()
        w.http.renew("the network has changed")
        await w.server.wait_for("GET", 2)
        assert trio.current_time() - began < 0.2


async def test_the_rest_of_an_answer_is_asked_for_again_over_the_new_network(autojump_clock):
    async with world(url=FAR) as w:
        cut = trio.Event()

        @resumed(w)
        async def rest(exchange: Exchange) -> None:
            await exchange.start_events()
            if cut.is_set():
                await exchange.event({"jsonrpc": "2.0", "id": 1, "result": {}})
                await exchange.end()
            else:
                cut.set()
                await exchange.client_left()
                await exchange.drop()

        await poll(w, "id: 1", "retry: 100")
        await cut.wait()
        await w.settle()
        w.http.renew("the network has changed")
        await w.answer(1)
        assert resumptions(w) == ["1", "1"]


async def test_a_call_under_way_is_left_to_finish(autojump_clock):
    async with world(url=FAR) as w:

        @w.server.on("tools/call")
        async def slow(exchange: Exchange) -> None:
            await trio.sleep(20)
            await exchange.reply({})

        await w.initialize()
        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        w.http.renew("the network has changed")
        await w.answer(1)
        assert len(w.server.calls("tools/call")) == 1
