"""Which transport a URL speaks is found out without losing a message, and a wrong memory heals."""

import contextlib
import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import Conflict, Denied, McpctlError, NotFound, PeerError, Unreachable
from mcpctld.upstreams import auto
from sessions.client import INITIALIZE
from upstreams.world import World, world

URL = "http://127.0.0.1:80/mcp"
HTML = ("Content-Type", "text/html")


def begin(w: World) -> None:
    """What a hasty client writes in one breath."""
    w.send(id="init", method="initialize", params=INITIALIZE)
    w.send(method="notifications/initialized")
    w.send(id=1, method="tools/list")


def heard(w: World) -> list[str]:
    return [exchange.rpc for exchange in w.server.calls("POST")]


def speak_sse(w: World, status: int = 405, body: bytes = b"", *headers: tuple[str, str]) -> None:
    """Be an HTTP+SSE server."""
    streams: list[Exchange] = []

    @w.server.on("GET")
    async def listen(exchange: Exchange) -> None:
        await exchange.start_events()
        streams.append(exchange)
        await exchange.event("/say", "event: endpoint")
        await exchange.client_left()
        await exchange.drop()

    @w.server.on("POST")
    async def take(exchange: Exchange) -> None:
        if exchange.target != "/say":
            await exchange.answer(status, body, *headers)
            return
        await exchange.answer(202)
        if "id" in exchange.message:
            answer = {"jsonrpc": "2.0", "id": exchange.message["id"], "result": {}}
            await streams[-1].event(answer)


def speak_fly_wrap(w: World) -> None:
    """Be the fly wrapper, with a process that answers lines."""
    streams: list[Exchange] = []
    stdin = b""

    @w.server.on("GET")
    async def listen(exchange: Exchange) -> None:
        await exchange.start_events()
        streams.append(exchange)
        with contextlib.suppress(trio.ClosedResourceError):
            await exchange.client_left()
        streams.remove(exchange)
        await exchange.drop()

    @w.server.on("POST")
    async def take(exchange: Exchange) -> None:
        nonlocal stdin
        await exchange.answer(202)
        *lines, stdin = (stdin + exchange.body).split(b"\n")
        for line in lines:
            if line and "id" in (message := json.loads(line)) and streams:
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
                await streams[-1].chunk(json.dumps(answer).encode() + b"\n")


# ---------------------------------------------------------------- detection


async def test_streamable_http_is_found_by_its_answer(autojump_clock):
    async with world("auto") as w:
        assert w.upstream.name == "auto"
        begin(w)
        await w.answer("init")
        assert w.upstream.name == "streamable-http"
        await w.answer(1)
        assert w.verdicts == {URL: "streamable-http"}
        assert heard(w) == ["initialize", "notifications/initialized", "tools/list"]


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((404, b"Cannot POST /mcp", HTML), id="404 web page"),
        pytest.param((405,), id="405"),
        pytest.param((400, b"{}"), id="400"),
        pytest.param(
            (400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"x"}}'), id="-32000"
        ),
    ],
)
async def test_http_sse_is_found_by_its_stream_and_nothing_is_lost(autojump_clock, refusal: Any):
    async with world("auto") as w:
        speak_sse(w, *refusal)
        begin(w)
        await w.answer("init")
        await w.answer(1)
        assert w.upstream.name == "http-sse"
        assert w.verdicts == {URL: "http-sse"}
        assert heard(w) == [
            *("initialize", "initialize", "notifications/initialized", "tools/list")
        ]
        assert len(w.server.calls("GET")) == 1


async def test_the_fly_wrapper_is_found_by_its_202_and_nothing_is_lost(autojump_clock):
    async with world("auto") as w:
        speak_fly_wrap(w)
        begin(w)
        await w.answer(1)
        assert w.upstream.name == "fly-wrap"
        assert w.verdicts == {URL: "fly-wrap"}
        assert w._answers("init")


async def test_a_call_that_may_not_be_made_twice_is_not_when_its_answer_is_lost(autojump_clock):
    async with world("auto") as w:
        speak_fly_wrap(w)
        w.send(id=1, method="tools/call", params={"name": "pay"})
        assert "answer is lost" in str(await w.failure(1))
        w.send(id=2, method="tools/call", params={"name": "pay"})
        await w.answer(2)
        assert sum(b'"id": 1,' in exchange.body for exchange in w.server.calls("POST")) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Denied), (403, Denied), (409, Conflict), (500, Unreachable)]
)
async def test_some_refusals_say_nothing_of_the_transport(
    autojump_clock, status: int, kind: type[McpctlError]
):
    async with world("auto") as w:

        @w.server.on("POST")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        w.send(id="init", method="initialize", params=INITIALIZE)
        assert isinstance(await w.failure("init"), kind)
        assert w.server.calls("GET") == []
        assert w.verdicts == {}
        assert w.upstream.name == "auto"


