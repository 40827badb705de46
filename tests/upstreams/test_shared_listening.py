"""One stream of changes for all sessions with a server of 2026-07-28."""

import contextlib
import itertools
import json
import random

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import Denied, NotFound, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Message
from mcpctld.upstreams._hub import Hub
from upstreams.neighbours import META, Listened, P, acknowledged, ask, cancel, neighbour, told
from upstreams.world import World, world

TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"


def listen(w: World, ident: object, *lists: str, uris: list[str] | None = None) -> None:
    wanted: dict[str, object] = {f"{name}ListChanged": True for name in lists}
    if uris is not None:
        wanted["resourceSubscriptions"] = uris
    ask(w, ident, "subscriptions/listen", notifications=wanted)


def hubs(w: World) -> list[Hub]:
    return [hub for hub in w.shared.hubs.values() if isinstance(hub, Hub)]


async def test_two_sessions_share_one_stream_and_each_hears_it_under_its_own_id(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 7, "tools")
        assert await acknowledged(w, 7) == {"toolsListChanged": True}
        listen(other, "seven", "tools")
        assert await acknowledged(other, "seven") == {"toolsListChanged": True}
        await server.channels[0].say(TOOLS, more=1.5)
        (mine,) = [await w.notified(TOOLS)]
        await other.notified(TOOLS)
        assert mine["params"] == {"_meta": {f"{P}subscriptionId": 7}, "more": 1.5}
        assert len(told(other, "seven", TOOLS)) == 1
        assert len(server.channels) == 1


async def test_the_stream_asks_for_all_that_is_listened_for_and_tells_each_its_own(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 1, "tools", uris=["a:x"])
        await acknowledged(w, 1)
        listen(other, 2, "prompts", uris=["a:x", "b:y"])
        await acknowledged(other, 2)
        await server.wait_open(1)
        channel = server.open[0]
        assert channel.wanted == {
            "toolsListChanged": True,
            "promptsListChanged": True,
            "resourceSubscriptions": ["a:x", "b:y"],
        }
        await channel.say(TOOLS)
        await channel.say(PROMPTS)
        await channel.say(UPDATED, uri="a:x")
        await channel.say(UPDATED, uri="b:y")
        await channel.say("notifications/message", level="info", data="not here")
        await w.notified(UPDATED)
        while len(told(other, 2, UPDATED)) < 2:
            await other.ears.heard.wait()
        assert [seen["method"] for seen in w.messages[1:]] == [TOOLS, UPDATED]
        assert [seen["method"] for seen in other.messages[1:]] == [PROMPTS, UPDATED, UPDATED]


