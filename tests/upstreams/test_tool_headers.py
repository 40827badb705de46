"""Tools over Streamable HTTP of 2026-07-28: lists without broken ones, and calls that repeat arguments in headers."""

from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.protocols.mcp.tools import ToolFacts
from mcpctld.upstreams._tools import LISTED_S, MAX_TOOLS
from upstreams.neighbours import META, P, ask, cancel, neighbour
from upstreams.world import World, world


def tool(name: str, **headers: str) -> dict[str, Any]:
    """A tool with a string argument for each header."""
    properties = {
        argument: {"type": "string", "x-mcp-header": header} for argument, header in headers.items()
    }
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


class Tools:
    """A server with tools, which may change."""

    def __init__(self, w: World, *pages: list[dict[str, Any]]) -> None:
        self.w = w
        self.pages = list(pages)
        self.gate = trio.Event()
        self.gate.set()
        w.server.on("tools/list")(self._list)

    async def _list(self, exchange: Exchange) -> None:
        await self.gate.wait()
        number = int(exchange.message["params"].get("cursor", 0))
        result: dict[str, Any] = {"tools": self.pages[number], "resultType": "complete"}
        if number + 1 < len(self.pages):
            result["nextCursor"] = str(number + 1)
        await exchange.reply(result)

    def demand(self, **headers: str | None) -> None:
        """Refuse calls whose parameter headers are others."""

        @self.w.server.on("tools/call")
        async def call(exchange: Exchange) -> None:
            if parameters(exchange) == headers:
                await exchange.reply({"content": []})
            else:
                error = {"code": -32020, "message": "mismatch"}
                await exchange.json({"jsonrpc": "2.0", "id": None, "error": error}, status=400)


def parameters(exchange: Exchange) -> dict[str, str]:
    prefix = "mcp-param-"
    return {
        name.removeprefix(prefix): value
        for name, value in exchange.headers.items()
        if name.startswith(prefix)
    }


def call(w: World, ident: Any, name: str, **arguments: Any) -> None:
    ask(w, ident, "tools/call", name=name, arguments=arguments)


async def listed(w: World) -> list[str]:
    """What a client sees."""
    ident = f"list {len(w.server.seen)}"
    ask(w, ident, "tools/list")
    return [tool["name"] for tool in (await w.answer(ident))["result"]["tools"]]


# ---------------------------------------------------------------- lists


async def test_tools_with_broken_annotations_are_left_out_and_named_in_the_log(autojump_clock):
    async with world() as w:
        Tools(w, [tool("good", a="A"), tool("bad", a="not a token"), tool("plain")])
        assert await listed(w) == ["good", "plain"]
        (record,) = [one for one in w.log.records if one.getMessage() == "tools.excluded"]
        assert record.levelname == "WARNING"
        assert record.tool == "bad"
        assert "not a token" in record.reason


async def test_a_server_cannot_fill_the_log_with_broken_tools(autojump_clock):
    async with world() as w:
        Tools(w, [tool(f"{n}" + "x" * 9999, a="") for n in range(50)])
        assert await listed(w) == []
        records = [one for one in w.log.records if one.getMessage() == "tools.excluded"]
        assert len(records) == 20
        assert all(len(record.tool) == 100 for record in records)


async def test_the_rest_of_the_list_is_the_servers_byte_for_byte(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            bad = b'{"name":"bad","inputSchema":{"x-mcp-header":"X"}}'
            good = b'{"name":"good","y": 1.0}'
            text = b'{"jsonrpc":"2.0","id":1,"result":{"ttlMs":1e3,"tools":[%b, %b]}}'
            kind = ("Content-Type", "application/json")
            await exchange.answer(200, text % (bad, good), kind)

        ask(w, 1, "tools/list")
        await w.answer(1)
        (line,) = w.ears.lines
        tools = b'[{"name":"good","y": 1.0}]'
        assert line == b'{"jsonrpc":"2.0","id":1,"result":{"ttlMs":1e3,"tools":%b}}' % tools


async def test_a_list_in_a_stream_of_events_is_read_too(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "method": "notifications/progress"})
            await exchange.event_reply({"tools": [tool("bad", a="")]})
            await exchange.end()

        assert await listed(w) == []
        assert "bad" in w.shared.facts.tools