@pytest.mark.parametrize("status", [401, 500])
async def test_nor_do_they_with_a_json_rpc_error_in_them(autojump_clock, status: int):
    async with world("auto") as w:

        @w.server.on("initialize")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32000, "message": "x"}
            await exchange.json({"jsonrpc": "2.0", "id": None, "error": error}, status=status)

        w.send(id="init", method="initialize", params=INITIALIZE)
        while not w.ears.lines and not w.ears.failures:
            await w.ears.heard.wait()
        assert w.verdicts == {}


async def test_a_modern_server_that_refuses_initialize_is_not_taken_for_http_sse(autojump_clock):
    async with world("auto") as w:

        @w.server.on("initialize")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32022, "message": "x", "data": {"supported": ["2026-07-28"]}}
            await exchange.json({"jsonrpc": "2.0", "id": "init", "error": error}, status=400)

        w.send(id="init", method="initialize", params=INITIALIZE)
        assert (await w.answer("init"))["error"]["code"] == -32022
        assert w.server.calls("GET") == []


async def _page(exchange: Exchange) -> None:
    await exchange.answer(200, b"<html>", HTML)


async def _refuse(exchange: Exchange) -> None:
    await exchange.answer(405)


async def _nameless(exchange: Exchange) -> None:
    await exchange.start_events()
    await exchange.client_left()
    await exchange.drop()


async def _hang(exchange: Exchange) -> None:
    exchange.answered = True
    await exchange.client_left()
    await exchange.drop()


@pytest.mark.parametrize("get", [_page, _refuse, _nameless, _hang])
async def test_what_is_not_http_sse_either_is_refused_as_it_was_at_first(
    autojump_clock, get: Callable[[Exchange], Awaitable[None]]
):
    async with world("auto") as w:
        w.server.on("GET")(get)

        @w.server.on("initialize")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(404, b"<html>", HTML)

        began = trio.current_time()
        begin(w)
        error = await w.failure("init")
        assert isinstance(error, NotFound)
        assert "404" in str(error)
        assert trio.current_time() - began <= auto.PROBE_BOUND_S + 0.1
        # The rest goes where the first one went; it is for the server to say what it thinks of it.
        await w.answer(1)
        assert w.ended is None


async def test_after_a_refusal_the_client_may_try_again(autojump_clock):
    async with world("auto") as w:
        w.server.on("initialize")(functools.partial(Exchange.answer, status=404))
        w.send(id=0, method="initialize", params=INITIALIZE)
        await w.failure(0)
        speak_sse(w)
        del w.server.handlers["initialize"]
        w.send(id=1, method="initialize", params=INITIALIZE)
        await w.answer(1)
        assert w.upstream.name == "http-sse"


async def test_closing_while_it_is_found_out_is_bounded_and_leaves_nothing(autojump_clock):
    async with world("auto") as w:
        w.server.on("GET")(_hang)
        w.server.on("initialize")(functools.partial(Exchange.answer, status=404))
        begin(w)
        await w.server.wait_for("GET")
        assert not w.upstream.full
        await w.upstream.wait_room()
        w.upstream.forget(b"1")


# ---------------------------------------------------------------- memory


async def test_what_was_found_is_used_by_the_next_session(autojump_clock):
    verdicts: dict[str, str] = {}
    for _ in range(2):
        async with world("auto", verdicts=verdicts) as w:
            speak_sse(w)
            begin(w)
            await w.answer(1)
            count = heard(w).count("initialize")
    assert count == 1
    for _ in range(2):
        async with world("auto", verdicts=verdicts, url="http://127.0.0.1:80/wrap") as w:
            speak_fly_wrap(w)
            begin(w)
            await w.answer(1)
            first = w.server.seen[0].method
    assert first == "GET"


@pytest.mark.parametrize(
    ("known", "really"),
    [
        ("http-sse", "streamable-http"),
        ("http-sse", "fly-wrap"),
        ("fly-wrap", "streamable-http"),
        ("fly-wrap", "http-sse"),
        ("streamable-http", "http-sse"),
        ("streamable-http", "fly-wrap"),
        ("streamable-http", "streamable-http"),
        ("nonsense", "streamable-http"),
    ],
)
async def test_a_wrong_memory_costs_nothing_and_is_put_right(
    autojump_clock, known: str, really: str
):
    async with world("auto", verdicts={URL: known}) as w:
        if really == "http-sse":
            speak_sse(w)
        elif really == "fly-wrap":
            speak_fly_wrap(w)
        begin(w)
        await w.answer("init")
        await w.answer(1)
        assert w.upstream.name == really
        assert w.verdicts == {URL: really}


