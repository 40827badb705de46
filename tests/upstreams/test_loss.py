"""What Streamable HTTP tells of a session that the server may have lost, and what of requests that did no harm."""

import json
from typing import Any

import pytest
import trio

from fixtures.scripted import SESSION, Exchange, Header, initialized
from mcpctld.errors import Denied, McpctlError, NotFound, SessionLost, Unreachable
from upstreams.world import World, world

TEXT = ("Content-Type", "text/plain")
JSON = ("Content-Type", "application/json")
RETRY_AFTER = ("Retry-After", "3")


def rpc_error(code: int, message: str, **ident: Any) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", **ident, "error": {"code": code, "message": message}}
    ).encode()


def refuse(w: World, status: int, body: bytes = b"", *headers: Header, what: str = "x") -> None:
    """Have requests of the method `what` refused from now on."""

    @w.server.on(what)
    async def handler(exchange: Exchange) -> None:
        kind = JSON if body.startswith(b"{") else TEXT
        await exchange.answer(status, body, kind, *headers)


async def drop(exchange: Exchange) -> None:
    exchange.answered = True
    await exchange.drop()


def losses(w: World) -> list[tuple[Any, type[McpctlError]]]:
    """The method of each message that was told to be lost (None without one), and why."""
    return [
        (json.loads(raw)["method"] if raw else None, type(error)) for raw, error in w.ears.losses
    ]


async def told(w: World) -> McpctlError:
    """Wait until a loss is told: why."""
    while not w.ears.losses:
        await w.ears.heard.wait()
    return w.ears.losses[0][1]


# ---------------------------------------------------------------- the session is lost

LOST: list[Any] = [
    pytest.param(404, rpc_error(-32600, "Session not found", id=None), id="python 2.3"),
    pytest.param(404, rpc_error(-32600, "Session not found", id="server-error"), id="python 1.30"),
    pytest.param(400, rpc_error(-32600, "Missing session ID", id="server-error"), id="no id"),
    pytest.param(404, rpc_error(-32001, "Session not found", id=None), id="supergateway"),
    pytest.param(400, rpc_error(-32000, "Bad Request: No valid session ID provided"), id="TS v1"),
    pytest.param(400, rpc_error(-32000, "Server not initialized", id=None), id="TS v1, fresh"),
    pytest.param(400, rpc_error(-32000, "Not yet initialised", id=None), id="British"),
    pytest.param(404, b"", id="bare 404"),
    pytest.param(404, b"<html>", id="404 web page"),
    pytest.param(400, b"Bad Request", id="bare 400"),
    pytest.param(400, b'{"error": "no such thing"}', id="400, other JSON"),
    pytest.param(409, b"", id="409"),
    pytest.param(503, b"session not found", id="503 that speaks of it"),
]
KEPT: list[Any] = [
    pytest.param(404, rpc_error(-32601, "Session/x: method not found"), id="unknown method"),
    pytest.param(400, rpc_error(-32602, "session_name is missing"), id="bad parameters"),
    pytest.param(400, rpc_error(-32000, "Unsupported protocol version"), id="another complaint"),
    pytest.param(400, rpc_error(-32022, "no session"), id="modern error"),
    pytest.param(405, b"", id="405"),
    pytest.param(500, b"session", id="500"),
    pytest.param(401, b"session expired", id="401"),
    pytest.param(403, b"session", id="403"),
    pytest.param(429, b"session", id="429"),
]


@pytest.mark.parametrize(("status", "body"), LOST)
async def test_a_refusal_that_means_a_lost_session_hands_the_message_back(
    autojump_clock, status: int, body: bytes
):
    async with world() as w:
        await w.initialize()
        refuse(w, status, body)
        w.send(id=1, method="x", params={"a": [1.0]})
        error = await told(w)
        assert isinstance(error, SessionLost)
        assert error.unprocessed
        assert str(status) in str(error)
        assert str(error).endswith("start the client again")
        ((raw, _),) = w.ears.losses
        assert raw == w.server.calls("x")[0].body
        assert w.ears.failures == []
        assert len(w.messages) == 1
        (record,) = w.log.of("upstream.session_lost")
        assert record.status == status


