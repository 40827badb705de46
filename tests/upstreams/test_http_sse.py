"""HTTP+SSE of 2024-11-05, in detail; what all transports do is in the contract suite."""

import json

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import McpctlError, PeerError, SessionLost, Unreachable
from upstreams.world import World, world


class Sse:
    """The server's habits: an endpoint, and a stream that the test can speak on."""

    def __init__(self, w: World, endpoint: str = "/say?s=1") -> None:
        self.w = w
        self.endpoint = endpoint
        self.stream: Exchange | None = None
        w.server.on("GET")(self.listen)
        w.server.on("POST")(self.take)

    async def listen(self, exchange: Exchange) -> None:
        await exchange.start_events(("Set-Cookie", "stick=here"))
        if self.endpoint:
            await exchange.event(self.endpoint, "event: endpoint")
        self.stream = exchange
        await exchange.client_left()
        await exchange.drop()

    async def take(self, exchange: Exchange) -> None:
        await exchange.answer(202)
        if "id" in exchange.message and "method" in exchange.message:
            await self.reply(exchange.message["id"])

    async def reply(self, ident: object) -> None:
        assert self.stream is not None
        await self.stream.event({"jsonrpc": "2.0", "id": ident, "result": {}})


async def test_messages_go_where_the_stream_says_with_all_that_belongs_to_it(autojump_clock):
    async with world("http-sse", headers={"X-Own": "yes"}, instance="148e21f") as w:
        Sse(w)
        w.send(id=1, method="ping")
        await w.answer(1)
        (post,) = w.server.calls("POST")
        assert post.target == "/say?s=1"
        assert post.headers["cookie"] == "stick=here"
        assert post.headers["x-own"] == "yes"
        assert {e.headers["fly-force-instance-id"] for e in w.server.seen} == {"148e21f"}


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("say", "/say"),
        ("?s=1", "/mcp?s=1"),
        ("/a b/\u00e9?x=%20", "/a%20b/%C3%A9?x=%20"),
        ("http://127.0.0.1/full", "/full"),
        ("//127.0.0.1:80/full", "/full"),
    ],
)
async def test_the_endpoint_may_be_relative(autojump_clock, endpoint: str, target: str):
    async with world("http-sse") as w:
        Sse(w, endpoint)
        w.send(id=1, method="ping")
        await w.answer(1)
        assert w.server.calls("POST")[0].target == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://elsewhere/say",
        "https://127.0.0.1:80/say",
        "http://127.0.0.1:81/",
        "ftp://x",
        "http://[",
    ],
)
async def test_an_endpoint_elsewhere_is_refused_at_once(autojump_clock, endpoint: str):
    async with world("http-sse", headers={"Authorization": "Bearer secret-word"}) as w:
        Sse(w, endpoint)
        w.send(id=1, method="ping")
        began = trio.current_time()
        await w.over.wait()
        assert isinstance(w.ended, PeerError)
        assert "another origin" in str(w.ended)
        assert trio.current_time() - began < 0.1
        assert w.server.calls("POST") == []


async def test_a_stream_that_names_no_endpoint_is_something_else(autojump_clock):
    async with world("http-sse") as w:
        Sse(w, "")
        began = trio.current_time()
        await w.over.wait()
        assert isinstance(w.ended, PeerError)
        assert "named no endpoint" in str(w.ended)
        assert trio.current_time() - began == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("cut", [True, False])
async def test_the_end_of_the_stream_is_the_end_of_the_session(
    autojump_clock, named: bool, cut: bool
):
    async with world("http-sse") as w:

        @w.server.on("GET")
        async def short(exchange: Exchange) -> None:
            await exchange.start_events()
            if named:
                await exchange.event("/say", "event: endpoint")
                await w.server.wait_for("POST")
            await (exchange.drop() if cut else exchange.end())

        w.send(id=1, method="never")
        began = trio.current_time()
        await w.over.wait()
        assert isinstance(w.ended, McpctlError)
        assert trio.current_time() - began < 0.1
        if named:
            assert isinstance(w.ended, Unreachable)
            assert "closed its event stream" in str(w.ended)


@pytest.mark.parametrize("status", [404, 405, 401, 500])
async def test_a_refused_stream_is_explained(autojump_clock, status: int):
    async with world("http-sse") as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        await w.over.wait()
        assert str(status) in str(w.ended)


async def test_a_web_page_instead_of_the_stream_is_named(autojump_clock):
    async with world("http-sse") as w:

        @w.server.on("GET")
        async def page(exchange: Exchange) -> None:
            await exchange.answer(200, b"<html>", ("Content-Type", "text/html"))

        await w.over.wait()
        assert isinstance(w.ended, PeerError)
        assert "text/html" in str(w.ended)


