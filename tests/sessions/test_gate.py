"""Clients of one era and servers of the other: what the gate does with transports, memory and time."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.protocols.mcp.negotiation import SILENCE_S, Negotiation
from mcpctld.sessions.closing import BOUND_S
from mcpctld.sessions.commons import TRUST_REFUSALS_S
from mcpctld.sessions.gate import Gate
from mcpctld.upstreams import Context, Facts, Upstream
from sessions.stack import Stack, stack
from sessions.upstream import Puppet

P = "io.modelcontextprotocol/"
META = {
    P + "protocolVersion": "2026-07-28",
    P + "clientInfo": {"name": "tester", "version": "1"},
    P + "clientCapabilities": {},
}
NAMED = {"clientInfo": {"name": "tester", "version": "1"}, "capabilities": {}}
SERVER = {"name": "server", "version": "1"}

INITIALIZE: dict[str, Any] = {
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", **NAMED},
}
DISCOVER: dict[str, Any] = {"id": "first", "method": "server/discover", "params": {"_meta": META}}
FIRST = {"legacy": INITIALIZE, "modern": DISCOVER}
"""A client's first message, by its era."""

INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": SERVER}
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "private",
    "_meta": {P + "serverInfo": SERVER},
}
ANSWERS: dict[str, dict[str, Any]] = {"legacy": INITIALIZED, "modern": DISCOVERED}
"""A server's answer to the first message, by its era."""

REFUSAL = b'{"code":-32601,"message":"Method not found"}'
CROSSINGS = [("legacy", "modern"), ("modern", "legacy")]


def call(ident: object, era: str) -> dict[str, Any]:
    meta = {"_meta": META} if era == "modern" else {}
    return {"id": ident, "method": "tools/call", "params": {"name": "x", **meta}}


async def refuse(made: Stack, method: str) -> None:
    """Let the newest transport refuse a request, whose method it does not know."""
    request = await made.asked(method)
    made.server.say(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request.id, REFUSAL))


async def welcome(made: Stack, era: str) -> None:
    """Let a server of this era answer the first message, in whatever way it comes."""
    await made.answer(FIRST[era]["method"], ANSWERS[era])


async def cross(made: Stack, client: str, server: str) -> None:
    """A client meets a server of the other era, which refuses its first message."""
    made.send(**FIRST[client])
    await refuse(made, FIRST[client]["method"])
    await welcome(made, server)
    assert "result" in await made.heard("first")
    if client == "legacy":
        made.send(method="notifications/initialized")


def said(made: Stack, nth: int = -1) -> list[str]:
    """The methods that a transport was sent."""
    return [json.loads(line)["method"] for line in made.transports[nth].sent]


def bridge_of(made: Stack) -> str | None:
    assert isinstance(made.top, Gate)
    return made.top.bridge


# ---------------------------------------------------------------- the same era


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_server_of_the_clients_era_is_spoken_to_as_it_is(autojump_clock, era: str):
    async with stack(Gate) as made:
        made.send(**FIRST[era])
        await welcome(made, era)
        assert (await made.heard("first"))["result"] == ANSWERS[era]
        sent = made.send(**call(1, era))
        assert made.server.sent[-1] is sent.raw
        assert len(made.transports) == 1
        assert bridge_of(made) is None
        assert made.shared.facts.refused == {}


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_once_both_are_of_one_era_nothing_that_is_said_is_judged_any_more(
    autojump_clock, monkeypatch: pytest.MonkeyPatch, era: str
):
    async with stack(Gate, era=era) as made:
        made.send(**INITIALIZE)
        await welcome(made, "legacy")
        for name in ("receive_client", "receive_server"):
            monkeypatch.setattr(Negotiation, name, None)  # messages do not even come there
        made.send(**{**DISCOVER, "id": "odd"})
        await refuse(made, "server/discover")
        assert (await made.heard("odd"))["error"]["code"] == -32601
        refused = await made.asked("server/discover")
        assert not made.server.downstream.evidence(refused, 405, None)
        assert len(made.transports) == 1


async def test_a_client_of_both_eras_may_fall_back_after_discover(autojump_clock):
    async with stack(Gate) as made:
        made.send(**DISCOVER)
        await welcome(made, "modern")
        made.send(**{**INITIALIZE, "id": "second"})
        await welcome(made, "legacy")
        assert (await made.heard("second"))["result"] == INITIALIZED
        assert [said(made, nth) for nth in (0, 1)] == [["server/discover"], ["initialize"]]
        assert bridge_of(made) is None