async def test_the_next_stream_stands_before_the_one_in_use_is_closed(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        server.patient = True
        listen(other, 2, "prompts")
        second = await server.wait(2)
        await w.settle()
        await server.channels[0].say(TOOLS)
        await w.notified(TOOLS)
        assert other.messages == []
        assert [channel.open for channel in server.channels] == [True, True]
        await second.acknowledge()
        await acknowledged(other, 2)
        await server.wait_open(1)
        assert server.open == [second]
        # It was no gap: nobody is told that something may have changed.
        assert len(told(w, 1, TOOLS)) == 1


async def test_who_joins_while_a_stream_is_being_opened_waits_for_it_or_the_next(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        server.patient = True
        listen(w, 1, "tools")
        first = await server.wait(1)
        listen(other, 2, "tools")
        listen(other, 3, "prompts")
        await w.settle()
        assert len(server.channels) == 1
        server.patient = False
        await first.acknowledge()
        for asked, ident in ((w, 1), (other, 2), (other, 3)):
            await acknowledged(asked, ident)
        await server.wait_open(1)
        assert len(server.channels) == 2


async def test_who_wants_no_more_than_the_stream_has_is_acknowledged_at_once(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools", "prompts", uris=["a:x"])
        await acknowledged(w, 1)
        listen(w, 2, "prompts")
        assert told(w, 2, "notifications/subscriptions/acknowledged")
        listen(w, 3)
        assert await acknowledged(w, 3) == {}
        assert len(server.channels) == 1


async def test_each_is_told_what_of_its_own_the_server_honours(autojump_clock):
    async with world() as w:
        server = Listened(w)
        server.patient = True
        listen(w, 1, "tools", "resources", uris=["a:x", "b:y"])
        channel = await server.wait(1)
        await channel.acknowledge({"toolsListChanged": True, "resourceSubscriptions": ["b:y"]})
        honoured = {"toolsListChanged": True, "resourceSubscriptions": ["b:y"]}
        assert await acknowledged(w, 1) == honoured
        listen(w, 2, "resources", uris=["a:x"])
        assert await acknowledged(w, 2) == {}


async def test_the_last_to_leave_closes_the_stream_and_nothing_is_left(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 1, "tools")
        listen(other, 2, "tools")
        await acknowledged(w, 1)
        await acknowledged(other, 2)
        cancel(w, 1)
        await w.settle()
        await server.channels[0].say(TOOLS)
        await other.notified(TOOLS)
        assert told(w, 1, TOOLS) == []
        assert w.ears.failures == []
        assert len(hubs(w)) == 1
        other.upstream.forget(b"2")
        await server.wait_open(0)
        assert w.shared.hubs == {}
        assert len(server.channels) == 1


async def test_a_session_that_closes_takes_its_listens_along(autojump_clock):
    async with world() as w:
        server = Listened(w)
        async with neighbour(w) as other:
            listen(w, 1, "tools")
            listen(other, 1, "prompts")
            await acknowledged(w, 1)
            await acknowledged(other, 1)
        assert isinstance(await other.failure(1), Unreachable)
        # What only it wanted is not asked for any more.
        while server.channels[-1].wanted != {"toolsListChanged": True}:
            await server.server.changed.wait()
        await server.wait_open(1)
        await w.upstream.aclose()
        await server.wait_open(0)
        assert w.shared.hubs == {}


async def test_other_revisions_and_filters_that_are_not_known_have_streams_of_their_own(
    autojump_clock,
):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        later = META | {f"{P}protocolVersion": "2027-01-01"}
        wanted = {"toolsListChanged": True}
        ask(w, 2, "subscriptions/listen", meta=later, notifications=wanted)
        ask(w, 3, "subscriptions/listen", notifications={"taskIds": ["x"], **wanted})
        for ident in (1, 2, 3):
            await acknowledged(w, ident)
        assert len(hubs(w)) == 2
        versions = sorted(c.exchange.headers["mcp-protocol-version"] for c in server.channels)
        assert versions == ["2026-07-28", "2026-07-28", "2027-01-01"]
        assert {c.exchange.message["id"] for c in server.channels} >= {3}


async def test_the_stream_says_who_listens(autojump_clock):
    async with world() as w:
        server = Listened(w)
        meta = {**META, "progressToken": 1, f"{P}logLevel": "debug"}
        wanted = {"toolsListChanged": True}
        ask(w, 1, "subscriptions/listen", meta=meta, notifications=wanted)
        channel = await server.wait(1)
        assert channel.exchange.message["params"]["_meta"] == META
        assert channel.exchange.headers["mcp-method"] == "subscriptions/listen"
        await acknowledged(w, 1)


# ---------------------------------------------------------------- losses


async def test_a_stream_that_broke_is_opened_again_and_all_of_it_may_have_changed(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 1, "tools", uris=["a:x"])
        listen(other, 2, "prompts")
        await acknowledged(other, 2)
        await server.wait_open(1)
        await trio.sleep(3600)
        await server.open[0].cut()
        began = trio.current_time()
        await w.notified(TOOLS)
        assert 0.5 <= trio.current_time() - began <= 1.0
        await other.notified(PROMPTS)
        (update,) = told(w, 1, UPDATED)
        assert update["params"]["uri"] == "a:x"
        assert told(other, 2, TOOLS) == []
        assert w.ears.failures == other.ears.failures == []
        assert len(told(w, 1, "notifications/subscriptions/acknowledged")) == 1


async def test_pauses_grow_while_the_server_cannot_be_listened_to(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        times: list[float] = []

        @w.server.on("subscriptions/listen")
        async def away(exchange: Exchange) -> None:
            times.append(trio.current_time())
            await exchange.answer(503)

        await server.open[0].cut()
        await w.server.wait_for("subscriptions/listen", 13)
        pauses = [after - before for before, after in itertools.pairwise(times)]
        bounds = [2.0**n for n in range(1, 6)] + [60.0] * 6
        assert all(b / 2 <= p <= b for p, b in zip(pauses, bounds, strict=True)), pauses
        w.server.on("subscriptions/listen")(server._listen)
        await w.notified(TOOLS)
        assert w.ears.failures == []


async def test_a_server_that_cannot_be_reached_again_is_waited_for(autojump_clock):
    async with world(connect_timeout_s=1) as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        w.up = False
        await server.open[0].cut()
        await trio.sleep(500)
        w.up = True
        await w.notified(TOOLS)
        assert w.ears.failures == []


async def test_another_network_ends_the_pause(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)

        @w.server.on("subscriptions/listen")
        async def away(exchange: Exchange) -> None:
            await exchange.answer(503)

        await server.open[0].cut()
        await trio.sleep(1000)
        seen = len(w.server.calls("subscriptions/listen"))
        await w.server.wait_for("subscriptions/listen", seen + 1)
        await w.settle()
        w.server.on("subscriptions/listen")(server._listen)
        began = trio.current_time()
        w.http.renew("the network changed")
        await w.notified(TOOLS)
        assert trio.current_time() - began < 0.1


async def test_who_comes_meanwhile_ends_the_pause_too(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        await server.open[0].cut()
        await w.settle()
        listen(w, 2, "prompts")
        began = trio.current_time()
        await acknowledged(w, 2)
        assert trio.current_time() - began < 0.1
        assert len(told(w, 1, TOOLS)) == 1
        assert told(w, 2, PROMPTS) == []


async def test_a_stream_that_the_server_ends_is_opened_again_after_a_pause(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        await server.open[0].end()
        began = trio.current_time()
        await w.notified(TOOLS)
        assert trio.current_time() - began >= 0.5
        assert [seen for seen in w.messages if "result" in seen] == []


async def test_leaving_in_the_pause_ends_it(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        await server.open[0].cut()
        await w.settle()
        cancel(w, 1)
        await trio.sleep(100)
        assert len(server.channels) == 1
        assert w.shared.hubs == {}


async def test_a_stream_in_use_that_breaks_while_the_next_is_opened_is_a_gap(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        server.patient = True
        listen(w, 2, "prompts")
        second = await server.wait(2)
        await server.channels[0].cut()
        await w.settle()
        await second.acknowledge()
        await acknowledged(w, 2)
        assert len(told(w, 1, TOOLS)) == 1
        assert told(w, 2, PROMPTS) == []
        assert len(server.channels) == 2


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(("status", "code"), [(404, -32601), (400, -32022), (200, -32603)])
async def test_who_waits_gets_the_servers_own_error(autojump_clock, status: int, code: int):
    async with world() as w, neighbour(w) as other:

        @w.server.on("subscriptions/listen")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": code, "message": "no"}
            theirs = exchange.message["id"]
            await exchange.json({"jsonrpc": "2.0", "id": theirs, "error": error}, status=status)

        listen(w, 1, "tools")
        listen(other, "x", "tools")
        assert (await w.answer(1))["error"]["code"] == code
        assert (await other.answer("x"))["error"]["code"] == code
        await trio.sleep(1000)
        assert len(w.server.calls("subscriptions/listen")) == 1
        assert w.shared.hubs == {}


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (404, NotFound), (503, Unreachable)])
async def test_who_waits_is_told_what_a_bare_refusal_means(
    autojump_clock, status: int, kind: type[Exception]
):
    async with world() as w:

        @w.server.on("subscriptions/listen")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status)

        listen(w, 1, "tools")
        assert isinstance(await w.failure(1), kind)
        assert w.shared.hubs == {}


async def test_a_refusal_of_more_does_not_cost_those_who_listen(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)

        @w.server.on("subscriptions/listen")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(400)

        listen(w, 2, uris=["not a URI"])
        await w.failure(2)
        await trio.sleep(1000)
        await server.channels[0].say(TOOLS)
        await w.notified(TOOLS)
        # The stream asks for what is wanted: there was no reason for another attempt.
        assert len(w.server.calls("subscriptions/listen")) == 2


async def test_who_listens_is_told_when_the_server_does_not_want_it_any_more(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        listen(w, 1, "tools")
        listen(other, 2, "tools")
        await acknowledged(w, 1)
        await acknowledged(other, 2)

        @w.server.on("subscriptions/listen")
        async def refuse(exchange: Exchange) -> None:
            error = {"code": -32601, "message": "no"}
            await exchange.json({"jsonrpc": "2.0", "id": None, "error": error}, status=404)

        await server.open[0].cut()
        assert (await w.answer(1))["error"]["code"] == -32601
        assert (await other.answer(2))["error"]["code"] == -32601
        assert w.shared.hubs == {}


async def test_a_listen_that_is_answered_at_once_has_ended(autojump_clock):
    async with world() as w:

        @w.server.on("subscriptions/listen")
        async def end(exchange: Exchange) -> None:
            meta = {f"{P}subscriptionId": exchange.message["id"]}
            await exchange.reply({"resultType": "complete", "_meta": meta})

        listen(w, 1, "tools")
        assert (await w.answer(1))["result"] == {
            "resultType": "complete",
            "_meta": {f"{P}subscriptionId": 1},
        }
        assert w.shared.hubs == {}


async def test_a_server_that_never_acknowledges_is_not_waited_for_for_ever(autojump_clock):
    async with world() as w:
        server = Listened(w)
        server.patient = True
        listen(w, 1, "tools")
        error = await w.failure(1)
        assert isinstance(error, TimedOut)
        assert error.unprocessed
        assert "did not acknowledge" in str(error)
        await server.wait_open(0)


async def test_a_server_that_cannot_be_reached_fails_the_listen(autojump_clock):
    async with world(reachable=False, connect_timeout_s=5) as w:
        listen(w, 1, "tools")
        assert isinstance(await w.failure(1), Unreachable)
        assert w.shared.hubs == {}


async def test_a_redirect_is_followed(autojump_clock):
    async with world() as w:
        server = Listened(w)

        @w.server.on("subscriptions/listen")
        async def elsewhere(exchange: Exchange) -> None:
            if exchange.target == "/mcp":
                await exchange.answer(307, b"", ("Location", "/other"))
            else:
                await server._listen(exchange)

        listen(w, 1, "tools")
        await acknowledged(w, 1)
        assert server.open[0].exchange.target == "/other"


# ---------------------------------------------------------------- odd servers and slow clients


async def test_what_has_no_place_on_the_stream_is_dropped(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        channel = server.open[0]
        await channel.acknowledge({})  # a second one
        await channel.exchange.event({"jsonrpc": "2.0", "id": 5, "method": "ping"})
        await channel.exchange.event([{"jsonrpc": "2.0", "method": TOOLS}])
        await channel.exchange.event("garbage")
        await channel.say(PROMPTS)
        await channel.say(TOOLS)
        await w.notified(TOOLS)
        methods = [seen.get("method") for seen in w.messages]
        assert methods == ["notifications/subscriptions/acknowledged", TOOLS]


async def test_a_client_that_lags_behind_hears_of_each_change_once(autojump_clock):
    async with world() as w, neighbour(w) as other:
        server = Listened(w)
        for asked in (w, other):
            listen(asked, 1, "tools", uris=["a:x", "b:y"])
            await acknowledged(asked, 1)
        w.ears.client_full = True
        for number in range(50):
            await server.open[0].say(TOOLS, number=number)
            await server.open[0].say(UPDATED, uri="a:x")
        while len(told(other, 1, UPDATED)) < 50:
            await other.ears.heard.wait()
        assert len(w.messages) == 1
        w.ears.read_on()
        await w.notified(UPDATED)
        (change,) = told(w, 1, TOOLS)
        assert change["params"]["number"] == 49
        assert len(told(w, 1, UPDATED)) == 1
        await server.open[0].say(UPDATED, uri="b:y")
        while len(told(w, 1, UPDATED)) < 2:
            await w.ears.heard.wait()


async def test_what_is_kept_for_a_client_that_lags_behind_has_a_bound(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, uris=["a:"])
        await acknowledged(w, 1)
        w.ears.client_full = True
        for number in range(1100):
            await server.open[0].say(UPDATED, uri=f"a:{number}")
        await w.settle()
        w.ears.read_on()
        await w.settle()
        assert len(told(w, 1, UPDATED)) == 1000


async def test_a_client_that_lags_behind_may_leave(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        w.ears.client_full = True
        await server.open[0].say(TOOLS)
        await w.settle()
        cancel(w, 1)
        w.ears.read_on()
        await w.settle()
        assert told(w, 1, TOOLS) == []


async def test_a_listen_may_be_given_up_from_within_its_acknowledgement(autojump_clock):
    async with world() as w:
        server = Listened(w)
        listen(w, 1, "tools")
        await acknowledged(w, 1)
        deliver = w.ears.deliver

        def fed_up(message: object) -> None:
            deliver(message)
            cancel(w, 2)

        w.ears.deliver = fed_up
        listen(w, 2, "tools")
        w.ears.deliver = deliver
        cancel(w, 1)
        await server.wait_open(0)
        assert w.shared.hubs == {}


async def test_who_leaves_does_not_cost_a_stream_at_once(autojump_clock):
    async with world() as w:
        server = Listened(w)
        for ident, name in enumerate(("tools", "prompts", "resources")):
            listen(w, ident, name)
            await acknowledged(w, ident)
        opened = len(server.channels)
        for ident in range(3):
            cancel(w, ident)
            await w.settle()
        await server.wait_open(0)
        await trio.sleep(100)
        assert len(server.channels) == opened


async def test_who_leaves_because_of_what_another_heard_hears_nothing_more(autojump_clock):
    async with world() as w:
        server = Listened(w)
        server.patient = True
        listen(w, 1, "tools")
        listen(w, 2, "tools")
        listen(w, 3, "tools")
        channel = await server.wait(1)
        deliver = w.ears.deliver

        def leave_the_next(message: Message) -> None:
            deliver(message)
            ident = json.loads(message.raw)["params"]["_meta"][f"{P}subscriptionId"]
            cancel(w, ident + 1)

        w.ears.deliver = leave_the_next
        await channel.acknowledge()
        await acknowledged(w, 3)
        assert told(w, 2, "notifications/subscriptions/acknowledged") == []
        w.ears.deliver = deliver
        listen(w, 4, "tools")
        w.ears.deliver = leave_the_next
        await channel.say(TOOLS)
        while not told(w, 3, TOOLS):
            await w.ears.heard.wait()
        assert told(w, 4, TOOLS) == []
        assert w.ears.failures == []


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_each_listen_hears_its_own(autojump_clock, seed: int):
    chance = random.Random(seed)
    async with world() as w, neighbour(w) as second, neighbour(w) as third:
        sessions = (w, second, third)
        server = Listened(w)
        live: dict[tuple[World, int], tuple[set[str], set[str]]] = {}
        for ident in range(80):
            match chance.choice(("listen", "listen", "leave", "say", "cut", "end", "wait")):
                case "listen":
                    session = chance.choice(sessions)
                    lists = set(chance.sample(["tools", "prompts"], chance.randint(0, 2)))
                    uris = set(chance.sample(["a:1", "b:2", "c:3"], chance.randint(0, 2)))
                    listen(session, ident, *lists, uris=sorted(uris))
                    live[session, ident] = lists, uris
                case "leave" if live:
                    session, number = chance.choice(list(live))
                    del live[session, number]
                    cancel(session, number)
                case "say" if server.open:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await chance.choice(server.open).say(chance.choice([TOOLS, PROMPTS]))
                case "cut" if server.open:
                    await chance.choice(server.open).cut()
                case "end" if server.open:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await chance.choice(server.open).end()
                case _:
                    await trio.sleep(chance.choice((0, 0.1, 3, 30)))
        await trio.sleep(300)
        await check(server, live)
        for session, number in live:
            cancel(session, number)
        await server.wait_open(0)
        assert w.shared.hubs == {}
        assert not any(session.ears.failures for session in sessions)


async def check(server: Listened, live: dict[tuple[World, int], tuple[set[str], set[str]]]) -> None:
    """Each was acknowledged once; there is one stream, for all of it, and it tells each what it wanted."""
    for session, number in live:
        assert len(told(session, number, "notifications/subscriptions/acknowledged")) == 1
    await server.wait_open(1 if live else 0)
    for channel in server.open:
        all_uris = {uri for _, uris in live.values() for uri in uris}
        all_lists = {f"{name}ListChanged" for lists, _ in live.values() for name in lists}
        assert set(channel.wanted.get("resourceSubscriptions", ())) == all_uris
        assert set(channel.wanted) - {"resourceSubscriptions"} == all_lists
        before = {key: len(told(*key, TOOLS) + told(*key, UPDATED)) for key in live}
        await channel.say(TOOLS)
        await channel.say(UPDATED, uri="a:1")
        await trio.sleep(1)
        for key, (lists, uris) in live.items():
            heard = len(told(*key, TOOLS) + told(*key, UPDATED)) - before[key]
            nobody = "a:1" not in all_uris
            assert heard == ("tools" in lists) + ("a:1" in uris or (nobody and bool(uris)))