async def test_a_redirected_stream_is_followed(autojump_clock):
    async with world("http-sse") as w:
        sse = Sse(w, "say")

        @w.server.on("GET")
        async def moved(exchange: Exchange) -> None:
            if exchange.target == "/mcp":
                await exchange.answer(307, b"", ("Location", "/deep/mcp"))
            else:
                await sse.listen(exchange)

        w.send(id=1, method="ping")
        await w.answer(1)
        assert w.server.calls("POST")[0].target == "/deep/say"


async def test_a_refused_message_fails_and_the_session_goes_on(autojump_clock):
    async with world("http-sse") as w:
        sse = Sse(w)

        @w.server.on("POST")
        async def refuse(exchange: Exchange) -> None:
            if exchange.rpc == "bad":
                await exchange.answer(404)
            elif exchange.rpc == "error":
                error = {"code": -32602, "message": "no"}
                answer = {"jsonrpc": "2.0", "id": exchange.message["id"], "error": error}
                await exchange.json(answer, status=400)
            elif exchange.rpc == "drop":
                exchange.answered = True
                await exchange.drop()
            elif exchange.rpc == "endless":
                await exchange.raw(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await exchange.chunk(b"x" * 9999)
            else:
                await sse.take(exchange)

        for ident, method in enumerate(["bad", "drop", "endless"]):
            w.send(id=ident, method=method)
            assert isinstance(await w.failure(ident), McpctlError)
        w.send(id="e", method="error")
        assert (await w.answer("e"))["error"]["code"] == -32602
        w.send(id=9, method="ping")
        await w.answer(9)


async def test_a_server_that_accepts_only_when_done_does_not_hold_up_the_answer_it_waits_for(
    autojump_clock,
):
    """Some block the POST of a call until it is answered; a call may need an answer of the client."""
    async with world("http-sse") as w:
        sse = Sse(w)
        answered = trio.Event()

        @w.server.on("POST")
        async def blocking(exchange: Exchange) -> None:
            if exchange.rpc == "tools/call":
                assert sse.stream is not None
                await sse.stream.event({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
                await answered.wait()
                await sse.reply(exchange.message["id"])
            elif exchange.message.get("id") == "q":
                answered.set()
            await exchange.answer(200)

        w.send(id=1, method="tools/call")
        await w.notified("roots/list")
        w.send(id="q", result={})
        await w.answer(1)


async def test_an_initialize_that_is_accepted_late_holds_up_the_rest_for_a_bound_only(
    autojump_clock,
):
    async with world("http-sse") as w:
        sse = Sse(w)

        @w.server.on("POST")
        async def slow(exchange: Exchange) -> None:
            if exchange.rpc == "notifications/x":
                exchange.answered = True
                await exchange.client_left()
                await exchange.drop()
            if exchange.rpc == "initialize":
                await trio.sleep(1000)
            await sse.take(exchange)

        began = trio.current_time()
        w.send(id=0, method="initialize")
        w.send(method="notifications/x")
        w.send(id=1, method="ping")
        await w.answer(1)
        assert trio.current_time() - began == pytest.approx(60, abs=1)
        await w.answer(0)


async def test_garbage_and_what_is_too_long_on_the_stream(autojump_clock):
    async with world("http-sse", max_message_bytes=5000) as w:
        sse = Sse(w)

        @w.server.on("POST")
        async def odd(exchange: Exchange) -> None:
            await exchange.answer(202)
            assert sse.stream is not None
            await sse.stream.event("garbage")
            await sse.stream.event("", "event: nothing")
            await sse.stream.event({"jsonrpc": "2.0", "method": "n", "x": "y" * 9999})
            await sse.stream.event({"jsonrpc": "2.0", "id": 1, "result": "y" * 9999})

        w.send(id=1, method="big")
        assert "max_message_bytes" in str(await w.failure(1))
        assert len(w.log.of("server.garbage")) == 1
        assert len(w.log.of("server.too_long")) == 2


async def test_what_a_client_sends_before_the_endpoint_is_known_is_bounded(autojump_clock):
    async with world("http-sse", max_message_bytes=1000) as w:
        Sse(w, "")
        w.send(id=1, method="ping", params={"x": "y" * 900})
        assert not w.upstream.full
        w.send(id=2, method="ping", params={"x": "y" * 900})
        assert w.upstream.full
        await w.over.wait()


async def test_a_call_forgotten_before_the_endpoint_is_known_is_not_made(autojump_clock):
    async with world("http-sse", max_message_bytes=1000) as w:
        sse = Sse(w, "")
        w.send(id=1, method="x", params={"x": "y" * 1000})
        w.send(id=2, method="ping")
        assert w.upstream.full
        w.upstream.forget(b"1")
        assert not w.upstream.full
        await w.server.wait_for("GET")
        await w.settle()
        assert sse.stream is not None
        await sse.stream.event("/say", "event: endpoint")
        await w.answer(2)
        assert w.server.calls("x") == []


async def test_a_refusal_of_the_stream_without_end_is_not_read_to_it(autojump_clock):
    async with world("http-sse") as w:

        @w.server.on("GET")
        async def endless(exchange: Exchange) -> None:
            await exchange.raw(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await exchange.chunk(b"blah " * 2000)

        await w.over.wait()
        assert "500" in str(w.ended)


async def test_a_client_that_lags_behind_holds_the_stream_back(autojump_clock):
    async with world("http-sse") as w:
        sse = Sse(w)

        @w.server.on("POST")
        async def flood(exchange: Exchange) -> None:
            await exchange.answer(202)
            assert sse.stream is not None
            w.ears.client_full = True
            for _ in range(1000):
                await sse.stream.event({"jsonrpc": "2.0", "method": "n", "x": "y" * 10_000})
            await sse.reply(1)

        w.send(id=1, method="x")
        await w.server.wait_for("POST")
        await trio.sleep(1)
        assert len(w.ears.lines) < 100
        w.ears.read_on()
        await w.answer(1)
        assert len(w.ears.lines) == 1001


# ---------------------------------------------------------------- the session is lost


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"Session not found"), (400, b"No transport found for sessionId"), (400, b"")],
)
async def test_a_message_refused_for_want_of_a_session_is_handed_back_and_ends_it(
    autojump_clock, status: int, body: bytes
):
    async with world("http-sse") as w:
        sse = Sse(w)
        w.send(id=1, method="ping")
        await w.answer(1)

        @w.server.on("POST")
        async def refuse(exchange: Exchange) -> None:
            if exchange.rpc == "x":
                await exchange.answer(status, body, ("Content-Type", "text/plain"))
            else:
                await sse.take(exchange)

        w.send(id=2, method="never")
        w.send(id=3, method="x")
        await w.over.wait()
        assert isinstance(w.ended, SessionLost)
        assert str(status) in str(w.ended)
        ((raw, error),) = w.ears.losses
        assert json.loads(raw or b"")["method"] == "x"
        assert error.unprocessed
        assert w.ears.failures == []  # what else is open is for others to decide


async def test_at_the_end_of_the_stream_what_was_not_sent_is_handed_back_in_order(autojump_clock):
    async with world("http-sse") as w:
        sse = Sse(w)
        w.send(id=1, method="ping")
        await w.answer(1)

        @w.server.on("POST")
        async def never(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=2, method="sent")
        await w.server.wait_for("sent")
        w.up = False
        w.http.close_idle()
        w.send(id=3, method="no connection")
        w.send(method="notifications/first")
        w.send(id=4, method="behind it")
        await w.settle()
        assert sse.stream is not None
        await sse.stream.stream.aclose()
        await w.over.wait()
        assert isinstance(w.ended, Unreachable)
        told = [json.loads(raw or b"")["method"] for raw, _ in w.ears.losses]
        assert told == ["no connection", "notifications/first", "behind it"]
        assert all(error.unprocessed for _, error in w.ears.losses)
        assert not w.ended.unprocessed
        assert w.ears.failures == []


async def test_what_waits_for_a_stream_that_never_comes_is_handed_back(autojump_clock):
    async with world("http-sse", reachable=False, connect_timeout_s=2) as w:
        w.send(id=1, method="initialize")
        await w.over.wait()
        assert isinstance(w.ended, Unreachable)
        assert [json.loads(raw or b"")["id"] for raw, _ in w.ears.losses] == [1]


# ---------------------------------------------------------------- another network


@pytest.mark.parametrize("rests", [True, False])
async def test_after_a_change_of_network_a_session_at_rest_ends_and_one_at_work_goes_on(
    autojump_clock, rests: bool
):
    async with world("http-sse", url="http://far.example/mcp") as w:
        sse = Sse(w)
        w.send(id=1, method="ping")
        await w.answer(1)

        @w.server.on("POST")
        async def silent(exchange: Exchange) -> None:
            await exchange.answer(500 if exchange.rpc == "refused" else 202)

        for method in ("forgotten", "cancelled", "refused"):  # nobody waits for these any more
            w.send(id=method, method=method)
        w.upstream.forget(b'"forgotten"')
        w.send(method="notifications/cancelled", params={"requestId": "cancelled"})
        await w.failure("refused")
        if not rests:
            w.send(id=2, method="x")
            await w.server.wait_for("x")
            await w.settle()
        w.http.renew("the network has changed")
        await trio.sleep(1)
        assert w.over.is_set() == rests
        if rests:
            assert "the network has changed" in str(w.ended)
        else:
            await sse.reply(2)
            await w.answer(2)


async def test_a_server_on_this_machine_is_not_concerned(autojump_clock):
    async with world("http-sse") as w:
        Sse(w)
        w.send(id=1, method="ping")
        await w.answer(1)
        w.http.renew("the network has changed")
        await trio.sleep(1)
        w.send(id=2, method="ping")
        await w.answer(2)