# ---------------------------------------------------------------- the other era


@pytest.mark.parametrize(("client", "server"), CROSSINGS)
async def test_a_refusal_puts_a_bridge_over_a_fresh_transport_and_closes_the_old(
    autojump_clock, client: str, server: str
):
    async with stack(Gate) as made:
        await cross(made, client, server)
        assert bridge_of(made) == f"{client}-to-{server}"
        await trio.testing.wait_all_tasks_blocked()
        assert [transport.closed for transport in made.transports] == [1, 0]
        made.send(**call(7, client))
        complete = {"resultType": "complete"} if server == "modern" else {}
        await made.answer("tools/call", {"content": [], **complete})
        assert (await made.heard(7))["result"]["content"] == []
        assert len(made.messages) == 2


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_refusal_may_be_a_status(autojump_clock, status: int):
    async with stack(Gate) as made:
        request = made.send(**DISCOVER)
        assert made.server.downstream.evidence(request, status, None)
        await welcome(made, "legacy")
        assert (await made.heard("first"))["result"]["supportedVersions"] == ["2026-07-28"]


async def test_what_the_old_transport_fails_at_its_end_is_not_failed_for_the_client(autojump_clock):
    async with stack(Gate) as made:
        made.send(**DISCOVER)
        made.send(**call(2, "modern"))
        await refuse(made, "server/discover")
        for ident in (b'"first"', b"2"):
            made.transports[0].downstream.fail(ident, Unreachable("the session has ended"))
        await welcome(made, "legacy")
        await made.heard("first")
        await made.answer("tools/call", {"content": []})
        await made.heard(2)
        assert made.ears.failures == []


async def test_a_transport_that_answers_at_once_does_not_lead_the_gate_into_itself(autojump_clock):
    async with stack(lambda context, make: Gate(context, eager(make))) as made:
        request = made.send(**DISCOVER)
        assert made.server.downstream.evidence(request, 405, None)
        assert (await made.heard("first"))["result"]["resultType"] == "complete"
        assert said(made) == ["initialize", "notifications/initialized"]


def eager(make: Callable[[Context], Upstream]) -> Callable[[Context], Upstream]:
    """Transports that answer `initialize` while they are sent it."""

    def make_eager(context: Context) -> Upstream:
        transport = make(context)
        assert isinstance(transport, Puppet)
        take = transport.send

        def send(message: Message | Batch) -> None:
            take(message)
            if isinstance(message, Message) and message.method == "initialize":
                transport.answer(message.id, json.dumps(INITIALIZED).encode())

        transport.send = send  # type: ignore[method-assign]
        return transport

    return make_eager


async def test_with_mirror_the_client_gets_the_refusal(autojump_clock):
    async with stack(Gate, era="mirror") as made:
        made.send(**DISCOVER)
        await refuse(made, "server/discover")
        assert (await made.heard("first"))["error"]["code"] == -32601
        made.send(**call(2, "modern"))
        await refuse(made, "tools/call")
        assert (await made.heard(2))["error"]["code"] == -32601
        assert len(made.transports) == 1
        assert made.shared.facts.refused == {}


# ---------------------------------------------------------------- what is remembered


@pytest.mark.parametrize(("client", "server"), CROSSINGS)
async def test_what_a_server_refused_is_not_asked_in_the_next_session(
    autojump_clock, client: str, server: str
):
    changes: list[dict[str, float]] = []
    async with stack(Gate) as made:
        made.shared.changed = lambda: changes.append(dict(made.shared.facts.refused))
        before = time.time()
        await cross(made, client, server)
        assert list(made.shared.facts.refused) == [client]
        assert before <= made.shared.facts.refused[client] <= time.time()
        assert changes == [made.shared.facts.refused]  # and so it is written
        async with stack(Gate, shared=made.shared) as again:
            again.send(**FIRST[client])
            await welcome(again, server)
            assert "result" in await again.heard("first")
            assert said(again)[0] == FIRST[server]["method"]
            assert len(again.transports) == 1  # nothing was said on it in the wrong way


