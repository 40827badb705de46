"""Streamable HTTP of the older revisions, in detail: sessions, order, answers of all kinds, streams."""

import gzip
import json
from typing import Any

import pytest
import trio

from fixtures.scripted import EVENTS, JSON, SESSION, Exchange, head, initialized, well_behaved
from mcpctld.errors import PeerError, Unreachable
from mcpctld.upstreams import streamable_http
from upstreams.world import world

PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}


def header(exchanges: list[Exchange], name: str) -> list[str | None]:
    return [exchange.headers.get(name) for exchange in exchanges]


# ---------------------------------------------------------------- what goes along


async def test_the_session_and_its_revision_go_on_everything_but_initialize(autojump_clock):
    async with world() as w:
        await w.initialize()
        w.send(id=1, method="tools/list")
        await w.answer(1)
        await w.server.wait_for("GET")
        await w.upstream.aclose()
        seen = w.server.seen
    assert [e.rpc or e.method for e in seen] == [
        *("initialize", "notifications/initialized"),
        *(["GET", "tools/list"] if seen[2].method == "GET" else ["tools/list", "GET"]),
        "DELETE",
    ]
    assert header(seen, "mcp-session-id") == [None] + [SESSION] * 4
    assert header(seen, "mcp-protocol-version") == [None] + ["2025-11-25"] * 4


async def test_a_second_initialize_begins_a_new_session(autojump_clock):
    async with world() as w:
        await w.initialize()
        w.send(id="again", method="initialize", params={"protocolVersion": "2025-06-18"})
        await w.answer("again")
        w.send(id=1, method="tools/list")
        await w.answer(1)
        first, second = w.server.calls("initialize")
        assert header([first, second], "mcp-session-id") == [None, None]
        assert header([first, second], "mcp-protocol-version") == [None, None]
        assert w.server.calls("tools/list")[0].headers["mcp-protocol-version"] == "2025-06-18"


async def test_configured_headers_and_the_machine_go_on_every_request(autojump_clock):
    async with world(instance="148e21f", headers={"X-Own": "yes", "user-agent": "mine"}) as w:
        await w.initialize()
        await w.server.wait_for("GET")
        await w.upstream.aclose()
        seen = w.server.seen
    assert {e.method for e in seen} == {"POST", "GET", "DELETE"}
    assert set(header(seen, "fly-force-instance-id")) == {"148e21f"}
    assert set(header(seen, "x-own")) == {"yes"}
    assert set(header(seen, "user-agent")) == {"mine"}


@pytest.mark.parametrize("ident", ["with space", "é"])
async def test_a_session_id_that_must_not_be_is_not_sent_back(autojump_clock, ident: str):
    async with world() as w:

        @w.server.on("initialize")
        async def odd(exchange: Exchange) -> None:
            await exchange.reply(initialized(exchange), ("Mcp-Session-Id", ident))

        await w.initialize()
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert w.server.calls("tools/list")[0].headers.get("mcp-session-id") is None


async def test_a_revision_that_no_header_can_carry_is_not_sent(autojump_clock):
    async with world() as w:

        @w.server.on("initialize")
        async def odd(exchange: Exchange) -> None:
            await exchange.reply({"protocolVersion": "2025\r\nX: y", "capabilities": {}})

        await w.initialize()
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert "mcp-protocol-version" not in w.server.calls("tools/list")[0].headers


# ---------------------------------------------------------------- order


async def test_what_follows_initialize_in_one_breath_waits_for_its_answer(autojump_clock):
    async with world() as w:
        w.send(id=0, method="initialize", params={"protocolVersion": "2025-11-25"})
        w.send(method="notifications/initialized")
        w.send(id=1, method="tools/list")
        w.send(id=2, method="tools/list")
        await w.answer(1)
        await w.answer(2)
        posts = w.server.calls("POST")
        assert [e.rpc for e in posts[:2]] == ["initialize", "notifications/initialized"]
        assert header(posts[1:], "mcp-session-id") == [SESSION] * 3


