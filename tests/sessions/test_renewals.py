"""The keeper over Streamable HTTP and a server that has forgotten the session: the client hears nothing of it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange, initialized, well_behaved
from mcpctld.errors import McpctlError, NotFound, PeerError, TimedOut
from mcpctld.sessions.keeper import Keeper
from mcpctld.upstreams import make_upstream
from upstreams import world as transport
from upstreams.world import World


@contextlib.asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """The transport with the keeper over it."""
    async with transport.world(make=lambda c: Keeper(c, make_upstream), **options) as made:
        yield made


REFUSALS: list[Any] = [
    pytest.param(404, None, id="404"),
    pytest.param(404, {"code": -32600, "message": "Session not found"}, id="404 in JSON-RPC"),
    pytest.param(
        400, {"code": -32000, "message": "Bad Request: No valid session ID provided"}, id="400"
    ),
]


class Memory:
    """The server's sessions; only the newest is known."""

    def __init__(self, w: World, status: int = 404, error: object = None) -> None:
        self.w = w
        self.current = 0
        self.status = status
        self.error = error
        self.version: str | None = None
        self.capabilities: dict[str, Any] = {"tools": {"listChanged": True}, "logging": {}}
        w.server.on("POST")(self.answer)
        w.server.on("DELETE")(self.check)

    def forget(self) -> None:
        """Restart."""
        self.current += 1000

    async def answer(self, exchange: Exchange) -> None:
        if exchange.rpc == "initialize":
            self.current += 1
            result = initialized(exchange) | {"capabilities": self.capabilities}
            if self.version:
                result["protocolVersion"] = self.version
            await exchange.reply(result, ("Mcp-Session-Id", f"s{self.current}"))
        else:
            await self.check(exchange)

    async def check(self, exchange: Exchange) -> None:
        if exchange.headers.get("mcp-session-id") == f"s{self.current}":
            handler = self.w.server.handlers.get(exchange.rpc, well_behaved)
            await handler(exchange)
        elif self.error is None:
            await exchange.answer(self.status)
        else:
            answer = {"jsonrpc": "2.0", "id": None, "error": self.error}
            await exchange.json(answer, status=self.status)


def rpcs(w: World) -> list[str]:
    return [exchange.rpc for exchange in w.server.calls("POST")]


@pytest.mark.parametrize(("status", "error"), REFUSALS)
async def test_the_call_is_answered_as_if_nothing_had_happened(autojump_clock, status: int, error):
    async with world() as w:
        memory = Memory(w, status, error)
        await w.initialize()
        memory.forget()
        w.send(id=1, method="tools/call", params={"name": "x", "arguments": {"a": 1}})
        await w.answer(1)
        assert rpcs(w)[2:] == [
            *("tools/call", "initialize", "notifications/initialized", "tools/call")
        ]
        first, again = w.server.calls("initialize")
        assert first.message["params"] == again.message["params"]
        assert first.message["id"] != again.message["id"]
        assert "mcp-session-id" not in again.headers
        assert [m.get("id") for m in w.messages if "method" not in m] == ["init", 1]
        assert w.ears.failures == []