@pytest.mark.parametrize(("status", "body"), KEPT)
async def test_other_refusals_answer_the_request(autojump_clock, status: int, body: bytes):
    async with world() as w:
        await w.initialize()
        refuse(w, status, body)
        w.send(id=1, method="x")
        while not w._answers(1) and not w._failures(1):
            await w.ears.heard.wait()
        assert w.ears.losses == []


@pytest.mark.parametrize("message", [{"method": "notifications/x"}, {"id": "q", "result": {}}])
async def test_what_is_no_request_is_handed_back_too_and_what_follows_goes_on(
    autojump_clock, message: dict[str, Any]
):
    async with world() as w:
        await w.initialize()
        refuse(w, 404, what=message.get("method", ""))
        w.send(**message)
        w.send(id=1, method="tools/list")
        await w.answer(1)
        ((raw, error),) = w.ears.losses
        assert json.loads(raw or b"") == {"jsonrpc": "2.0", **message}
        assert isinstance(error, SessionLost)


async def test_a_batch_is_handed_back_whole(autojump_clock):
    async with world() as w:
        await w.initialize()
        refuse(w, 404, what="POST")
        w.send_raw(b'[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"method":"b"}]')
        await told(w)
        assert w.ears.losses[0][0] == w.server.calls("POST")[-1].body


async def test_an_initialized_that_is_refused_opens_no_stream(autojump_clock):
    async with world() as w:
        refuse(w, 404, what="notifications/initialized")
        await w.initialize()
        await told(w)
        await trio.sleep(10)
        assert w.server.calls("GET") == []


@pytest.mark.parametrize("message", [{"id": 1, "method": "initialize", "params": {}},
                                     {"id": 1, "method": "x", "params": {"_meta": {
                                         "io.modelcontextprotocol/protocolVersion": "2026-07-28"}}}])  # fmt: skip
async def test_what_belongs_to_no_session_cannot_lose_one(autojump_clock, message: dict[str, Any]):
    async with world() as w:
        await w.initialize()
        refuse(w, 404, what="POST")
        w.send(**message)
        assert isinstance(await w.failure(1), NotFound)
        assert w.ears.losses == []


async def test_before_initialize_was_answered_there_is_no_session(autojump_clock):
    async with world() as w:
        refuse(w, 404)
        w.send(id=1, method="x")
        assert isinstance(await w.failure(1), NotFound)
        assert w.ears.losses == []


@pytest.mark.parametrize("body", [b"", rpc_error(-32000, "Server not initialized")])
async def test_a_server_without_session_ids_must_say_that_it_has_forgotten_us(
    autojump_clock, body: bytes
):
    async with world() as w:

        @w.server.on("initialize")
        async def nameless(exchange: Exchange) -> None:
            await exchange.reply(initialized(exchange))

        await w.initialize()
        refuse(w, 400, body)
        w.send(id=1, method="x")
        while not w.ears.losses and not w._failures(1):
            await w.ears.heard.wait()
        assert losses(w) == ([("x", SessionLost)] if body else [])


async def test_a_cancelled_call_is_not_handed_back(autojump_clock):
    async with world() as w:
        await w.initialize()
        go_on = trio.Event()

        @w.server.on("x")
        async def late(exchange: Exchange) -> None:
            await go_on.wait()
            await exchange.answer(404)

        w.send(id=1, method="x")
        await w.server.wait_for("x")
        w.send(method="notifications/cancelled", params={"requestId": 1})
        await w.server.wait_for("notifications/cancelled")
        await w.settle()
        go_on.set()
        await told(w)
        assert losses(w) == [(None, SessionLost)]
        assert w.ears.failures == []


