"""What a server may have questions about waits for the stream over which it may ask them; nothing else does."""

import json
from typing import Any

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import SessionLost
from upstreams.world import World, world


class Ear:
    """The server's stream of the session, whose answer waits until the test lets it go."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.go = trio.Event()
        self.standing: Exchange | None = None
        w.server.on("GET")(self.stand)

    async def stand(self, exchange: Exchange) -> None:
        """Answer with a stream, when that is time; until the client leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._open, exchange)
            await exchange.client_left()
            nursery.cancel_scope.cancel()
        exchange.answered = True
        await exchange.drop()

    async def _open(self, exchange: Exchange) -> None:
        await self.go.wait()
        await exchange.start_events()
        self.standing = exchange


def posts(w: World) -> list[str]:
    return [exchange.rpc for exchange in w.server.calls("POST")]


async def test_a_server_that_asks_over_the_stream_is_heard_in_the_first_call(autojump_clock):
    async with world() as w:
        ear = Ear(w)

        @w.server.on("tools/call")
        async def ask(exchange: Exchange) -> None:
            if ear.standing is None:  # nobody listens: the question is dropped
                await trio.sleep_forever()
            question = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}}
            await ear.standing.event(question)
            await w.server.wait_for("")
            await exchange.reply({"content": []})

        await w.initialize()
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.settle()
        ear.go.set()
        await w.notified("elicitation/create")
        w.send(id="q", result={"action": "decline"})
        await w.answer(1)


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
async def test_such_requests_wait_and_others_pass_them(autojump_clock, method: str):
    async with world() as w:
        ear = Ear(w)
        await w.initialize()
        for ident in (1, 2):
            w.send(id=ident, method=method, params={"name": str(ident)})
        w.send(id=3, method="tools/list")
        w.send(method="notifications/roots/list_changed")
        await w.answer(3)
        await w.settle()
        assert posts(w)[2:] == ["tools/list", "notifications/roots/list_changed"]
        ear.go.set()
        for ident in (1, 2):
            await w.answer(ident)
        assert posts(w)[4:] == [method, method]


async def test_a_batch_with_such_a_request_waits(autojump_clock):
    async with world() as w:
        ear = Ear(w)

        async def both(exchange: Exchange) -> None:
            parts = json.loads(exchange.body)
            answers = [{"jsonrpc": "2.0", "id": part["id"], "result": {}} for part in parts]
            await exchange.json(answers)

        await w.initialize()
        w.server.on("POST")(both)
        w.send_raw(
            b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call"}]'
        )
        await w.settle()
        assert len(w.server.calls("POST")) == 2
        ear.go.set()
        while len(w.ears.lines) < 2:
            await w.ears.heard.wait()


@pytest.mark.parametrize("refusal", ["status", "drop"])
async def test_a_server_without_the_stream_makes_no_call_wait_for_long(
    autojump_clock, refusal: str
):
    async with world() as w:

        @w.server.on("GET")
        async def refuse(exchange: Exchange) -> None:
            if refusal == "status":
                await exchange.answer(405, b"no")
            else:
                exchange.answered = True
                await exchange.drop()

        began = trio.current_time()
        await w.initialize()
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        assert trio.current_time() == began


async def test_a_stream_without_an_answer_is_waited_for_a_moment_and_only_once(autojump_clock):
    async with world() as w:
        Ear(w)
        began = trio.current_time()
        await w.initialize()
        w.send(id=1, method="tools/call", params={"name": "x"})
        await trio.sleep(0.99)
        assert w.server.calls("tools/call") == []
        await w.answer(1)
        assert trio.current_time() - began == pytest.approx(1.0)
        w.send(id=2, method="tools/call", params={"name": "x"})
        await w.answer(2)
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_a_call_that_comes_later_than_that_does_not_wait(autojump_clock):
    async with world() as w:
        Ear(w)
        await w.initialize()
        await trio.sleep(60)
        began = trio.current_time()
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        assert trio.current_time() == began


async def test_a_client_that_never_completes_its_session_is_not_kept_waiting(autojump_clock):
    async with world() as w:
        Ear(w)
        began = trio.current_time()
        w.send(id=0, method="initialize", params={"protocolVersion": "2025-11-25"})
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        assert trio.current_time() == began