async def test_an_error_in_place_of_a_list_is_passed_on(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            await exchange.json({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x"}})

        ask(w, 1, "tools/list")
        assert (await w.answer(1))["error"]["code"] == -1


async def test_clients_of_older_revisions_see_what_the_server_says(autojump_clock):
    async with world() as w:
        Tools(w, [tool("bad", a="not a token")])
        await w.initialize()
        w.send(id=1, method="tools/list", params={})
        assert len((await w.answer(1))["result"]["tools"]) == 1
        w.send(id=2, method="tools/call", params={"name": "unknown"})
        await w.answer(2)
        assert len(w.server.calls("tools/list")) == 1


async def test_what_is_learned_is_kept_for_all_and_saved_only_when_it_is_new(autojump_clock):
    async with world() as w:
        saved: list[dict[str, ToolFacts]] = []
        w.shared.changed = lambda: saved.append(w.shared.facts.tools)
        server = Tools(w, [tool("a", x="X")], [tool("b")])
        for _ in range(2):
            await listed(w)
        assert saved == [{"a": ToolFacts({"X": ["x"]})}]
        ask(w, 2, "tools/list", cursor="1")
        await w.answer(2)
        assert set(saved[-1]) == {"a", "b"}
        server.pages = [[tool("c")]]
        await listed(w)
        assert set(saved[-1]) == {"c"}
        assert len(saved) == 3


async def test_a_server_cannot_fill_the_memory_with_tools(autojump_clock):
    async with world() as w:
        Tools(w, [{"name": f"t{n}"} for n in range(MAX_TOOLS + 5)])
        assert len(await listed(w)) == MAX_TOOLS + 5
        assert len(w.shared.facts.tools) == MAX_TOOLS


# ---------------------------------------------------------------- calls


async def test_calls_repeat_annotated_arguments_in_headers(autojump_clock):
    async with world() as w:
        Tools(w, [tool("t", region="Region", note="Note", absent="Absent")])
        await listed(w)
        call(w, 1, "t", region="us-west1", note="grüß", other="x", absent=None)
        await w.answer(1)
        (called,) = w.server.calls("tools/call")
        assert parameters(called) == {"region": "us-west1", "note": "=?base64?Z3LDvMOf?="}
        assert called.headers["mcp-name"] == "t"
        assert len(w.server.calls("tools/list")) == 1


async def test_a_tool_that_nobody_has_listed_is_looked_up_on_all_pages_first(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("a", x="X")], [tool("b")], [tool("c", y="Y")])
        server.demand(y="1")
        call(w, 1, "c", y="1")
        await w.answer(1)
        lists = w.server.calls("tools/list")
        assert [one.message["params"].get("cursor") for one in lists] == [None, "1", "2"]
        assert all(one.message["params"]["_meta"] == META for one in lists)
        assert all(one.headers["mcp-method"] == "tools/list" for one in lists)
        assert set(w.shared.facts.tools) == {"a", "b", "c"}
        assert len(w.messages) == 1


async def test_calls_that_wait_for_the_list_share_it(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Tools(w, [tool("t", x="X")])
        server.gate = trio.Event()
        server.demand(x="1")
        call(w, 1, "t", x="1")
        call(w, 2, "t", x="1")
        call(other, 1, "t", x="1")
        await w.settle()
        assert w.server.calls("tools/call") == []
        ask(w, 3, "resources/list")  # nothing else waits
        await w.answer(3)
        server.gate.set()
        await w.answer(1)
        await w.answer(2)
        await other.answer(1)
        assert len(w.server.calls("tools/list")) == 1


async def test_what_is_known_from_another_session_costs_no_list(autojump_clock):
    async with world() as w, neighbour(w) as other:
        Tools(w, [tool("t", x="X")]).demand(x="1")
        call(w, 1, "t", x="1")
        await w.answer(1)
        call(other, 1, "t", x="1")
        await other.answer(1)
        assert len(w.server.calls("tools/list")) == 1


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_without_a_list_the_call_goes_as_it_is(autojump_clock, status: int):
    async with world() as w:

        @w.server.on("tools/list")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32601, "message": "no tools here"}
            theirs = exchange.message["id"]
            await exchange.json({"jsonrpc": "2.0", "id": theirs, "error": error}, status=status)

        call(w, 1, "t", x="1")
        await w.answer(1)
        assert parameters(w.server.calls("tools/call")[0]) == {}
        (record,) = [one for one in w.log.records if one.getMessage() == "tools.not_listed"]
        assert record.error == "no tools here"


async def test_a_bare_refusal_of_the_list_is_explained_in_the_log(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(403)

        call(w, 1, "t")
        await w.answer(1)
        (record,) = [one for one in w.log.records if one.getMessage() == "tools.not_listed"]
        assert "403" in record.error


async def test_a_list_that_does_not_come_is_waited_for_at_most_ten_seconds(autojump_clock):
    async with world() as w:
        server = Tools(w, [])
        server.gate = trio.Event()
        call(w, 1, "t")
        began = trio.current_time()
        await w.answer(1)
        assert trio.current_time() - began == pytest.approx(10, abs=0.1)
        server.gate.set()


async def test_a_list_without_an_end_is_given_up(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def on_and_on(exchange: Exchange) -> None:
            await exchange.reply({"tools": [], "nextCursor": "x"})

        call(w, 1, "t")
        await w.answer(1)
        assert len(w.server.calls("tools/list")) == 100


async def test_a_tool_that_is_on_no_list_is_not_looked_for_at_every_call(autojump_clock):
    async with world() as w:
        Tools(w, [tool("a")])
        for ident in range(3):
            call(w, ident, "unknown")
            await w.answer(ident)
        assert len(w.server.calls("tools/list")) == 1
        await trio.sleep(LISTED_S + 1)
        call(w, 9, "unknown")
        await w.answer(9)
        assert len(w.server.calls("tools/list")) == 2


async def test_a_call_without_a_name_is_left_to_the_server(autojump_clock):
    async with world() as w:
        ask(w, 1, "tools/call")
        await w.answer(1)
        assert w.server.calls("tools/list") == []


async def test_a_call_given_up_while_the_list_is_made_is_never_sent(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t")])
        server.gate = trio.Event()
        call(w, 1, "t")
        call(w, 2, "t")
        await w.server.wait_for("tools/list")
        cancel(w, 1)
        await w.settle()
        (pool,) = w.http._pools.values()
        assert pool.statistics().open == 1
        w.upstream.forget(b"2")
        await w.settle()
        assert pool.statistics().open == 0  # the last one has gone, and the list with it
        call(w, 3, "t")
        server.gate.set()
        await w.answer(3)
        assert [one.message["id"] for one in w.server.calls("tools/call")] == [3]


async def test_a_session_that_closes_while_the_list_is_made_leaves_nothing(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t")])
        server.gate = trio.Event()
        call(w, 1, "t")
        await w.server.wait_for("tools/list")
        await w.upstream.aclose()
        await w.failure(1)
        await w.settle()
        assert w.server.calls("tools/call") == []
        server.gate.set()


async def test_what_a_server_says_beside_the_list_is_not_heard(autojump_clock):
    async with world() as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event({"jsonrpc": "2.0", "method": "notifications/progress"})
            await exchange.event("garbage")
            await exchange.event_reply({"tools": [tool("t", x="X")]})
            await exchange.event_reply({"tools": []})
            await exchange.end()

        call(w, 1, "t", x="1")
        await w.answer(1)
        assert parameters(w.server.calls("tools/call")[0]) == {"x": "1"}
        assert len(w.messages) == 1


@pytest.mark.parametrize("size", [500, 5000])
async def test_a_list_that_is_too_long_or_breaks_off_is_done_without(autojump_clock, size: int):
    async with world(max_message_bytes=1000) as w:

        @w.server.on("tools/list")
        async def list_(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("x" * size)
            await exchange.end()

        call(w, 1, "t")
        await w.answer(1)
        assert [one for one in w.log.records if one.getMessage() == "tools.not_listed"]


# ---------------------------------------------------------------- headers that do not fit any more


async def test_headers_that_a_tool_does_not_want_any_more_are_looked_up_anew(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t", x="X")])
        await listed(w)
        server.pages = [[tool("t", x="Y")]]
        server.demand(y="1")
        call(w, 1, "t", x="1")
        assert "result" in await w.answer(1)
        assert [parameters(one) for one in w.server.calls("tools/call")] == [{"x": "1"}, {"y": "1"}]
        assert len(w.server.calls("tools/list")) == 2
        call(w, 2, "t", x="1")
        await w.answer(2)
        assert len(w.server.calls("tools/call")) == 3


async def test_a_call_is_made_once_more_only(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t", x="X")])
        await listed(w)
        server.pages = [[tool("t", x="Y")]]
        server.demand(z="1")
        call(w, 1, "t", x="1")
        assert (await w.answer(1))["error"]["code"] == -32020
        assert len(w.server.calls("tools/call")) == 2


async def test_without_other_headers_the_refusal_counts(autojump_clock):
    async with world() as w:
        Tools(w, [tool("t", x="X")]).demand(z="1")
        await listed(w)
        call(w, 1, "t", x="1")
        assert (await w.answer(1))["error"]["code"] == -32020
        assert len(w.server.calls("tools/call")) == 1
        assert len(w.server.calls("tools/list")) == 2


async def test_a_refused_call_that_is_given_up_meanwhile_is_not_made_again(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t", x="X")])
        await listed(w)
        server.demand(z="1")
        server.gate = trio.Event()
        call(w, 1, "t", x="1")
        call(w, 2, "t", x="1")
        await w.server.wait_for("tools/list", 2)
        cancel(w, 1)
        server.gate.set()
        await w.answer(2)
        await w.settle()
        assert len(w.server.calls("tools/call")) == 2
        assert [seen.get("id") for seen in w.messages] == ["list 0", 2]


@pytest.mark.parametrize("method", ["resources/read", "prompts/get"])
async def test_other_requests_are_not_made_again(autojump_clock, method: str):
    async with world() as w:

        @w.server.on(method)
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32020, "message": "no"}
            await exchange.json({"jsonrpc": "2.0", "id": 1, "error": error}, status=400)

        ask(w, 1, method, name="x", uri="x:")
        assert (await w.answer(1))["error"]["code"] == -32020
        assert w.server.calls("tools/list") == []


async def test_the_listing_follows_redirects_and_carries_no_token_of_the_call(autojump_clock):
    async with world() as w:
        server = Tools(w, [tool("t", x="X")])

        @w.server.on("tools/list")
        async def elsewhere(exchange: Exchange) -> None:
            if exchange.target == "/mcp":
                await exchange.answer(308, b"", ("Location", "/there"), ("Set-Cookie", "a=b"))
            else:
                await server._list(exchange)

        meta = {**META, "progressToken": 7, f"{P}logLevel": "debug"}
        ask(w, 1, "tools/call", meta=meta, name="t", arguments={"x": "1"})
        await w.answer(1)
        again = w.server.calls("tools/list")[1]
        assert again.message["params"]["_meta"] == META
        assert again.headers["cookie"] == "a=b"
        assert parameters(w.server.calls("tools/call")[0]) == {"x": "1"}
