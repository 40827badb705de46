"""Refusals of requests are shown to the layers above before they are answered: they may tell of the server's era."""

from typing import Any

import pytest

from fixtures.scripted import Exchange
from mcpctld.errors import Denied
from upstreams.neighbours import ask
from upstreams.world import World, world

NO = {"code": -32601, "message": "no"}


class Shown(list[tuple[str, int, bool]]):
    """What was shown: method, status, and whether there was a JSON-RPC error. `taken`: what is answered to it."""

    def __init__(self, w: World, *, taken: bool) -> None:
        super().__init__()

        def evidence(request: Any, status: int, error: Any) -> bool:
            self.append((request.method, status, error is not None))
            return taken

        w.ears.evidence = evidence


def refusing(w: World, method: str, status: int, body: object = None) -> None:
    @w.server.on(method)
    async def refuse(exchange: Exchange) -> None:
        if body is None:
            await exchange.answer(status)
        else:
            await exchange.json(body, status=status)


@pytest.mark.parametrize("status", [400, 404, 405, 500])
async def test_a_refusal_that_is_taken_is_not_answered(autojump_clock, status: int):
    async with world() as w:
        shown = Shown(w, taken=True)
        refusing(w, "server/discover", status, {"jsonrpc": "2.0", "id": None, "error": NO})
        refusing(w, "prompts/list", status)
        ask(w, 1, "server/discover")
        ask(w, 2, "prompts/list")
        await w.server.wait_for("prompts/list")
        ask(w, 3, "resources/list")
        await w.answer(3)
        await w.settle()
        assert sorted(shown) == [("prompts/list", status, False), ("server/discover", status, True)]
        assert w.ears.failures == []
        assert len(w.messages) == 1


async def test_one_that_is_not_taken_is_answered(autojump_clock):
    async with world() as w:
        shown = Shown(w, taken=False)
        refusing(w, "prompts/list", 404, {"jsonrpc": "2.0", "id": None, "error": NO})
        ask(w, 1, "prompts/list")
        assert (await w.answer(1))["error"] == NO
        assert shown == [("prompts/list", 404, True)]


async def test_what_waits_behind_initialize_goes_when_its_refusal_is_taken(autojump_clock):
    async with world() as w:
        Shown(w, taken=True)
        refusing(w, "initialize", 400)
        w.send(id=1, method="initialize", params={})
        w.send(id=2, method="tools/list")
        await w.answer(2)
        assert w.ears.failures == []


async def test_credentials_and_what_is_no_request_tell_nothing(autojump_clock):
    async with world() as w:
        shown = Shown(w, taken=True)
        refusing(w, "prompts/list", 401)
        refusing(w, "notifications/x", 400)
        refusing(w, "resources/list", 202)
        refusing(w, "tools/list", 302)
        w.send(method="notifications/x")
        ask(w, 1, "prompts/list")
        assert isinstance(await w.failure(1), Denied)
        ask(w, 2, "resources/list")
        await w.failure(2)
        ask(w, 3, "tools/list")
        await w.failure(3)
        w.send_raw(b'[{"jsonrpc":"2.0","id":4,"method":"x"},{"jsonrpc":"2.0","id":5,"method":"y"}]')
        assert shown == []


async def test_a_shared_listen_is_shown_by_each_session(autojump_clock):
    async with world() as w:
        shown = Shown(w, taken=True)
        refusing(w, "subscriptions/listen", 404)
        ask(w, 1, "subscriptions/listen", notifications={"toolsListChanged": True})
        await w.server.wait_for("subscriptions/listen")
        await w.settle()
        assert shown == [("subscriptions/listen", 404, False)]
        assert w.ears.failures == []
        assert w.shared.hubs == {}


async def test_with_an_unknown_transport_its_own_doubts_come_first(autojump_clock):
    async with world("auto") as w:
        shown = Shown(w, taken=True)
        refusing(w, "initialize", 404)
        w.send(id=1, method="initialize", params={})
        # It is not HTTP+SSE, either: then the refusal is shown.
        while not shown:
            await w.server.changed.wait()
        assert w.server.calls("GET")
        assert shown == [("initialize", 404, False)]


async def test_over_http_sse_a_refusal_is_shown_too(autojump_clock):
    async with world("http-sse") as w:
        shown = Shown(w, taken=True)

        @w.server.on("GET")
        async def stream(exchange: Exchange) -> None:
            await exchange.start_events()
            await exchange.event("/post", "event: endpoint")
            await exchange.client_left()
            await exchange.drop()

        @w.server.on("POST")
        async def post(exchange: Exchange) -> None:
            await exchange.answer(400 if exchange.rpc != "notifications/last" else 202)

        ask(w, 1, "server/discover")
        w.send(method="notifications/refused")
        w.send(method="notifications/last")
        await w.server.wait_for("notifications/last")
        await w.settle()
        assert shown == [("server/discover", 400, False)]
        assert w.ears.failures == []
