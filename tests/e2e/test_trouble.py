"""HTTP servers as they really are: slow, absent, forgetful; connections and streams that break."""

import socket

import pytest
import trio

from e2e.stage import Stage, error_of
from fixtures import scripted
from fixtures.scripted import Exchange, Upstream
from harness import until

# ---------------------------------------------------------------- what every request carries


async def test_what_the_protocol_wants_is_on_every_request(
    stage: Stage, upstream: Upstream
) -> None:
    @upstream.on("GET")
    async def silent(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.client_left()

    stage.remote(upstream, instance="148e21f", headers={"X-Of-Ours": "yes"})
    async with stage.session("remote") as client:
        await client.call(1, "echo")
        await upstream.wait_for("GET")
        await client.finish()
    await upstream.wait_for("DELETE")
    for exchange in upstream.seen:
        assert exchange.headers["fly-force-instance-id"] == "148e21f"
        assert exchange.headers["x-of-ours"] == "yes"
        assert exchange.headers["host"] == f"127.0.0.1:{upstream.port}"
    first, *rest = upstream.seen
    assert first.rpc == "initialize"
    assert not {"mcp-session-id", "mcp-protocol-version"} & first.headers.keys()
    assert {exchange.headers["mcp-session-id"] for exchange in rest} == {scripted.SESSION}
    assert {exchange.headers["mcp-protocol-version"] for exchange in rest} == {"2025-11-25"}
    for post in upstream.calls("POST"):
        assert post.headers["content-type"] == "application/json"
        assert set(post.headers["accept"].split(", ")) >= {"application/json", "text/event-stream"}


async def test_initialized_has_arrived_before_the_next_request_goes(
    stage: Stage, upstream: Upstream
) -> None:
    accept = trio.Event()

    @upstream.on("notifications/initialized")
    async def slow(exchange: Exchange) -> None:
        await accept.wait()
        await exchange.answer(202)

    stage.remote(upstream)
    stage.parrot()
    async with stage.session("parrot") as other, stage.session("remote") as client:
        await client.request(1, "tools/list")
        await client.request(2, "tools/list")
        await upstream.wait_for("notifications/initialized")
        # The daemon has had its chance to send them: it has answered somebody who came later.
        for number in range(5):
            await other.ask(number, "x")
        assert upstream.calls("tools/list") == []
        accept.set()
        assert {(await client.message())["id"] for _ in range(2)} == {1, 2}


# ---------------------------------------------------------------- connections


async def test_a_server_that_is_absent_at_spawn_is_waited_for(stage: Stage) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    stage.remote(f"http://127.0.0.1:{port}/mcp")
    async with stage.attached("remote") as client:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x"}}
        await client.request(1, "initialize", params)
        # The stub has a session, and nothing answers it yet.
        await until_session(stage)
        async with stage.upstream(port=port):
            assert "result" in await client.answer(1)
            assert "result" in await client.call(2, "echo")
            await client.finish()


async def until_session(stage: Stage) -> None:
    """Wait until the daemon has taken the client in."""
    await until(lambda: stage.logged("session.opened"), "a session")


async def test_a_server_that_stays_absent_is_named_in_the_error(stage: Stage) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        stage.remote(f"http://127.0.0.1:{port}/mcp", connect_timeout_s=0.3)
        async with stage.attached("remote") as client:
            error = error_of(await client.ask(1, "initialize", {"protocolVersion": "2025-11-25"}))
            assert error["data"]["kind"] == "unreachable"
            assert f"127.0.0.1:{port}" in error["message"]
            assert "refused" in error["message"].lower()
            await client.finish()


@pytest.mark.parametrize("method", ["tools/list", "tools/call"])
async def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(
    stage: Stage, upstream: Upstream, method: str
) -> None:
    @upstream.on("prompts/list")
    async def answer_and_close(exchange: Exchange) -> None:
        await exchange.reply({})
        await exchange.drop()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        for number in range(5):
            closed = upstream.closed
            assert (await client.ask(f"last-{number}", "prompts/list"))["result"] == {}
            await upstream.wait_closed(closed + 1)
            assert "result" in await client.ask(number, method, {"name": "echo"})
        assert len(upstream.calls(method)) == 5


async def test_a_request_that_meets_a_dying_connection_is_sent_again_if_it_only_reads(
    stage: Stage, upstream: Upstream
) -> None:
    dropped = []

    @upstream.on("tools/list")
    async def die_once(exchange: Exchange) -> None:
        # The connection has served before, so that it is an old one from the client's view.
        if not dropped:
            dropped.append(exchange.connection)
            await exchange.drop()
        await exchange.reply({"tools": []})

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert (await client.ask(1, "tools/list"))["result"] == {"tools": []}
    assert upstream.calls("tools/list")[1].connection not in dropped


async def test_a_call_that_meets_a_dying_connection_is_not_made_twice(
    stage: Stage, upstream: Upstream
) -> None:
    """A tool may have done its work before the connection broke (RFC 9110, 9.2.2)."""

    @upstream.on("tools/call")
    async def die(exchange: Exchange) -> None:
        await exchange.drop()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert error_of(await client.call(1, "pay"))["data"]["kind"] == "unreachable"
        assert len(upstream.calls("tools/call")) == 1
        # The session has not suffered.
        assert (await client.ask(2, "ping"))["result"] == {}


async def test_calls_side_by_side_do_not_wait_for_each_other(
    stage: Stage, upstream: Upstream
) -> None:
    release = trio.Event()

    @upstream.on("tools/call")
    async def maybe_slow(exchange: Exchange) -> None:
        if exchange.message["params"]["name"] == "slow":
            await release.wait()
        await exchange.reply({})

    stage.remote(upstream)
    async with stage.session("remote") as client:
        await client.request("slow", "tools/call", {"name": "slow"})
        for number in range(20):
            assert (await client.call(number, "quick"))["id"] == number
        release.set()
        assert (await client.answer("slow"))["result"] == {}


# ---------------------------------------------------------------- streams


async def test_a_stream_that_ends_without_its_message_is_an_error_at_once(
    stage: Stage, upstream: Upstream
) -> None:
    @upstream.on("tools/call")
    async def silent(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.chunk(b": nothing to say\n\n")
        await exchange.end()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        with trio.fail_after(5):
            error = error_of(await client.call(1, "x"))
        assert "without the response" in error["message"]
        assert error["data"]["kind"] == "peer"


async def test_a_stream_that_breaks_is_an_error_at_once(stage: Stage, upstream: Upstream) -> None:
    @upstream.on("tools/call")
    async def broken(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.event({"jsonrpc": "2.0", "method": "notifications/progress"})
        await exchange.drop()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        await client.request(1, "tools/call", {"name": "x"})
        await client.notified("notifications/progress")
        with trio.fail_after(5):
            assert error_of(await client.answer(1))["data"]["kind"] == "unreachable"


async def test_a_stream_with_event_ids_is_taken_up_again_where_it_broke(
    stage: Stage, upstream: Upstream
) -> None:
    """2025-11-25, "Resumability and Redelivery", with `retry` and an empty first event."""
    began: list[float] = []

    @upstream.on("tools/call")
    async def poll(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.event("", "id: first", "retry: 200")
        progress = {"method": "notifications/progress", "params": {"progress": 1}}
        await exchange.event({"jsonrpc": "2.0", **progress}, "id: second")
        began.append(trio.current_time())
        await exchange.end()

    @upstream.on("GET")
    async def rest(exchange: Exchange) -> None:
        if (last := exchange.headers.get("last-event-id")) is None:
            await exchange.answer(405)
            return
        began.append(trio.current_time())
        await exchange.start_events()
        result = {"jsonrpc": "2.0", "id": 1, "result": {"after": last}}
        await exchange.event(result, "id: third")
        await exchange.end()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        await client.request(1, "tools/call", {"name": "x"})
        await client.notified("notifications/progress")
        assert (await client.answer(1))["result"] == {"after": "second"}
    assert began[1] - began[0] >= 0.2


async def test_what_the_server_says_unasked_comes_through_the_get_stream(
    stage: Stage, upstream: Upstream
) -> None:
    answered = trio.Event()

    @upstream.on("GET")
    async def talkative(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.event({"jsonrpc": "2.0", "id": "s-1", "method": "roots/list"})
        await answered.wait()
        await exchange.event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await exchange.client_left()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        asked = await client.notified("roots/list")
        await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})
        reply = await wait_for_result(upstream)
        assert reply.message == {"jsonrpc": "2.0", "id": "s-1", "result": {"roots": []}}
        answered.set()
        await client.notified("notifications/tools/list_changed")


async def wait_for_result(upstream: Upstream) -> Exchange:
    """The POST that carries an answer of the client."""
    while True:
        for exchange in upstream.seen:
            if "result" in exchange.message:
                return exchange
        await upstream.changed.wait()


async def test_a_cancelled_call_is_told_to_the_server_and_its_late_answer_is_harmless(
    stage: Stage, upstream: Upstream
) -> None:
    told = trio.Event()

    @upstream.on("tools/call")
    async def late(exchange: Exchange) -> None:
        await told.wait()
        await exchange.reply({})

    @upstream.on("notifications/cancelled")
    async def cancelled(exchange: Exchange) -> None:
        await exchange.answer(202)
        told.set()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        await client.request(1, "tools/call", {"name": "x"})
        await upstream.wait_for("tools/call")
        await client.notify("notifications/cancelled", {"requestId": 1, "reason": "enough"})
        await told.wait()
        assert (await client.ask(2, "ping"))["result"] == {}
    heard = upstream.calls("notifications/cancelled")
    assert [exchange.message["params"]["requestId"] for exchange in heard] == [1]


# ---------------------------------------------------------------- patience

DELAYS_S = [65, 310]


@pytest.mark.slow
async def test_answers_after_65_and_after_310_seconds_arrive(
    stage: Stage, upstream: Upstream
) -> None:
    """Rivals give up after 60 or 300 s. All kinds of answer at once, so that it takes 310 s."""

    @upstream.on("tools/call")
    async def patient(exchange: Exchange) -> None:
        wanted = exchange.message["params"]["arguments"]
        if wanted["kind"] == "events":
            await exchange.start_events()
        await trio.sleep(wanted["seconds"])
        reply = exchange.event_reply if wanted["kind"] == "events" else exchange.reply
        await reply({"waited": wanted["seconds"]})
        if wanted["kind"] == "events":
            await exchange.end()

    stage.remote(upstream)
    async with trio.open_nursery() as nursery:
        for kind in ("json", "events"):
            for seconds in DELAYS_S:
                nursery.start_soon(wait_for_one, stage, kind, seconds)


async def wait_for_one(stage: Stage, kind: str, seconds: int) -> None:
    """A session of its own, and one patient call."""
    async with stage.session("remote") as client:
        params = {"name": "x", "arguments": {"kind": kind, "seconds": seconds}}
        await client.request(1, "tools/call", params)
        with trio.fail_after(seconds + 20):
            await trio.sleep(seconds - 5)
            assert (await client.answer(1))["result"] == {"waited": seconds}
        assert (await client.ask(2, "ping"))["result"] == {}
