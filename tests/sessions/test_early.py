"""Answers before the server is up: what the client gets, when, and how it is set right."""

import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from mcpctld.errors import Denied, McpctlError, PeerError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.sessions.early import DOWN_AFTER_S, GRACE_S, Early
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Shared
from sessions.client import journal
from sessions.stack import Stack, stack

P = "io.modelcontextprotocol/"
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
OLD, NEW = {"tools": [{"name": "old"}]}, {"tools": [{"name": "new"}]}
REFUSED = Unreachable("connection refused")

pytestmark = pytest.mark.usefixtures("instant_threads")


def initialize(
    ident: object = 0, name: str = "tester", version: str = "2025-11-25"
) -> dict[str, Any]:
    params = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": name, "version": "1"},
    }
    return {"id": ident, "method": "initialize", "params": params}


def initialized(version: str = "2025-11-25", **more: object) -> dict[str, Any]:
    capabilities = {"tools": {}, "prompts": {"listChanged": True}}
    info = {"name": "server", "version": "1"}
    return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info, **more}


def modern(ident: object, method: str, name: str = "tester", **params: object) -> dict[str, Any]:
    meta = {
        P + "protocolVersion": "2026-07-28",
        P + "clientInfo": {"name": name, "version": "1"},
        P + "clientCapabilities": {},
    }
    return {"id": ident, "method": method, "params": {"_meta": meta, **params}}