@pytest.mark.parametrize(
    ("age_s", "asked"),
    [
        (TRUST_REFUSALS_S - 60, False),
        (TRUST_REFUSALS_S + 1, True),
        (-60, True),  # the clock was set back
    ],
)
async def test_a_day_later_the_server_is_asked_again(autojump_clock, age_s: float, asked: bool):
    facts = Facts(refused={"modern": time.time() - age_s})
    async with stack(Gate, facts=facts) as made:
        made.send(**DISCOVER)
        assert said(made) == (["server/discover"] if asked else ["initialize"])


async def test_a_server_that_has_learned_the_era_is_not_thought_to_refuse_it_any_more(
    autojump_clock,
):
    facts = Facts(refused={"modern": time.time() - TRUST_REFUSALS_S - 1})
    async with stack(Gate, facts=facts) as made:
        made.send(**DISCOVER)
        await welcome(made, "modern")
        await made.heard("first")
        assert made.shared.facts.refused == {}


async def test_a_memory_that_is_wrong_heals(autojump_clock):
    async with stack(Gate, facts=Facts(refused={"modern": time.time()})) as made:
        made.send(**DISCOVER)
        await refuse(made, "initialize")
        await welcome(made, "modern")
        assert (await made.heard("first"))["result"] == DISCOVERED
        assert made.shared.facts.refused == {}
        assert len(made.transports) == 2


# ---------------------------------------------------------------- what the server's file says


@pytest.mark.parametrize("client", ["legacy", "modern"])
@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_of_a_server_whose_file_names_its_era_nothing_is_asked(
    autojump_clock, client: str, server: str
):
    facts = Facts(refused={server: time.time()})  # of the time before the file said so
    async with stack(Gate, era=server, facts=facts) as made:
        made.send(**FIRST[client])
        assert said(made) == [FIRST[server]["method"]]
        await welcome(made, server)
        assert "result" in await made.heard("first")
        assert bridge_of(made) == (None if client == server else f"{client}-to-{server}")
        assert len(made.transports) == 1


@pytest.mark.parametrize(("client", "server"), CROSSINGS)
@pytest.mark.parametrize("kind", ["http", "stdio"])
async def test_a_file_that_names_the_wrong_era_costs_a_question(
    autojump_clock, client: str, server: str, kind: str
):
    async with stack(Gate, era=server, kind=kind) as made:  # it speaks the client's, in truth
        made.send(**FIRST[client])
        await refuse(made, FIRST[server]["method"])
        await welcome(made, client)
        assert (await made.heard("first"))["result"] == ANSWERS[client]
        sent = made.send(**call(1, client))
        assert made.server.sent[-1] is sent.raw
        assert bridge_of(made) is None


@pytest.mark.parametrize(("client", "server"), CROSSINGS)
async def test_a_file_that_names_the_clients_era_wrongly_does_not_keep_the_bridge_away(
    autojump_clock, client: str, server: str
):
    async with stack(Gate, era=client) as made:
        await cross(made, client, server)
        assert bridge_of(made) == f"{client}-to-{server}"


# ---------------------------------------------------------------- processes


async def test_a_process_that_exits_at_a_modern_request_is_replaced_by_a_fresh_one(autojump_clock):
    async with stack(Gate, kind="stdio") as made:
        made.send(**DISCOVER)
        made.server.end(Unreachable("the process exited with 1"))
        await welcome(made, "legacy")
        assert (await made.heard("first"))["result"]["supportedVersions"] == ["2026-07-28"]
        assert [transport.closed for transport in made.transports] == [1, 0]
        made.server.end(Unreachable("and again"))  # which is no matter of eras
        await made.over.wait()
        assert str(made.ended) == "and again"


async def test_a_process_that_keeps_silent_at_a_modern_request_is_replaced_too(autojump_clock):
    async with stack(Gate, kind="stdio") as made:
        began = trio.current_time()
        made.send(**DISCOVER)
        await trio.sleep(SILENCE_S - 0.1)
        assert len(made.transports) == 1
        await made.asked("initialize")
        assert trio.current_time() - began == pytest.approx(SILENCE_S, abs=1.1)
        await welcome(made, "legacy")
        assert "result" in await made.heard("first")
        assert list(made.shared.facts.refused) == ["modern"]


async def test_the_silence_of_a_server_behind_http_says_nothing(autojump_clock):
    async with stack(Gate) as made:
        made.send(**DISCOVER)
        await trio.sleep(60)
        assert len(made.transports) == 1