async def test_a_memory_of_the_wrapper_heals_though_the_server_offers_a_get_stream(autojump_clock):
    async with world("auto", verdicts={URL: "fly-wrap"}) as w:

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        begin(w)
        await w.answer("init")
        await w.answer(1)
        assert w.upstream.name == "streamable-http"
        assert w.verdicts == {URL: "streamable-http"}


@pytest.mark.parametrize("known", ["http-sse", "fly-wrap"])
@pytest.mark.parametrize("status", [401, 404])
async def test_a_server_in_trouble_does_not_change_what_is_known_of_it(
    autojump_clock, known: str, status: int
):
    async with world("auto", verdicts={URL: known}) as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        @w.server.on("POST")
        async def refuse_too(exchange: Exchange) -> None:
            await exchange.answer(status)

        w.send(id="init", method="initialize", params=INITIALIZE)
        if status == 401:
            await w.over.wait()
            assert isinstance(w.ended, Denied)
            assert w.verdicts == {URL: known}
        else:
            assert isinstance(await w.failure("init"), NotFound)
            assert w.verdicts == {}


async def test_a_session_that_has_begun_ends_with_its_stream_and_is_remembered(autojump_clock):
    async with world("auto", verdicts={URL: "http-sse"}) as w:
        speak_sse(w)
        begin(w)
        await w.answer(1)
        (stream,) = w.server.calls("GET")
        await stream.stream.aclose()
        await w.over.wait()
        assert isinstance(w.ended, Unreachable)
        assert w.verdicts == {URL: "http-sse"}


async def test_requests_under_way_are_not_lost_when_the_transport_changes(autojump_clock):
    """From 2026-07-28 on there is no `initialize` to wait for."""
    async with world("auto") as w:
        gate = trio.Event()

        @w.server.on("POST")
        async def slow(exchange: Exchange) -> None:
            if exchange.rpc == "tools/list":
                await gate.wait()
            await exchange.answer(202)

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/list")
        w.send(id=2, method="tools/call")
        assert isinstance(await w.failure(2), PeerError)
        assert isinstance(await w.failure(1), McpctlError)
        gate.set()


async def test_a_wrapper_that_turns_into_something_else_fails_what_is_under_way(autojump_clock):
    async with world("auto", verdicts={URL: "fly-wrap"}) as w:
        speak_fly_wrap(w)
        w.send(id=1, method="ping")
        await w.answer(1)

        @w.server.on("POST")
        async def swallow(exchange: Exchange) -> None:
            await exchange.answer(202)

        w.send(id=2, method="tools/call")
        await w.server.wait_for("tools/call")
        await w.settle()
        (stream,) = w.server.calls("GET")
        w.server.handlers.clear()
        await stream.stream.aclose()
        assert isinstance(await w.failure(2), Unreachable)
        await w.server.wait_for("GET", 2)
        await w.settle()
        w.send(id=3, method="initialize", params=INITIALIZE)
        await w.answer(3)
        assert w.verdicts == {URL: "streamable-http"}


async def test_a_refusal_weighs_nothing_afterwards(autojump_clock):
    async with world("auto", max_message_bytes=1000) as w:
        w.server.on("POST")(functools.partial(Exchange.answer, status=404))
        for ident in range(3):
            w.send(id=ident, method="initialize", params=INITIALIZE | {"x": "y" * 700})
            await w.failure(ident)
            assert not w.upstream.full
        w.server.on("POST")(_hang)
        w.send(id=8, method="x", params={"x": "y" * 700})
        assert not w.upstream.full
        w.send(id=9, method="x", params={"x": "y" * 700})
        assert w.upstream.full


async def test_what_waited_for_a_server_that_cannot_be_reached_is_handed_back(autojump_clock):
    async with world("auto", verdicts={URL: "http-sse"}, reachable=False, connect_timeout_s=2) as w:
        w.send(id=1, method="initialize", params=INITIALIZE)
        await w.over.wait()
        assert isinstance(w.ended, Unreachable)
        ((raw, error),) = w.ears.losses
        assert b'"initialize"' in (raw or b"")
        assert error.unprocessed
        assert w.verdicts == {URL: "http-sse"}


async def test_what_waits_while_a_verdict_is_put_right_is_sent_and_not_handed_back(autojump_clock):
    async with world("auto", verdicts={URL: "http-sse"}) as w:
        begin(w)
        await w.answer(1)
        assert w.ears.losses == []