class Desk:
    """One server, one cache, and any number of sessions, one after the other."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.shelf = Shelf(str(folder), nursery)
        self.shared = Shared("key", nursery)
        self.epoch = 1_800_000_000.0

    def unix_time(self) -> float:
        return self.epoch + trio.current_time()

    @contextlib.asynccontextmanager
    async def session(self, **more: Any) -> AsyncIterator[Stack]:
        """A session whose server says nothing of itself."""

        def make(context: Any, make_below: Any) -> Early:
            return Early(context, self.shelf, make_below, self.unix_time)

        async with stack(make, shared=more.pop("shared", self.shared), **more) as made:
            yield made
            await self.shelf.flush()

    async def warm(self, tools: object = OLD, **more: Any) -> None:
        """Let a session with a server that is up fill the cache."""
        async with self.session() as made:
            await begin(made, **more)
            made.send(id="w", method="tools/list")
            await made.answer("tools/list", tools)
            await made.heard("w")

    @contextlib.asynccontextmanager
    async def early(self, **more: Any) -> AsyncIterator[Stack]:
        """A session that was begun with the cache."""
        async with self.session(**more) as made:
            made.send(**initialize())
            await made.heard(0)
            made.send(method="notifications/initialized")
            yield made


async def begin(made: Stack, result: Any = None, **more: Any) -> None:
    """The handshake with a server that is up."""
    made.send(**initialize(**more))
    await made.answer("initialize", result or initialized())
    await made.heard(0)
    made.send(method="notifications/initialized")


@pytest.fixture
async def desk(tmp_path: Path, nursery: trio.Nursery) -> Desk:
    made = Desk(tmp_path, nursery)
    await made.shelf.open()
    return made


def said(made: Stack, method: str) -> list[dict[str, Any]]:
    return [message for message in made.messages if message.get("method") == method]


def fail(made: Stack, ident: bytes, error: McpctlError = REFUSED) -> None:
    made.server.downstream.fail(ident, error)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


# ---------------------------------------------------------------- when


async def test_a_server_that_answers_within_the_grace_answers_for_itself(
    autojump_clock, desk: Desk
):
    await desk.warm()
    async with desk.session() as made:
        await begin(made, initialized(instructions="new"))
        assert (await made.heard(0))["result"] == initialized(instructions="new")
        made.send(id=1, method="tools/list")
        await trio.sleep(60)
        assert len(made.messages) == 1
        await made.answer("tools/list", NEW)
        assert (await made.heard(1))["result"] == NEW
        assert said(made, TOOLS) == []


async def test_a_server_that_is_not_up_is_answered_for_after_the_grace(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        began = trio.current_time()
        made.send(**initialize(7))
        answer = await made.heard(7)
        assert trio.current_time() - began == pytest.approx(GRACE_S)
        assert answer["result"]["serverInfo"] == initialized()["serverInfo"]
        made.send(id="list", method="tools/list", params={})
        assert (await made.heard("list"))["result"] == OLD
        assert [json.loads(line)["method"] for line in made.server.sent] == [
            "initialize",
            "tools/list",
        ]


async def test_one_grace_is_enough(autojump_clock, desk: Desk):
    await desk.warm()
    began = trio.current_time()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        assert (await made.heard(1))["result"] == OLD
        assert trio.current_time() - began == pytest.approx(GRACE_S)


async def test_a_server_that_is_known_to_be_down_is_answered_for_at_once(
    autojump_clock, desk: Desk
):
    await desk.warm()
    async with desk.early() as made:
        fail(made, b"0")
        now = trio.current_time()
        made.send(id=1, method="tools/list")
        assert (await made.heard(1))["result"] == OLD
        assert trio.current_time() == now


async def test_a_failure_within_the_grace_is_answered_from_the_cache(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        now = trio.current_time()
        made.send(**initialize())
        fail(made, b"0")
        assert "result" in await made.heard(0)
        assert trio.current_time() == now
        assert made.ears.failures == []


async def test_a_server_that_was_up_and_fails_is_answered_for(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        await begin(made)
        made.send(id=1, method="tools/list")
        await trio.sleep(60)
        fail(made, b"1")
        assert (await made.heard(1))["result"] == OLD


@pytest.mark.parametrize("error", [REFUSED, TimedOut("too long")])
async def test_without_an_answer_in_the_cache_the_failure_is_told(
    autojump_clock, desk: Desk, error: McpctlError
):
    async with desk.session() as made:
        made.send(**initialize())
        await trio.sleep(10)
        fail(made, b"0", error)
        fail(made, b"0", error)
        assert await made.failed(0) is error
        await settled()
        assert len(made.ears.failures) == 1


async def test_a_server_that_refuses_is_not_answered_for(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        made.send(**initialize())
        fail(made, b"0", Denied("credentials are wanted"))
        assert isinstance(await made.failed(0), Denied)
        await trio.sleep(10)
        assert made.messages == []


async def test_calls_are_never_answered_from_the_cache(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/call", params={"name": "old"})
        made.send(id=2, method="resources/read", params={"uri": "x:"})
        await trio.sleep(60)
        assert len(made.messages) == 1
        fail(made, b"1")
        assert await made.failed(1) is REFUSED


async def test_pages_are_kept_by_their_cursor(autojump_clock, desk: Desk):
    first, second = OLD | {"nextCursor": "p2"}, NEW
    async with desk.session() as made:
        await begin(made)
        made.send(id=1, method="tools/list")
        await made.answer("tools/list", first)
        made.send(id=2, method="tools/list", params={"cursor": "p2"})
        await made.answer("tools/list", second, 1)
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        assert (await made.heard(1))["result"] == first
        made.send(id=2, method="tools/list", params={"cursor": "p2"})
        assert (await made.heard(2))["result"] == second
        made.send(id=3, method="tools/list", params={"cursor": "p3"})
        await trio.sleep(10)
        await made.answer("tools/list", {"tools": []}, 2)
        assert (await made.heard(3))["result"] == {"tools": []}


async def test_errors_are_never_kept(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        await begin(made)
        made.send(id=1, method="prompts/list")
        await made.asked("prompts/list")
        made.server.say(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}')
        assert "error" in await made.heard(1)
    async with desk.early() as made:
        made.send(id=1, method="prompts/list")
        await trio.sleep(10)
        assert len(made.messages) == 1


async def test_a_server_whose_file_says_so_has_no_cache(autojump_clock, desk: Desk, tmp_path: Path):
    await desk.warm()
    count = len(list((tmp_path / "cache").iterdir()))
    async with desk.session(cache=False) as made:
        made.send(**initialize())
        await trio.sleep(10)
        assert made.messages == []
        await made.answer("initialize", initialized(instructions="new"))
        await made.heard(0)
    assert len(list((tmp_path / "cache").iterdir())) == count


# ---------------------------------------------------------------- to whom


@pytest.mark.parametrize(
    "other",
    [initialize(name="other"), initialize(version="2025-06-18")],
    ids=["name", "revision"],
)
async def test_another_client_gets_nothing_of_it(autojump_clock, desk: Desk, other: dict[str, Any]):
    await desk.warm()
    async with desk.session() as made:
        made.send(**other)
        await trio.sleep(10)
        assert made.messages == []


async def test_other_credentials_get_nothing_of_it(
    autojump_clock, desk: Desk, nursery: trio.Nursery
):
    await desk.warm()
    async with desk.session(shared=Shared("of another principal", nursery)) as made:
        made.send(**initialize())
        await trio.sleep(10)
        assert made.messages == []


async def test_lists_belong_to_the_revision_that_was_agreed_on(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        await begin(made, initialized("2025-06-18"))
        made.send(id=1, method="tools/list")
        fail(made, b"1")
        assert await made.failed(1) is REFUSED


async def test_a_client_that_has_not_introduced_itself_is_not_answered(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        made.send(id=1, method="tools/list")
        await trio.sleep(10)
        assert made.messages == []


# ---------------------------------------------------------------- setting right


async def test_the_real_answer_is_swallowed_and_kept(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        await made.heard(1)
        await made.answer("initialize", initialized())
        await made.answer("tools/list", OLD)
        made.send(id=2, method="ping")
        await made.answer("ping")
        await made.heard(2)
        assert [message["id"] for message in made.messages] == [0, 1, 2]


async def test_a_list_that_turns_out_different_is_told_and_the_new_one_is_kept(
    autojump_clock, desk: Desk
):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        await made.heard(1)
        await made.answer("initialize", initialized())
        await made.answer("tools/list", NEW)
        assert len(said(made, TOOLS)) == 1
        assert said(made, PROMPTS) == []
        made.send(id=2, method="tools/list")
        await trio.sleep(10)
        await made.answer("tools/list", NEW, 1)
        assert (await made.heard(2))["result"] == NEW
        assert len(said(made, TOOLS)) == 1
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        assert (await made.heard(1))["result"] == NEW


async def test_nothing_is_told_before_the_client_has_said_initialized(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.session() as made:
        made.send(**initialize())
        await made.heard(0)
        await made.answer("initialize", initialized(instructions="others"))
        assert len(made.messages) == 1
        made.send(method="notifications/initialized")
        assert len(said(made, TOOLS)) == len(said(made, PROMPTS)) == 1
        assert len(made.messages) == 3  # the server has no resources


async def test_what_was_given_early_promises_changes_and_what_was_not_does_not(
    autojump_clock, desk: Desk
):
    await desk.warm()
    async with desk.early() as made:
        capabilities = (await made.heard(0))["result"]["capabilities"]
        assert capabilities == {"tools": {"listChanged": True}, "prompts": {"listChanged": True}}
        await made.answer("initialize", initialized())
        assert len(made.messages) == 1  # not different: it is what was kept
    async with desk.session() as made:
        await begin(made)  # promises nothing of tools
        fail(made, b"99")
        made.send(id=1, method="tools/list")
        assert (await made.heard(1))["result"] == OLD
        await made.answer("tools/list", NEW)
        assert said(made, TOOLS) == []


async def test_another_revision_than_was_promised_fails_calls_by_name(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/call", params={"name": "old"})
        made.send(id=2, method="tools/list")
        await made.heard(2)
        await made.answer("initialize", initialized("2025-06-18"))
        made.send(id=3, method="tools/list")
        for ident in (1, 3):
            error = await made.failed(ident)
            assert isinstance(error, PeerError)
            assert "somebody speaks revision 2025-06-18 now, not 2025-11-25" in str(error)
            assert "start the client again" in str(error)
        assert made.server.forgotten == [b"1"]
        count = len(made.server.sent)
        made.top.send(parse(b'[{"id":4,"method":"a"},{"method":"b"}]'))
        assert isinstance(await made.failed(4), PeerError)
        made.send(id=5, method="tools/call")
        assert isinstance(await made.failed(5), PeerError)
        made.send(id=6, method="ping")
        assert len(made.server.sent) == count + 1
    async with desk.early() as made:  # the client was started again
        assert (await made.heard(0))["result"]["protocolVersion"] == "2025-06-18"


async def test_a_client_that_begins_anew_after_that_is_served(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        await made.answer("initialize", initialized("2025-06-18"))
        made.send(**initialize(1))
        await made.answer("initialize", initialized("2025-06-18"), 1)
        assert (await made.heard(1))["result"]["protocolVersion"] == "2025-06-18"
        made.send(id=2, method="tools/call")
        await made.answer("tools/call")
        await made.heard(2)


async def test_an_initialize_that_fails_after_its_early_answer_is_swallowed_and_logged_once(
    autojump_clock,
    desk: Desk,
):
    await desk.warm()
    with journal() as log:
        async with desk.early() as made:
            made.send(id=1, method="tools/list")
            await made.heard(1)
            fail(made, b"0")
            fail(made, b"1")
            fail(made, b"0")
            await settled()
            assert made.ears.failures == []
    assert len(log.of("early.not_refreshed")) == 1


async def test_an_initialize_that_succeeds_later_below_is_compared_and_not_given_twice(
    autojump_clock, desk: Desk
):
    await desk.warm()
    async with desk.early() as made:
        fail(made, b"0")
        made.send(id=1, method="tools/call")
        await made.answer("initialize", initialized("2025-06-18"))
        assert isinstance(await made.failed(1), PeerError)
        assert len(made.messages) == 1


async def test_an_error_in_place_of_the_real_answer_is_swallowed(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        await made.asked("initialize")
        made.server.say(b'{"jsonrpc":"2.0","id":0,"error":{"code":-32603,"message":"no"}}')
        assert len(made.messages) == 1


async def test_the_real_answer_may_come_in_a_batch(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/call")
        answers = [
            {"jsonrpc": "2.0", "id": 0, "result": initialized()},
            {"jsonrpc": "2.0", "id": 1, "result": {}},
        ]
        made.server.say(json.dumps(answers).encode())
        assert [message["id"] for message in made.messages] == [0, 1]
        batch = b'[{"id":7,"result":1},{"method":"n"}]'
        made.server.say(batch)
        assert made.ears.lines[-1] == batch


async def test_what_is_refreshed_is_not_asked_for_twice(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        for ident in range(1, 100):
            made.send(id=ident, method="tools/list")
            assert (await made.heard(ident))["result"] == OLD
        assert len(made.server.sent) == 3
        fail(made, b"1")
        made.send(id=100, method="tools/list")
        await made.heard(100)
        assert len(made.server.sent) == 4


async def test_an_id_that_was_answered_early_may_be_used_again(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=0, method="tools/call")
        assert made.server.forgotten == [b"0"]
        await made.answer("tools/call", {"content": []})
        assert made.messages[-1] == {"jsonrpc": "2.0", "id": 0, "result": {"content": []}}


async def test_cancelling_what_was_answered_early_does_nothing(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        count = len(made.server.sent)
        made.send(method="notifications/cancelled", params={"requestId": 0})
        assert len(made.server.sent) == count


async def test_what_was_cancelled_or_forgotten_is_not_answered_early(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        made.send(method="notifications/cancelled", params={"requestId": 1})
        made.send(id=2, method="tools/list")
        made.top.forget(b"2")
        await trio.sleep(10)
        assert len(made.messages) == 1
        assert made.server.forgotten == [b"2"]
        made.send(id=3, method="tools/list")
        fail(made, b"3")
        made.top.forget(b"3")
        await trio.sleep(10)
        assert len(made.messages) == 1


# ---------------------------------------------------------------- what the server says has changed


async def test_what_the_server_called_changed_is_used_only_when_it_is_down(
    autojump_clock, desk: Desk
):
    async with desk.session() as made:
        await begin(made)
        made.send(id=1, method="tools/list")
        await made.answer("tools/list", OLD)
        await trio.sleep(1)
        made.server.say(b'{"jsonrpc":"2.0","method":"%b"}' % TOOLS.encode())
        assert len(said(made, TOOLS)) == 1
    began = trio.current_time()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        await made.heard(1)
        assert trio.current_time() - began == pytest.approx(DOWN_AFTER_S)
    async with desk.early() as made:
        fail(made, b"0")
        now = trio.current_time()
        made.send(id=1, method="tools/list")
        await made.heard(1)
        assert trio.current_time() == now


async def test_a_list_is_fresh_again_once_it_was_asked_for_again(autojump_clock, desk: Desk):
    async with desk.session() as made:
        await begin(made)
        for nth in range(2):
            made.send(id=nth + 1, method="tools/list")
            await made.answer("tools/list", OLD, nth)
            await trio.sleep(1)
            if nth == 0:
                made.server.say(b'{"jsonrpc":"2.0","method":"%b"}' % TOOLS.encode())
                await trio.sleep(1)
    began = trio.current_time()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        await made.heard(1)
        assert trio.current_time() - began == pytest.approx(GRACE_S)


async def test_nothing_is_given_after_thirty_days(autojump_clock, desk: Desk):
    await desk.warm()
    desk.epoch += 31 * 86400
    async with desk.session() as made:
        made.send(**initialize())
        fail(made, b"0")
        assert await made.failed(0) is REFUSED


# ---------------------------------------------------------------- the modern wire

FRESH = OLD | {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "private"}


async def keep_modern(desk: Desk, result: object = FRESH) -> None:
    async with desk.session() as made:
        made.send(**modern(1, "tools/list"))
        await made.answer("tools/list", result)
        await made.heard(1)


async def test_a_modern_list_is_given_while_it_is_fresh(autojump_clock, desk: Desk):
    await keep_modern(desk)
    async with desk.session() as made:
        made.send(**modern("a", "tools/list"))
        assert (await made.heard("a"))["result"] == FRESH
    await trio.sleep(60)
    async with desk.session() as made:
        made.send(**modern("a", "tools/list"))
        fail(made, b'"a"')
        assert await made.failed("a") is REFUSED


@pytest.mark.parametrize("result", [OLD, OLD | {"ttlMs": 0}, OLD | {"ttlMs": "60000"}])
async def test_a_modern_list_that_may_not_be_kept_is_not(
    autojump_clock, desk: Desk, result: object
):
    await keep_modern(desk, result)
    async with desk.session() as made:
        made.send(**modern(1, "tools/list"))
        fail(made, b"1")
        assert await made.failed(1) is REFUSED


async def test_another_modern_client_gets_nothing_of_it(autojump_clock, desk: Desk):
    await keep_modern(desk)
    async with desk.session() as made:
        made.send(**modern(1, "tools/list", name="other"))
        fail(made, b"1")
        assert await made.failed(1) is REFUSED


async def test_a_change_is_told_on_the_subscription_that_wants_it(autojump_clock, desk: Desk):
    await keep_modern(desk)
    async with desk.session() as made:
        listening = {"toolsListChanged": True, "promptsListChanged": True}
        made.send(**modern("sub", "subscriptions/listen", notifications=listening))
        made.send(**modern("else", "subscriptions/listen", notifications={}))
        made.send(**modern(1, "tools/list"))
        await made.heard(1)
        await acknowledge(made, "sub", {"toolsListChanged": True})
        await acknowledge(made, "else", {"toolsListChanged": True})  # was not wanted
        await made.answer("tools/list", FRESH | NEW)
        (notice,) = said(made, TOOLS)
        assert notice["params"] == {"_meta": {P + "subscriptionId": "sub"}}


async def test_a_change_is_told_as_soon_as_there_is_a_subscription(autojump_clock, desk: Desk):
    await keep_modern(desk)
    async with desk.session() as made:
        made.send(**modern(1, "tools/list"))
        await made.heard(1)
        await made.answer("tools/list", FRESH | NEW)
        assert said(made, TOOLS) == []
        for ident in ("one", "two"):
            wanted = {"toolsListChanged": True}
            made.send(**modern(ident, "subscriptions/listen", notifications=wanted))
            await acknowledge(made, ident, wanted)
        (notice,) = said(made, TOOLS)
        assert notice["params"]["_meta"] == {P + "subscriptionId": "one"}


@pytest.mark.parametrize("how", ["answered", "cancelled by the server", "cancelled", "failed"])
async def test_nothing_is_told_on_a_subscription_that_has_ended(
    autojump_clock, desk: Desk, how: str
):
    await keep_modern(desk)
    async with desk.session() as made:
        wanted = {"toolsListChanged": True}
        made.send(**modern("sub", "subscriptions/listen", notifications=wanted))
        made.send(**modern(1, "tools/list"))
        await made.heard(1)
        await acknowledge(made, "sub", wanted)
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": "sub"}}
        match how:
            case "answered":
                await made.answer("subscriptions/listen", {})
            case "cancelled by the server":
                made.server.say(json.dumps(cancelled).encode())
            case "cancelled":
                made.send(**cancelled)
            case "failed":
                fail(made, b'"sub"')
        await made.answer("tools/list", FRESH | NEW)
        assert said(made, TOOLS) == []


async def test_discover_is_answered_early_and_what_differs_in_it_is_told(
    autojump_clock, desk: Desk
):
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 60_000}
    async with desk.session() as made:
        made.send(**modern(1, "server/discover"))
        await made.answer("server/discover", found)
    async with desk.session() as made:
        made.send(**modern(1, "server/discover"))
        assert (await made.heard(1))["result"] == found
        wanted = {"toolsListChanged": True}
        made.send(**modern("sub", "subscriptions/listen", notifications=wanted))
        await acknowledge(made, "sub", wanted)
        await made.answer("server/discover", found | {"instructions": "others"})
        assert len(said(made, TOOLS)) == 1


async def acknowledge(made: Stack, ident: str, granted: dict[str, bool]) -> None:
    await made.asked("subscriptions/listen")
    params = {"_meta": {P + "subscriptionId": ident}, "notifications": granted}
    method = "notifications/subscriptions/acknowledged"
    made.server.say(json.dumps({"method": method, "params": params}).encode())


# ---------------------------------------------------------------- waiting


def call(ident: object, token: object = None) -> dict[str, Any]:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return {"id": ident, "method": "tools/call", "params": {"name": "x", **meta}}


async def test_a_waiting_call_hears_every_two_seconds_that_it_waits(autojump_clock, desk: Desk):
    async with desk.session() as made:
        made.send(**call(1, "token"))
        made.send(**call(2))
        await trio.sleep(7)
        assert [message["params"] for message in made.messages] == [
            {
                "progressToken": "token",
                "progress": value,
                "message": f"waiting for somebody ({s} s)",
            }
            for value, s in ((-1, 2), (-1 / 2, 4), (-1 / 3, 6))
        ]
        await made.answer("tools/call")
        await trio.sleep(60)
        assert len(made.messages) == 4


async def test_calls_to_a_server_that_is_up_are_left_alone(autojump_clock, desk: Desk):
    async with desk.session() as made:
        await begin(made)
        made.send(**call(1, "token"))
        await trio.sleep(60)
        assert len(made.messages) == 1
        fail(made, b"99")
        made.send(**call(2, 7))
        await trio.sleep(3)
        assert made.messages[-1]["params"]["progressToken"] == 7


@pytest.mark.parametrize(
    "sign", [b'{"method":"notifications/message"}', b'{"id":9,"method":"roots/list"}']
)
async def test_any_sign_of_life_ends_the_waiting(autojump_clock, desk: Desk, sign: bytes):
    async with desk.session() as made:
        made.send(**initialize(name="claude-code"))
        made.send(**call(1, "token"))
        await trio.sleep(3)
        made.server.say(sign)
        count = len(made.messages)
        await trio.sleep(600)
        assert len(made.messages) == count
        assert made.ears.failures == []


async def test_what_is_answered_on_the_way_is_no_sign_of_life(autojump_clock, desk: Desk):
    async with desk.session() as made:
        made.send(**call(1, "token"))
        made.send(id=2, method="ping")
        await made.answer("ping")
        await trio.sleep(3)
        assert len(said(made, "notifications/progress")) == 1


async def test_early_answers_end_the_waiting(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/list", params={"_meta": {"progressToken": 1}})
        await made.heard(1)
        await trio.sleep(60)
        assert said(made, "notifications/progress") == []


async def test_nobody_is_told_anything_while_it_does_not_read(autojump_clock, desk: Desk):
    async with desk.session() as made:
        made.send(**call(1, "token"))
        made.ears.client_full = True
        await trio.sleep(5)
        assert made.messages == []
        made.ears.client_full = False
        await trio.sleep(2)
        assert made.messages[0]["params"]["progress"] == -1


@pytest.mark.parametrize(
    ("client", "bound"),
    [("claude-ai", 55), ("Claude Desktop 1.2", 55), ("claude-code", 28), ("Claude-Code/2", 28)],
)
async def test_a_client_whose_patience_is_known_hears_why_before_it_ends(
    autojump_clock, desk: Desk, client: str, bound: int
):
    async with desk.session() as made:
        made.send(**initialize(name=client))
        await trio.sleep(1)
        began = trio.current_time()
        made.send(**call(1, "token"))
        error = await made.failed(1)
        assert isinstance(error, TimedOut)
        assert str(error) == f"somebody did not come up within {bound} s"
        assert trio.current_time() - began == pytest.approx(bound)
        assert isinstance(await made.failed(0), TimedOut)  # no progress for it: it is too early
        cancelled = json.loads(made.server.sent[-1])
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == 1
        assert made.server.forgotten == [b"0", b"1"]
        assert len(made.messages) == (bound - 1) // 2
        await trio.sleep(600)
        assert len(made.ears.failures) == 2


async def test_a_modern_client_is_known_by_its_requests(autojump_clock, desk: Desk):
    async with desk.session() as made:
        made.send(**modern(1, "tools/call", name="claude-code"))
        made.send(id=2, method="tools/call")
        made.send(**modern("sub", "subscriptions/listen", name="claude-code", notifications={}))
        await made.failed(1)
        await made.failed(2)
        await trio.sleep(600)
        assert len(made.ears.failures) == 2  # a subscription is meant to stay open


async def test_of_other_clients_the_bounds_of_calls_hold(autojump_clock, desk: Desk):
    async with desk.session() as made:
        made.send(**initialize(name="cursor"))
        made.send(**call(1))
        await trio.sleep(3600)
        assert made.ears.failures == []


# ---------------------------------------------------------------- the usual case


async def test_a_batch_passes_as_it_is(autojump_clock, desk: Desk):
    async with desk.session() as made:
        line = b'[{"id":1,"method":"tools/list"},{"method":"n"}]'
        made.top.send(parse(line))
        assert made.server.sent == [line]


async def test_messages_pass_as_they_are_when_the_server_is_up(autojump_clock, desk: Desk):
    async with desk.session() as made:
        await begin(made)
        sent = [
            b'{ "id":5, "method":"x" }',
            b'{"method":"n"}',
            b'{"id":9,"result":1}',
            b'[{"method":"n"}]',
        ]
        for line in sent:
            made.top.send(parse(line))
        assert made.server.sent[2:] == sent
        lines = [b'{ "id":5, "result":1.50 }', b'{"method":"n"}', b'{"id":9,"method":"q"}']
        for line in lines:
            made.server.say(line)
        assert made.ears.lines[1:] == lines


async def test_nothing_is_kept_of_what_is_over(autojump_clock, desk: Desk):
    await desk.warm()
    async with desk.early() as made:
        made.send(id=1, method="tools/list")
        made.send(**call(2, 1))
        await made.heard(1)
        await made.answer("initialize", initialized())
        await made.answer("tools/list", OLD)
        await made.answer("tools/call")
        early = made.top
        assert isinstance(early, Early)
        assert early._asked == early._refreshing == early._patience._waiting == {}


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_each_request_ends_once(autojump_clock, desk: Desk, seed: int):
    await desk.warm()
    chance = random.Random(seed)
    async with desk.early() as made:
        asked: list[int] = []
        dropped: set[int] = set()
        ended: set[bytes] = set()

        def outstanding() -> list[bytes]:
            sent = [parse(line) for line in made.server.sent]
            gone = ended | set(made.server.forgotten)
            return [m.id for m in sent if isinstance(m, Message) and m.id and m.id not in gone]

        for ident in range(1, 120):
            match chance.randrange(8):
                case 0 | 1 | 2:
                    method = chance.choice(["tools/list", "prompts/list", "tools/call", "ping"])
                    made.send(id=ident, method=method)
                    asked.append(ident)
                case 3 | 4 if outstanding():
                    ended.add(id := chance.choice(outstanding()))
                    result = initialized() if id == b"0" else chance.choice([OLD, NEW])
                    made.server.answer(id, json.dumps(result).encode())
                case 5 if outstanding():
                    ended.add(id := chance.choice(outstanding()))
                    fail(made, id, chance.choice([REFUSED, Denied("no")]))
                case 6 if asked:
                    dropped.add(other := chance.choice(asked))
                    cancelled = {
                        "method": "notifications/cancelled",
                        "params": {"requestId": other},
                    }
                    made.send(**cancelled)
                case 7:
                    await trio.sleep(chance.choice([0.0, 0.01, 0.02, 1.1, 3.0]))
        for id in outstanding():
            fail(made, id)
        await trio.sleep(10)
        ends = [m["id"] for m in made.messages if "method" not in m]
        ends += [ident for ident, _ in made.ears.failures]
        for ident in asked:
            assert ends.count(ident) == 1 or ident in dropped, (ident, ends.count(ident))