async def test_a_request_waits_until_the_notification_before_it_was_accepted(autojump_clock):
    async with world() as w:
        await w.initialize()
        accept = trio.Event()

        @w.server.on("notifications/roots/list_changed")
        async def slow(exchange: Exchange) -> None:
            await accept.wait()
            await exchange.answer(202)

        w.send(method="notifications/roots/list_changed")
        w.send(id=1, method="tools/list")
        await w.server.wait_for("notifications/roots/list_changed")
        await w.settle()
        assert w.server.calls("tools/list") == []
        accept.set()
        await w.answer(1)


async def test_a_notification_that_is_never_accepted_holds_up_the_rest_for_a_bound_only(
    autojump_clock,
):
    async with world() as w:
        await w.initialize()

        @w.server.on("notifications/x")
        async def hang(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        began = trio.current_time()
        w.send(method="notifications/x")
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert trio.current_time() - began == pytest.approx(streamable_http.ORDER_BOUND_S, abs=0.1)
        assert w.log.of("server.not_accepted")


async def test_requests_are_under_way_side_by_side(autojump_clock):
    async with world() as w:
        await w.initialize()
        release = trio.Event()

        @w.server.on("tools/call")
        async def wait(exchange: Exchange) -> None:
            await release.wait()
            await exchange.reply({})

        for number in range(64):
            w.send(id=number, method="tools/call")
        await w.server.wait_for("tools/call", 64)
        release.set()
        for number in range(64):
            await w.answer(number)


async def test_an_error_as_the_answer_to_initialize_lets_the_rest_go(autojump_clock):
    async with world() as w:

        @w.server.on("initialize")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32602, "message": "no"}
            await exchange.json({"jsonrpc": "2.0", "id": exchange.message["id"], "error": error})

        w.send(id=0, method="initialize", params={})
        w.send(id=1, method="tools/list")
        assert (await w.answer(0))["error"]["code"] == -32602
        await w.answer(1)


# ---------------------------------------------------------------- answers


async def test_a_pretty_printed_answer_comes_on_one_line(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def pretty(exchange: Exchange) -> None:
            body = {"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"text": "a\nb"}}
            await exchange.answer(200, json.dumps(body, indent=2).encode(), JSON)

        w.send(id=1, method="tools/list")
        assert (await w.answer(1))["result"] == {"text": "a\nb"}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"Accepted", b"[]"])
@pytest.mark.parametrize("status", [200, 202, 204])
async def test_whatever_accepts_a_notification_is_fine(autojump_clock, status: int, body: bytes):
    async with world() as w:

        @w.server.on("notifications/x")
        async def accept(exchange: Exchange) -> None:
            await exchange.answer(status, b"" if status == 204 else body)

        w.send(method="notifications/x")
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert w.ears.failures == []
        assert not w.log.of("server.garbage")


async def test_a_refused_notification_is_logged_and_the_rest_goes_on(autojump_clock):
    async with world() as w:

        @w.server.on("notifications/x")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(500)

        w.send(method="notifications/x")
        w.send(id=1, method="tools/list")
        await w.answer(1)
        (record,) = w.log.of("server.refused_notification")
        assert record.method == "notifications/x"


async def test_a_lost_notification_is_logged_and_the_rest_goes_on(autojump_clock):
    async with world() as w:

        @w.server.on("notifications/x")
        async def die(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.drop()

        w.send(method="notifications/x")
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert w.log.of("server.lost_notification")


async def test_batches_go_out_as_they_are_and_their_answers_come_back(autojump_clock):
    batch = b'[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":"1","method":"b"}]'
    async with world() as w:

        @w.server.on("POST")
        async def both(exchange: Exchange) -> None:
            assert exchange.body == batch
            answers = [{"jsonrpc": "2.0", "id": i, "result": {}} for i in (1, "1")]
            await exchange.json(answers)

        w.send_raw(batch)
        while not w.ears.lines:
            await w.ears.heard.wait()
        assert [part["id"] for part in json.loads(w.ears.lines[0])] == [1, "1"]
        assert w.ears.failures == []


async def test_a_batch_may_be_answered_one_by_one_and_what_is_missing_has_failed(autojump_clock):
    async with world() as w:

        @w.server.on("POST")
        async def half(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "id": 1, "result": {}})
            await exchange.end()

        w.send_raw(b'[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"method":"b"}]')
        await w.answer(1)
        assert isinstance(await w.failure(2), PeerError)