async def test_a_second_session_has_a_stream_of_its_own_to_wait_for(autojump_clock):
    async with world() as w:
        ear = Ear(w)
        ear.go.set()
        await w.initialize()
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.answer(1)
        ear.go = trio.Event()
        w.send(id=2, method="initialize", params={"protocolVersion": "2025-11-25"})
        w.send(method="notifications/initialized")
        w.send(id=3, method="tools/call", params={"name": "x"})
        await w.server.wait_for("GET", 2)
        await w.settle()
        assert len(w.server.calls("tools/call")) == 1
        ear.go.set()
        await w.answer(3)


@pytest.mark.parametrize("how", ["cancelled", "forgotten"])
async def test_a_call_that_is_given_up_while_it_waits_is_never_made(autojump_clock, how: str):
    async with world(max_message_bytes=1000) as w:
        ear = Ear(w)
        await w.initialize()
        await w.settle()
        w.send(id=1, method="tools/call", params={"name": "x" * 2000})
        assert w.upstream.full
        if how == "cancelled":
            w.send(method="notifications/cancelled", params={"requestId": 1})
        else:
            w.upstream.forget(b"1")
        assert not w.upstream.full
        ear.go.set()
        w.send(id=2, method="tools/call", params={"name": "y"})
        await w.answer(2)
        assert posts(w)[2:] == ["tools/call"]


async def test_what_waits_for_the_stream_of_a_session_that_is_lost_is_handed_back(autojump_clock):
    async with world(max_message_bytes=1000) as w:
        Ear(w)
        await w.initialize()
        await w.settle()

        @w.server.on("tools/list")
        async def forget(exchange: Exchange) -> None:
            await exchange.answer(404)

        w.send(id=1, method="tools/call", params={"name": "x" * 2000})
        w.send(id=2, method="tools/list")
        while len(w.ears.losses) < 2:
            await w.ears.heard.wait()
        assert not w.upstream.full
        lost = [(json.loads(line or b"")["id"], error) for line, error in w.ears.losses]
        assert [ident for ident, _ in lost] == [2, 1]
        assert all(isinstance(error, SessionLost) for _, error in lost)
        await trio.sleep(2)
        assert w.server.calls("tools/call") == []


async def test_what_waits_is_handed_back_when_another_transport_takes_over(autojump_clock):
    async with world() as w:
        Ear(w)
        await w.initialize()
        await w.settle()
        w.send(id=1, method="tools/call", params={"name": "x"})
        unsent = w.upstream.surrender()
        assert [json.loads(message.raw)["id"] for message in unsent] == [1]


async def test_something_that_fails_on_the_way_ends_the_waiting(autojump_clock):
    async with world() as w:
        Ear(w)
        began = trio.current_time()
        await w.initialize()
        await w.settle()

        @w.server.on("tools/list")
        async def busy(exchange: Exchange) -> None:
            await exchange.answer(502)

        w.send(id=1, method="tools/call", params={"name": "x"})
        w.send(id=2, method="tools/list")
        await w.failure(2)
        await w.answer(1)
        assert trio.current_time() == began


async def test_a_client_of_the_revision_without_sessions_waits_for_nothing(autojump_clock):
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    async with world() as w:

        @w.server.on("resources/read")
        async def read(exchange: Exchange) -> None:
            await exchange.reply({"resultType": "complete", "contents": []})

        w.send(id=1, method="resources/read", params={"uri": "a:/", "_meta": meta})
        await w.answer(1)
        assert w.server.calls("GET") == []


async def test_calls_behind_the_end_of_the_handshake_wait_for_it_and_for_the_stream(autojump_clock):
    async with world() as w:
        ear = Ear(w)
        w.send(id=0, method="initialize", params={"protocolVersion": "2025-11-25"})
        w.send(method="notifications/initialized")
        w.send(id=1, method="tools/call", params={"name": "x"})
        await w.server.wait_for("GET")
        await w.settle()
        assert w.server.calls("tools/call") == []
        ear.go.set()
        await w.answer(1)
        assert posts(w) == ["initialize", "notifications/initialized", "tools/call"]