async def test_what_the_server_says_on_the_way_reaches_the_client(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        memory.forget()

        @w.server.on("POST")
        async def talkative(exchange: Exchange) -> None:
            if exchange.rpc != "initialize":
                await memory.answer(exchange)
                return
            memory.current += 1
            await exchange.start_events(("Mcp-Session-Id", f"s{memory.current}"))
            await exchange.event({"jsonrpc": "2.0", "method": "notifications/message"})
            await exchange.event_reply(initialized(exchange))
            await exchange.client_left()
            await exchange.drop()

        w.send(id=1, method="tools/list")
        await w.answer(1)
        await w.notified("notifications/message")
        assert [m.get("id") for m in w.messages if "result" in m] == ["init", 1]


async def test_the_log_level_and_subscriptions_are_set_again(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        w.send(id=1, method="logging/setLevel", params={"level": "info"})
        await w.answer(1)
        w.send(id=2, method="logging/setLevel", params={"level": "debug"})
        await w.answer(2)
        for ident, uri in enumerate(["a:", "b:", "c:"], 3):
            w.send(id=ident, method="resources/subscribe", params={"uri": uri})
            await w.answer(ident)
        w.send(id=6, method="resources/unsubscribe", params={"uri": "b:"})
        await w.answer(6)
        before = len(w.server.seen)
        memory.forget()
        w.send(id=7, method="tools/list")
        await w.answer(7)
        said = [
            exchange.message for exchange in w.server.seen[before:] if exchange.method == "POST"
        ]
        assert [m["params"].get("level") for m in said if m["method"] == "logging/setLevel"] == [
            "debug"
        ]
        assert [m["params"]["uri"] for m in said if m["method"] == "resources/subscribe"] == [
            *("a:", "c:")
        ]


async def test_the_client_is_told_which_lists_have_changed(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        memory.capabilities = {
            "tools": {"listChanged": True}, "prompts": {"listChanged": False}, "resources": {},
        }  # fmt: skip
        await w.initialize()
        for ident, name in enumerate(("tools", "prompts", "resources")):
            w.send(id=ident, method=f"{name}/list")
            await w.answer(ident)

        @w.server.on("tools/list")
        async def other(exchange: Exchange) -> None:
            await exchange.reply({"tools": []})

        memory.forget()
        w.send(id=9, method="tools/call", params={"name": "x"})
        await w.notified("notifications/tools/list_changed")
        await trio.sleep(60)
        assert [m["method"] for m in w.messages if "method" in m] == [
            "notifications/tools/list_changed"
        ]


@pytest.mark.parametrize("capabilities", [{"tools": True}, {"tools": None}, []])
async def test_odd_capabilities_do_no_harm(autojump_clock, capabilities: Any):
    async with world() as w:
        memory = Memory(w)
        memory.capabilities = capabilities
        await w.initialize()
        memory.forget()
        w.send(id=1, method="ping")
        await w.answer(1)


async def test_many_calls_that_meet_it_at_once_make_one_new_session(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        memory.forget()
        for ident in range(20):
            w.send(id=ident, method="tools/list")
        for ident in range(20):
            await w.answer(ident)
        assert rpcs(w).count("initialize") == 2
        assert rpcs(w).count("tools/list") == 40


async def test_a_refusal_that_comes_late_finds_the_new_session(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        gate = trio.Event()

        @w.server.on("slow")
        async def slow(exchange: Exchange) -> None:
            if exchange.headers["mcp-session-id"] == "s1":
                await gate.wait()
                await exchange.answer(404)
            else:
                await exchange.reply({})

        w.send(id="slow", method="slow")
        await w.server.wait_for("slow")
        memory.forget()
        w.send(id=1, method="ping")
        await w.answer(1)
        gate.set()
        await w.answer("slow")
        assert rpcs(w).count("initialize") == 2


async def test_what_comes_meanwhile_waits_and_what_was_cancelled_is_not_sent_again(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        await w.settle()
        go_on = trio.Event()

        @w.server.on("notifications/initialized")
        async def slow(exchange: Exchange) -> None:
            await go_on.wait()
            await exchange.answer(202)

        memory.forget()
        w.send(id=1, method="prompts/list")
        w.send(id=2, method="tools/call", params={"name": "x"})
        await w.server.wait_for("notifications/initialized", 2)
        w.upstream.forget(b"1")
        w.send(id=3, method="tools/list")
        await w.settle()
        assert w.server.calls("tools/list") == []
        go_on.set()
        await w.answer(2)
        await w.answer(3)
        assert rpcs(w).count("prompts/list") == 1
        assert rpcs(w).count("tools/call") == 2


async def test_the_stream_of_the_old_session_is_left_for_one_of_the_new(autojump_clock):
    async with world() as w:
        memory = Memory(w)
        heard: list[tuple[str, str | None]] = []

        @w.server.on("GET")
        async def listen(exchange: Exchange) -> None:
            session = exchange.headers["mcp-session-id"]
            heard.append((session, exchange.headers.get("last-event-id")))
            await exchange.start_events()
            await exchange.event("", "id: 7")
            await exchange.client_left()
            await exchange.drop()

        await w.initialize()
        await w.server.wait_for("GET")
        memory.forget()
        w.send(id=1, method="tools/list")
        await w.answer(1)
        await w.server.wait_for("GET", 2)
        assert heard == [("s1", None), ("s1002", None)]


async def test_a_method_that_the_server_does_not_know_is_no_lost_session(autojump_clock):
    async with world() as w:
        Memory(w)
        await w.initialize()

        @w.server.on("tools/call")
        async def unknown(exchange: Exchange) -> None:
            error = {"code": -32601, "message": "no such method"}
            await exchange.json({"jsonrpc": "2.0", "id": 1, "error": error}, status=404)

        w.send(id=1, method="tools/call")
        assert (await w.answer(1))["error"]["code"] == -32601
        assert rpcs(w).count("initialize") == 1


@pytest.mark.parametrize(("status", "kind"), [(400, PeerError), (404, NotFound)])
async def test_a_call_that_is_refused_in_a_new_session_too_is_refused_for_what_it_is(
    autojump_clock, status: int, kind: type[McpctlError]
):
    async with world() as w:
        Memory(w)
        await w.initialize()

        @w.server.on("tools/call")
        async def never(exchange: Exchange) -> None:
            await exchange.answer(status, b"what?", ("Content-Type", "text/plain"))

        w.send(id=1, method="tools/call")
        error = await w.failure(1)
        assert isinstance(error, kind)
        assert "what?" in str(error)
        assert rpcs(w).count("initialize") == 2


async def test_a_server_without_sessions_cannot_lose_one(autojump_clock):
    async with world() as w:

        @w.server.on("initialize")
        async def stateless(exchange: Exchange) -> None:
            await exchange.reply(initialized(exchange))

        @w.server.on("tools/call")
        async def never(exchange: Exchange) -> None:
            await exchange.answer(404)

        await w.initialize()
        w.send(id=1, method="tools/call")
        assert isinstance(await w.failure(1), NotFound)
        assert rpcs(w).count("initialize") == 1


# ---------------------------------------------------------------- when it does not work


async def _refuse(exchange: Exchange) -> None:
    await exchange.answer(503)


async def _error(exchange: Exchange) -> None:
    error = {"code": -32000, "message": "we are full"}
    await exchange.json({"jsonrpc": "2.0", "id": exchange.message["id"], "error": error})


async def _drop(exchange: Exchange) -> None:
    exchange.answered = True
    await exchange.drop()


async def _garbage(exchange: Exchange) -> None:
    await exchange.answer(200, b"{", ("Content-Type", "application/json"))


async def _hang(exchange: Exchange) -> None:
    exchange.answered = True
    await exchange.client_left()
    await exchange.drop()


async def _other(exchange: Exchange) -> None:
    result = initialized(exchange) | {"protocolVersion": "2024-11-05"}
    await exchange.reply(result, ("Mcp-Session-Id", "other"))


FAILURES: list[Any] = [
    pytest.param(_refuse, McpctlError, "503", id="refused"),
    pytest.param(_error, PeerError, "we are full", id="error"),
    pytest.param(_drop, McpctlError, "", id="lost"),
    pytest.param(_garbage, PeerError, "", id="garbage"),
    pytest.param(_hang, TimedOut, "", id="no answer"),
    pytest.param(_other, PeerError, "2024-11-05", id="other revision"),
]


@pytest.mark.parametrize(("second", "kind", "words"), FAILURES)
async def test_why_there_is_no_other_session_is_told_and_the_next_call_tries_again(
    autojump_clock,
    second: Callable[[Exchange], Awaitable[None]],
    kind: type[McpctlError],
    words: str,
):
    async with world() as w:
        memory = Memory(w)
        await w.initialize()
        memory.forget()

        @w.server.on("POST")
        async def fail_once(exchange: Exchange) -> None:
            if exchange.rpc == "initialize":
                await second(exchange)
            else:
                await memory.answer(exchange)

        w.send(id=1, method="tools/call")
        w.send(id=2, method="tools/list")
        for ident in (1, 2):
            error = await w.failure(ident)
            assert isinstance(error, kind)
            assert words in str(error)
        w.server.on("POST")(memory.answer)
        w.send(id=3, method="tools/list")
        await w.answer(3)
