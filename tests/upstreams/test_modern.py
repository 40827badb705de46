"""Streamable HTTP of 2026-07-28: no session, every message says what it needs."""

from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import PeerError
from upstreams.world import World, world

VERSION = "io.modelcontextprotocol/protocolVersion"
META = {VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def ask(w: World, ident: Any, method: str, **params: Any) -> None:
    w.send(id=ident, method=method, params={"_meta": META, **params})


async def test_the_standard_headers_say_what_the_body_says(autojump_clock):
    async with world() as w:
        ask(w, 1, "tools/call", name="grüß", arguments={})
        ask(w, 2, "resources/read", uri="file:///a b")
        ask(w, 3, "server/discover")
        for ident in (1, 2, 3):
            await w.answer(ident)
        called, read, discovered = (w.server.calls(m)[0].headers for m in
                                    ("tools/call", "resources/read", "server/discover"))  # fmt: skip
    assert {h["mcp-protocol-version"] for h in (called, read, discovered)} == {"2026-07-28"}
    assert called["mcp-method"] == "tools/call"
    assert called["mcp-name"] == "=?base64?Z3LDvMOf?="
    assert read["mcp-name"] == "file:///a b"
    assert discovered["mcp-method"] == "server/discover"
    assert "mcp-name" not in discovered


async def test_there_is_no_session_no_get_and_no_delete(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            await exchange.reply({"tools": []}, ("Mcp-Session-Id", "ignored"))

        for ident in range(3):
            ask(w, ident, "tools/list")
            await w.answer(ident)
        await trio.sleep(30)
        await w.upstream.aclose()
        assert {exchange.method for exchange in w.server.seen} == {"POST"}
        assert not any("mcp-session-id" in exchange.headers for exchange in w.server.seen)


async def test_a_message_of_this_revision_carries_no_session_even_if_there_is_one(autojump_clock):
    async with world() as w:
        await w.initialize()
        ask(w, 1, "tools/list")
        await w.answer(1)
        headers = w.server.calls("tools/list")[0].headers
        assert "mcp-session-id" not in headers
        assert headers["mcp-protocol-version"] == "2026-07-28"


async def test_cancelling_closes_the_post_at_once_and_sends_nothing(autojump_clock):
    async with world() as w:
        left = trio.Event()

        @w.server.on("tools/call")
        async def work(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            left.set()
            await exchange.drop()

        ask(w, 1, "tools/call", name="x")
        await w.server.wait_for("tools/call")
        began = trio.current_time()
        w.send(method="notifications/cancelled", params={"requestId": 1, "_meta": META})
        await left.wait()
        assert trio.current_time() - began < 0.1
        # One that comes too late, and one that never was: nothing over HTTP says so.
        w.send(method="notifications/cancelled", params={"requestId": 1})
        w.send(method="notifications/cancelled", params={"requestId": "other"})
        ask(w, 2, "tools/list")
        await w.answer(2)
        assert w.server.calls("notifications/cancelled") == []
        assert w.ears.failures == []


async def test_a_subscription_stays_open_and_ends_by_cancelling(autojump_clock):
    async with world() as w:
        changes, receive = trio.open_memory_channel[str](10)

        @w.server.on("subscriptions/listen")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            acknowledged = "notifications/subscriptions/acknowledged"
            params = {"notifications": {"toolsListChanged": True}}
            await exchange.event({"jsonrpc": "2.0", "method": acknowledged, "params": params})
            async with trio.open_nursery() as nursery:

                async def until_left() -> None:
                    await exchange.client_left()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_left)
                async for method in receive:
                    await exchange.event({"jsonrpc": "2.0", "method": method})
            await exchange.drop()

        ask(w, "sub", "subscriptions/listen", notifications={"toolsListChanged": True})
        await w.server.wait_for("subscriptions/listen")
        await trio.sleep(5000)
        await changes.send("notifications/tools/list_changed")
        await w.notified("notifications/tools/list_changed")
        w.send(method="notifications/cancelled", params={"requestId": "sub"})
        while w.connections:
            await w.server.changed.wait()
        assert w.ears.failures == []


async def test_a_broken_stream_is_not_taken_up_again(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def work(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("", "id: 1", "retry: 10")
            await exchange.end()

        ask(w, 1, "tools/call", name="x")
        assert isinstance(await w.failure(1), PeerError)
        assert w.server.calls("GET") == []


@pytest.mark.parametrize("theirs", [1, None, "server-error", ...])
@pytest.mark.parametrize(
    ("status", "code"),
    [(400, -32020), (400, -32021), (400, -32022), (400, -32602), (404, -32601), (500, -32603)],
)
async def test_refusals_are_relayed_in_the_servers_words(
    autojump_clock, status: int, code: int, theirs: object
):
    ident = {} if theirs is ... else {"id": theirs}
    async with world() as w:
        error = {"code": code, "message": "no", "data": {"supported": ["2026-07-28"]}}

        @w.server.on("tools/call")
        async def refuse(exchange: Exchange) -> None:
            await exchange.json({"jsonrpc": "2.0", **ident, "error": error}, status=status)

        ask(w, 1, "tools/call", name="x")
        assert (await w.answer(1))["error"] == error


async def test_subscriptions_do_not_use_up_the_connections_of_calls(autojump_clock):
    async with world() as w:
        w.http._limit = lambda: 2

        @w.server.on("subscriptions/listen")
        async def listen(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.client_left()
            await exchange.drop()

        for ident in range(5):
            ask(w, ident, "subscriptions/listen")
        await w.server.wait_for("subscriptions/listen", 5)
        ask(w, "call", "tools/list")
        await w.answer("call")