async def test_a_call_whose_answer_had_begun_fails_and_the_session_is_lost(autojump_clock):
    async with world() as w:
        await w.initialize()
        await w.server.wait_for("GET")

        @w.server.on("x")
        async def begin(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("", "id: 7")
            await exchange.drop()

        refuse(w, 404, what="GET")
        w.send(id=1, method="x")
        error = await w.failure(1)
        assert not error.unprocessed
        assert error.interrupted
        assert losses(w) == [(None, SessionLost)]


async def test_a_late_refusal_does_not_speak_of_the_new_session(autojump_clock):
    async with world() as w:
        await w.initialize()
        go_on = trio.Event()

        @w.server.on("x")
        async def late(exchange: Exchange) -> None:
            await go_on.wait()
            await exchange.answer(404)

        w.server.on("notifications/x")(late)
        w.send(id=1, method="x")
        await w.server.wait_for("x")
        w.send(id="again", method="initialize", params={"protocolVersion": "2025-11-25"})
        await w.answer("again")
        go_on.set()
        error = await w.failure(1)
        assert isinstance(error, SessionLost)
        assert error.unprocessed
        assert w.ears.losses == []


async def test_initialize_again_makes_a_session_with_a_stream_of_its_own(autojump_clock):
    async with world() as w:
        sessions = iter(("s1", "s2"))
        heard: list[tuple[str | None, ...]] = []

        @w.server.on("initialize")
        async def open_one(exchange: Exchange) -> None:
            await exchange.reply(initialized(exchange), ("Mcp-Session-Id", next(sessions)))

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            names = ("mcp-session-id", "mcp-protocol-version", "last-event-id")
            heard.append(tuple(exchange.headers.get(name) for name in names))
            await exchange.start_events()
            await exchange.event("", "id: 7")
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        await w.server.wait_for("GET")
        w.send(id="again", method="initialize", params={"protocolVersion": "2025-06-18"})
        await w.answer("again")
        await trio.sleep(60)
        assert heard == [("s1", "2025-11-25", None)]
        w.send(method="notifications/initialized")
        await w.server.wait_for("GET", 2)
        assert heard[1:] == [("s2", "2025-06-18", None)]


# ---------------------------------------------------------------- the session is suspect


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_outage_fails_the_call_and_makes_the_session_suspect_once(
    autojump_clock, status: int
):
    async with world() as w:
        await w.initialize()
        refuse(w, status)
        for ident in range(3):
            w.send(id=ident, method="x")
            assert not (await w.failure(ident)).unprocessed
        ((raw, error),) = w.ears.losses
        assert raw is None
        assert not isinstance(error, SessionLost)
        w.send(id="fine", method="tools/list")
        await w.answer("fine")
        w.send(id="again", method="x")
        await w.failure("again")
        assert len(w.ears.losses) == 2


async def test_so_does_a_connection_that_is_lost(autojump_clock):
    async with world() as w:
        await w.initialize()
        w.server.on("x")(drop)
        w.send(id=1, method="x")
        await w.failure(1)
        assert losses(w) == [(None, Unreachable)]


async def test_and_a_server_that_cannot_be_reached(autojump_clock):
    async with world(connect_timeout_s=3) as w:
        await w.initialize()
        await w.server.wait_for("GET")
        await w.settle()
        w.up = False
        w.http.close_idle()
        w.send(id=1, method="x")
        error = await w.failure(1)
        assert error.unprocessed
        assert error.exhausted
        assert losses(w) == [(None, Unreachable)]


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (403, Denied), (429, Unreachable)])
async def test_a_server_that_does_not_want_us_has_not_lost_us(
    autojump_clock, status: int, kind: type[McpctlError]
):
    async with world() as w:
        await w.initialize()
        refuse(w, status)
        w.send(id=1, method="x")
        assert type(await w.failure(1)) is kind
        assert w.ears.losses == []


async def test_without_a_session_nothing_is_suspect(autojump_clock):
    async with world() as w:
        w.server.on("x")(drop)
        w.send(id=1, method="x")
        await w.failure(1)
        assert w.ears.losses == []