async def test_a_process_that_exits_at_initialize_is_gone(autojump_clock):
    async with stack(Gate, kind="stdio") as made:
        made.send(**INITIALIZE)
        made.server.end(Unreachable("the process exited with 1"))
        await made.over.wait()
        assert len(made.transports) == 1


async def test_of_a_process_that_speaks_neither_era_the_client_hears_the_first_reason(
    autojump_clock,
):
    async with stack(Gate, kind="stdio") as made:
        made.send(**DISCOVER)
        made.server.end(Unreachable("the process exited with 1"))
        await refuse(made, "initialize")
        assert str(await made.failed("first")) == "the process exited with 1"


# ---------------------------------------------------------------- giving up


@pytest.mark.parametrize("how", ["cancelled", "forgotten"])
@pytest.mark.parametrize(("client", "server"), CROSSINGS)
async def test_a_request_given_up_is_given_up_behind_the_bridge_under_its_id_there(
    autojump_clock, client: str, server: str, how: str
):
    async with stack(Gate) as made:
        await cross(made, client, server)
        made.send(**call(7, client))
        asked = await made.asked("tools/call")
        if how == "cancelled":
            made.send(method="notifications/cancelled", params={"requestId": 7})
        else:
            made.top.forget(b"7")
        told = await made.asked("notifications/cancelled")
        assert json.loads(told.params)["requestId"] == json.loads(asked.id)
        assert made.server.forgotten == [asked.id]
        made.server.answer(asked.id)  # too late
        await trio.testing.wait_all_tasks_blocked()
        assert len(made.messages) == 1


@pytest.mark.parametrize("bound", [True, False])
async def test_a_request_given_up_without_a_bridge_is_forgotten_below(autojump_clock, bound: bool):
    async with stack(Gate) as made:
        made.send(**INITIALIZE)
        if bound:
            await welcome(made, "legacy")
        made.send(**call(7, "legacy"))
        made.top.forget(b"7")
        assert made.server.forgotten == [b"7"]
        assert "notifications/cancelled" not in said(made)


@pytest.mark.parametrize("bridged", [True, False])
async def test_what_fails_below_fails_for_the_client(autojump_clock, bridged: bool):
    async with stack(Gate) as made:
        if bridged:
            await cross(made, "legacy", "modern")
        else:
            made.send(**INITIALIZE)
            await welcome(made, "legacy")
        made.send(**call(7, "legacy"))
        asked = await made.asked("tools/call")
        error = Unreachable("gone")
        made.server.downstream.fail(asked.id, error)
        assert await made.failed(7) is error


# ---------------------------------------------------------------- the end


async def test_closing_waits_for_the_transports_that_are_being_closed(
    autojump_clock, nursery: trio.Nursery
):
    async with stack(Gate) as made:
        may_close, closed = trio.Event(), trio.Event()
        made.transports[0].aclose = may_close.wait  # type: ignore[method-assign]
        await cross(made, "modern", "legacy")

        async def close() -> None:
            await made.top.aclose()
            closed.set()

        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        assert made.server.closed == 1
        assert not closed.is_set()
        may_close.set()
        await closed.wait()


async def test_a_transport_that_does_not_close_is_not_waited_for_for_ever(autojump_clock):
    async with stack(Gate) as made:
        made.transports[0].aclose = trio.sleep_forever  # type: ignore[method-assign]
        began = trio.current_time()
        await cross(made, "modern", "legacy")
        await made.top.aclose()
        assert trio.current_time() - began <= BOUND_S + 0.1


@pytest.mark.parametrize("bridged", [True, False])
async def test_only_what_the_client_said_itself_is_handed_back_unsent(
    autojump_clock, bridged: bool
):
    unsent = parse(json.dumps({"jsonrpc": "2.0", **call(7, "modern")}).encode())
    async with stack(Gate) as made:
        if bridged:
            await cross(made, "modern", "legacy")
        made.server.surrender = lambda: [unsent]  # type: ignore[method-assign]
        assert made.top.surrender() == ([] if bridged else [unsent])


async def test_a_transport_that_ends_for_good_ends_the_session(autojump_clock):
    async with stack(Gate) as made:
        await cross(made, "modern", "legacy")
        gone: McpctlError = Unreachable("gone")
        made.server.end(gone)
        await made.over.wait()
        assert made.ended is gone