async def test_compressed_answers_are_understood_and_asked_for_only_from_afar(autojump_clock):
    async with world(url="http://far.example/mcp") as w:

        @w.server.on("tools/list")
        async def packed(exchange: Exchange) -> None:
            body = {"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"x": "y" * 9999}}
            coding = ("Content-Encoding", "gzip")
            await exchange.answer(200, gzip.compress(json.dumps(body).encode()), JSON, coding)

        w.send(id=1, method="tools/list")
        assert (await w.answer(1))["result"] == {"x": "y" * 9999}
        assert "gzip" in w.server.seen[0].headers["accept-encoding"]
    async with world() as w:
        w.send(id=1, method="tools/list")
        await w.answer(1)
        assert "accept-encoding" not in w.server.seen[0].headers


async def test_an_answer_over_the_limit_fails_its_call_and_is_not_read_on(autojump_clock):
    async with world(max_message_bytes=100_000) as w:

        @w.server.on("tools/call")
        async def endless(exchange: Exchange) -> None:
            await exchange.raw(head(200, JSON, ("Transfer-Encoding", "chunked")))
            while True:
                await exchange.chunk(b"x" * 65536)

        w.send(id=1, method="tools/call")
        assert "max_message_bytes" in str(await w.failure(1))
        w.send(id=2, method="tools/list")
        await w.answer(2)


# ---------------------------------------------------------------- event streams


async def test_events_may_be_split_anywhere_and_end_their_lines_in_any_way(autojump_clock):
    text = (
        b"\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata:\r\n\r\n"
        b"event: message\rdata: " + json.dumps(PROGRESS).encode() + b"\r\r"
        b": ping\n\nevent: other\ndata: {}\n\n"
        b'data: {"jsonrpc":"2.0",\ndata: "id":1,"result":{}}\n\n'
    )
    async with world() as w:

        @w.server.on("tools/call")
        async def crumbs(exchange: Exchange) -> None:
            await exchange.raw(head(200, EVENTS, ("Transfer-Encoding", "chunked")))
            for at in range(len(text)):
                await exchange.chunk(text[at : at + 1])
            await exchange.end()

        w.send(id=1, method="tools/call")
        assert (await w.answer(1))["result"] == {}
        assert w.messages[0] == PROGRESS
        assert len(w.messages) == 2


async def test_a_response_in_the_last_bytes_of_a_connection_counts(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def last(exchange: Exchange) -> None:
            body = b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'
            await exchange.raw(head(200, EVENTS, ("Connection", "close")) + body)
            await exchange.drop()

        w.send(id=1, method="tools/call")
        await w.answer(1)


async def test_garbage_among_the_events_is_passed_over(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def noisy(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("still working...")
            await exchange.event_reply({})
            await exchange.end()

        w.send(id=1, method="tools/call")
        await w.answer(1)
        assert len(w.log.of("server.garbage")) == 1


async def test_garbage_instead_of_the_response_is_named(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def noise(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("oops")
            await exchange.end()

        w.send(id=1, method="tools/call")
        assert "not JSON-RPC" in str(await w.failure(1))


async def test_an_event_over_the_limit_fails_the_call_that_it_answers(autojump_clock):
    async with world(max_message_bytes=10_000) as w:

        @w.server.on("tools/call")
        async def huge(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "id": 77, "result": "x" * 20_000})
            await exchange.event_reply("y" * 20_000)
            await exchange.end()

        w.send(id=1, method="tools/call")
        assert "max_message_bytes" in str(await w.failure(1))


async def test_an_event_over_the_limit_of_which_nothing_is_known_fails_the_call(autojump_clock):
    async with world(max_message_bytes=10_000) as w:

        @w.server.on("tools/call")
        async def huge(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("x" * 20_000)
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/call")
        assert "max_message_bytes" in str(await w.failure(1))


@pytest.mark.parametrize("method", ["tools/call", "notifications/x"])
async def test_a_stream_that_goes_on_after_the_response_is_closed_after_a_while(
    autojump_clock, method: str
):
    async with world() as w:
        left: list[float] = []

        @w.server.on(method)
        async def endless(exchange: Exchange) -> None:
            await exchange.start_events()
            if method == "tools/call":
                await exchange.event_reply({})
            await exchange.client_left()
            left.append(trio.current_time())
            await exchange.drop()

        began = trio.current_time()
        if method == "tools/call":
            w.send(id=1, method=method)
            await w.answer(1)
        else:
            w.send(method=method)
        w.send(id=2, method="tools/list")
        await w.answer(2)
        assert trio.current_time() - began < 0.1
        while not left:
            await w.server.changed.wait()
        assert left[0] - began == pytest.approx(streamable_http.LINGER_S, abs=0.1)


async def test_the_client_that_lags_behind_holds_the_stream_back(autojump_clock):
    async with world() as w:
        sent = 0

        @w.server.on("tools/call")
        async def flood(exchange: Exchange) -> None:
            nonlocal sent
            await exchange.start_events()
            for _ in range(1000):
                await exchange.event(PROGRESS | {"padding": "x" * 10_000})
                await trio.lowlevel.checkpoint()
                sent += 1
            await exchange.event_reply({})
            await exchange.end()

        w.ears.client_full = True
        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        await trio.sleep(1)
        assert len(w.ears.lines) < 100
        w.ears.read_on()
        await w.answer(1)
        assert len(w.ears.lines) == 1001


async def test_a_server_that_accepts_nothing_makes_us_full(autojump_clock):
    async with world(max_message_bytes=100_000) as w:
        gate = trio.Event()

        @w.server.on("tools/call")
        async def later(exchange: Exchange) -> None:
            await gate.wait()
            await exchange.reply({})

        for number in range(3):
            assert not w.upstream.full
            w.send(id=number, method="tools/call", params={"x": "y" * 45_000})
        assert w.upstream.full
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.upstream.wait_room)
            await w.settle()
            gate.set()
        assert not w.upstream.full


# ---------------------------------------------------------------- ids of errors

ERROR = {"code": -32000, "message": "no", "data": [1.0]}


@pytest.mark.parametrize("form", ["json", "events", "refusal"])
@pytest.mark.parametrize("ident", [{}, {"id": None}, {"id": "server-error"}, {"id": 0}])
@pytest.mark.parametrize("own", [5, "five", "0"])
async def test_an_error_without_our_id_gets_it(
    autojump_clock, form: str, ident: dict[str, Any], own: Any
):
    async with world() as w:

        @w.server.on("tools/call")
        async def refuse(exchange: Exchange) -> None:
            message = {"jsonrpc": "2.0", **ident, "error": ERROR}
            if form == "events":
                await exchange.start_events()
                await exchange.event(message)
                await exchange.end()
            else:
                await exchange.json(message, status=200 if form == "json" else 400)

        w.send(id=own, method="tools/call")
        assert (await w.answer(own))["error"] == ERROR


async def test_a_refusal_with_the_id_of_another_call_answers_its_own(autojump_clock):
    async with world() as w:
        hold = trio.Event()

        @w.server.on("tools/call")
        async def wait(exchange: Exchange) -> None:
            await hold.wait()
            await exchange.reply({})

        @w.server.on("tools/list")
        async def refuse(exchange: Exchange) -> None:
            await exchange.json({"jsonrpc": "2.0", "id": 0, "error": ERROR}, status=400)

        w.send(id=0, method="tools/call")
        await w.server.wait_for("tools/call")
        w.send(id=1, method="tools/list")
        assert (await w.answer(1))["error"] == ERROR
        hold.set()
        assert (await w.answer(0))["result"] == {}


async def test_an_error_for_another_call_on_a_stream_is_not_taken_for_the_streams_own(
    autojump_clock,
):
    async with world() as w:

        @w.server.on("first")
        async def wait(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        @w.server.on("second")
        async def both(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "id": 1, "error": ERROR})
            await exchange.event_reply({})
            await exchange.end()

        w.send(id=1, method="first")
        await w.server.wait_for("first")
        w.send(id=2, method="second")
        assert (await w.answer(2))["result"] == {}
        assert (await w.answer(1))["error"] == ERROR


async def test_an_error_of_several_lines_as_a_refusal_comes_on_one(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def refuse(exchange: Exchange) -> None:
            body = json.dumps({"jsonrpc": "2.0", "id": None, "error": ERROR}, indent=1)
            await exchange.answer(500, body.encode(), JSON)

        w.send(id=1, method="tools/call")
        assert (await w.answer(1))["error"] == ERROR


# ---------------------------------------------------------------- giving up


async def test_a_cancelled_call_is_told_to_the_server_and_its_connection_is_closed_after_a_while(
    autojump_clock,
):
    async with world() as w:
        await w.initialize()

        @w.server.on("tools/call")
        async def never(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        w.send(method="notifications/cancelled", params={"requestId": 1})
        await w.server.wait_for("notifications/cancelled")
        await w.settle()
        before = w.connections
        await trio.sleep(streamable_http.LINGER_S + 0.1)
        assert w.connections == before - 1
        assert w.ears.failures == []


async def test_the_late_answer_to_a_cancelled_call_is_passed_on(autojump_clock):
    async with world() as w:
        await w.initialize()
        told = trio.Event()

        @w.server.on("tools/call")
        async def late(exchange: Exchange) -> None:
            await told.wait()
            await exchange.reply({})

        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        w.send(method="notifications/cancelled", params={"requestId": 1})
        await w.server.wait_for("notifications/cancelled")
        told.set()
        await w.answer(1)


async def test_a_forgotten_call_costs_no_connection(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def never(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        w.upstream.forget(b"1")
        w.upstream.forget(b"2")
        while w.connections:
            await w.server.changed.wait()
        assert w.ears.failures == []


async def test_a_call_forgotten_while_it_waits_for_its_turn_is_not_made(autojump_clock):
    async with world(max_message_bytes=1000) as w:
        go_on = trio.Event()

        @w.server.on("notifications/x")
        async def slow(exchange: Exchange) -> None:
            await go_on.wait()
            await exchange.answer(202)

        w.send(method="notifications/x")
        w.send(id=1, method="tools/call", params={"x": "y" * 1000})
        w.send(id=2, method="tools/list")
        assert w.upstream.full
        w.upstream.forget(b"1")
        assert not w.upstream.full
        await w.server.wait_for("notifications/x")
        go_on.set()
        await w.answer(2)
        assert w.server.calls("tools/call") == []


async def test_an_answer_may_take_an_hour(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def patient(exchange: Exchange) -> None:
            await trio.sleep(3500)
            await exchange.reply({})

        w.send(id=1, method="tools/call")
        await w.answer(1)


async def test_a_server_that_is_not_there_is_waited_for(autojump_clock):
    async with world(reachable=False) as w:
        w.send(id=1, method="tools/list")
        await trio.sleep(20)
        w.up = True
        await w.answer(1)


async def test_a_server_that_stays_away_fails_the_call_when_patience_ends(autojump_clock):
    async with world(reachable=False, connect_timeout_s=12) as w:
        began = trio.current_time()
        w.send(id=1, method="tools/call")
        assert isinstance(await w.failure(1), Unreachable)
        assert trio.current_time() - began == pytest.approx(12, abs=1)


# ---------------------------------------------------------------- redirects and cookies


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_is_followed_from_then_on_by_everything(autojump_clock, status: int):
    async with world() as w:

        @w.server.on("POST")
        async def moved(exchange: Exchange) -> None:
            if exchange.target == "/mcp":
                await exchange.answer(status, b"", ("Location", "/mcp/?a=b c"))
            else:
                await well_behaved(exchange)

        await w.initialize()
        await w.server.wait_for("GET")
        await w.upstream.aclose()
        first, *rest = w.server.seen
        assert first.target == "/mcp"
        assert {exchange.target for exchange in rest} == {"/mcp/?a=b%20c"}


async def test_many_calls_that_are_redirected_at_once_are_all_made(autojump_clock):
    async with world() as w:
        await w.initialize()
        gate = trio.Event()

        @w.server.on("tools/call")
        async def moved(exchange: Exchange) -> None:
            if exchange.target == "/mcp":
                await gate.wait()
                await exchange.answer(307, b"", ("Location", "there"))
            else:
                await exchange.reply({"at": exchange.target})

        for number in range(10):
            w.send(id=number, method="tools/call")
        await w.server.wait_for("tools/call", 10)
        gate.set()
        for number in range(10):
            assert (await w.answer(number))["result"] == {"at": "/there"}


async def test_redirects_in_a_circle_end(autojump_clock):
    async with world() as w:

        @w.server.on("POST")
        async def moved(exchange: Exchange) -> None:
            await exchange.answer(307, b"", ("Location", exchange.target + "x"))

        w.send(id=1, method="tools/call")
        assert "redirects" in str(await w.failure(1))
        assert len(w.server.seen) == 4


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:81/mcp", "https://127.0.0.1:80/mcp", "http://[", "ftp://127.0.0.1/", "//x"],
)
async def test_a_redirect_elsewhere_is_refused_by_name(autojump_clock, location: str):
    async with world() as w:

        @w.server.on("POST")
        async def moved(exchange: Exchange) -> None:
            await exchange.answer(307, b"", ("Location", location))

        w.send(id=1, method="tools/call")
        error = await w.failure(1)
        assert isinstance(error, PeerError)
        assert location in str(error)


async def test_cookies_are_kept_and_forgotten_as_the_server_says(autojump_clock):
    async with world() as w:
        answers = iter(
            [
                ["a=1; Path=/; HttpOnly", "b=2", "=;;broken"],
                ["a=3", "b=; Max-Age=0"],
                ["a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "c=4; Expires=yesterday"],
                [],
            ]
        )

        @w.server.on("tools/list")
        async def baker(exchange: Exchange) -> None:
            await exchange.reply({}, *(("Set-Cookie", line) for line in next(answers)))

        for number in range(4):
            w.send(id=number, method="tools/list")
            await w.answer(number)
        assert header(w.server.seen, "cookie") == [None, "a=1; b=2", "a=3", "c=4"]


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("status", [200, 202, 204, 404, 405])
async def test_the_session_is_deleted_at_the_end(autojump_clock, status: int):
    async with world() as w:

        @w.server.on("DELETE")
        async def delete(exchange: Exchange) -> None:
            await exchange.answer(status)

        await w.initialize()
        await w.upstream.aclose()
        assert len(w.server.calls("DELETE")) == 1
        assert not w.log.of("upstream.not_deleted")


async def test_without_a_session_nothing_is_deleted(autojump_clock):
    async with world() as w:

        @w.server.on("initialize")
        async def stateless(exchange: Exchange) -> None:
            await exchange.reply(initialized(exchange))

        await w.initialize()
        await w.upstream.aclose()
        assert w.server.calls("DELETE") == []


@pytest.mark.parametrize("trouble", ["hang", "drop", "refuse", "absent"])
async def test_a_session_that_cannot_be_deleted_is_left_within_a_bound(
    autojump_clock, trouble: str
):
    async with world() as w:
        await w.initialize()

        @w.server.on("DELETE")
        async def delete(exchange: Exchange) -> None:
            exchange.answered = True
            if trouble == "hang":
                await exchange.client_left()
            elif trouble == "refuse":
                await exchange.answer(500)
                return
            await exchange.drop()

        if trouble == "absent":
            w.http.close_idle()
            w.up = False
        began = trio.current_time()
        await w.upstream.aclose()
        assert trio.current_time() - began <= streamable_http.DELETE_BOUND_S + 0.1
        assert w.log.of("upstream.not_deleted")


async def test_calls_in_flight_at_the_end_are_given_up(autojump_clock):
    async with world() as w:
        await w.initialize()

        @w.server.on("tools/call")
        async def never(exchange: Exchange) -> None:
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/call")
        await w.server.wait_for("tools/call")
        await w.upstream.aclose()
        assert isinstance(await w.failure(1), Unreachable)