async def test_an_initialized_that_got_lost_leaves_no_session_worth_keeping(autojump_clock):
    async with world() as w:
        w.server.on("notifications/initialized")(drop)
        await w.initialize()
        error = await told(w)
        assert losses(w) == [("notifications/initialized", type(error))]
        assert w.log.of("server.lost_notification")


# ---------------------------------------------------------------- what did no harm


@pytest.mark.parametrize(
    ("status", "headers", "unprocessed"),
    [
        (429, (), True),
        (503, (RETRY_AFTER,), True),
        (503, (), False),
        (502, (RETRY_AFTER,), False),
        (500, (RETRY_AFTER,), False),
        (401, (), False),
        (413, (), False),
    ],
)
async def test_a_load_that_is_refused_was_not_worked_on(
    autojump_clock, status: int, headers: tuple[Header, ...], unprocessed: bool
):
    async with world() as w:
        refuse(w, status, b"", *headers)
        w.send(id=1, method="x")
        assert (await w.failure(1)).unprocessed == unprocessed


async def test_a_server_that_was_never_reached_saw_nothing(autojump_clock):
    async with world(reachable=False, connect_timeout_s=2) as w:
        w.send(id=1, method="x")
        error = await w.failure(1)
        assert error.unprocessed
        assert error.exhausted


async def test_an_answer_that_breaks_off_is_an_interruption(autojump_clock):
    async with world() as w:

        @w.server.on("x")
        async def half(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.end()

        w.send(id=1, method="x")
        error = await w.failure(1)
        assert error.interrupted
        assert not error.unprocessed


# ---------------------------------------------------------------- the stream for what is said unasked


async def listening(w: World, *later: tuple[int, bytes]) -> None:
    """A session whose stream stood once; when it is asked for again the answers are `later`, the last for ever."""
    answers = iter(later)

    @w.server.on("GET")
    async def listen(exchange: Exchange) -> None:
        if len(w.server.calls("GET")) == 1:
            await exchange.start_events()
            await exchange.event("", "id: 7")
            await exchange.drop()
        status, body = next(answers, later[-1])
        await exchange.answer(status, body, JSON if body.startswith(b"{") else TEXT)

    await w.initialize()
    await w.server.wait_for("GET", 2)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b""), (400, b""), (400, rpc_error(-32000, "No valid session ID"))],
)
async def test_a_stream_that_stood_and_is_refused_tells_of_the_lost_session(
    autojump_clock, status: int, body: bytes
):
    async with world() as w:
        await listening(w, (status, body))
        await told(w)
        await trio.sleep(300)
        assert losses(w) == [(None, SessionLost)]
        assert len(w.server.calls("GET")) == 2
        assert w.server.calls("GET")[1].headers["last-event-id"] == "7"
        assert w.server.calls("GET")[1].headers["mcp-session-id"] == SESSION


@pytest.mark.parametrize(
    ("status", "body", "again"),
    [
        (404, rpc_error(-32601, "no such method"), False),
        (400, rpc_error(-32000, "bad header"), False),
        (405, b"", False),
        (401, b"", False),
        (409, b"only one stream is allowed", True),
        (429, b"", True),
        (502, b"", True),
    ],
)
async def test_other_refusals_of_the_stream_do_not(
    autojump_clock, status: int, body: bytes, again: bool
):
    async with world() as w:
        await listening(w, (status, body))
        await trio.sleep(300)
        assert w.ears.losses == []
        assert (len(w.server.calls("GET")) > 2) == again


@pytest.mark.parametrize("body", [b"", rpc_error(-32600, "Session not found")])
async def test_a_stream_that_never_stood_tells_nothing(autojump_clock, body: bytes):
    """A server that has no such stream, or another machine of it: calls will tell."""
    async with world() as w:
        refuse(w, 404, body, what="GET")
        await w.initialize()
        await trio.sleep(300)
        assert w.ears.losses == []
        assert len(w.server.calls("GET")) == 1
