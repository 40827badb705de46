"""Messages to a server whose machine sleeps: which wait, which wake it, what the client hears meanwhile."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.errors import Denied, PeerError, SessionLost, Unreachable
from mcpctld.protocols.jsonrpc import Message
from mcpctld.sessions.chain import Chain
from mcpctld.sessions.keeper import Keeper
from mcpctld.sessions.shelf import Shelf
from mcpctld.sessions.wakeful import Wakeful
from mcpctld.upstreams import Context, Upstream
from mcpctld.wake.machines import Failed
from mcpctld.wake.states import Action, Failure, State
from sessions.stack import Stack, stack
from wake.double import World, server, world

IDLE_S = 300.0
INITIALIZE = {
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "clientInfo": {"name": "editor", "version": "1"}},
}
RESULT = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "s", "version": "1"},
}


@dataclass
class Scene:
    """A client's layers, and the machine of its server."""

    stack: Stack
    wake: World

    @property
    def sent(self) -> list[bytes]:
        return self.stack.server.sent

    async def open(self) -> None:
        """The handshake, which wakes the machine."""
        self.stack.send(**INITIALIZE)
        await self.stack.answer("initialize", RESULT)
        self.stack.send(method="notifications/initialized")
        await self.stack.asked("notifications/initialized")

    async def asleep(self) -> None:
        """Nobody calls for a while: as the agent does, sessions are let rest."""
        await self.wake.until(lambda: self.wake.rests)
        self.stack.top.rest()
        await self.wake.until(lambda: self.wake.watch().plan.state is State.ASLEEP)


@contextlib.asynccontextmanager
async def scene(folder: str, whole: bool = False, **fly: Any) -> AsyncIterator[Scene]:
    """The keeper over the layer, or (`whole`) all layers."""
    async with world(folder, server(**fly)) as wake:

        def make(context: Context, make_below: Any) -> Upstream:
            def transport(inner: Context) -> Upstream:
                return Wakeful(inner, make_below, wake.watch(), "a process")

            if not whole:
                return Keeper(context, transport)
            return Chain(context, Shelf(folder, context.nursery), transport).top

        async with stack(make) as made:
            yield Scene(made, wake)


@pytest.fixture
def folder(tmp_path: Path, instant_threads: None) -> str:
    return str(tmp_path)


Clock = trio.testing.MockClock


async def test_nothing_is_sent_before_the_machine_has_started(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        began = trio.current_time()
        s.stack.send(**INITIALIZE)
        assert s.sent == []
        await s.stack.answer("initialize", RESULT)
        waited = trio.current_time() - began
        assert 2 <= waited < 3.5
        assert (await s.stack.heard(0))["result"] == RESULT
        assert s.wake.fly.count(Action.START) == 1
        assert s.wake.records.ledger.accounts["time"].who == "editor"


async def test_to_a_machine_that_is_awake_everything_goes_at_once(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        sent = len(s.sent)
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        assert len(s.sent) == sent + 1


async def test_after_an_idle_time_the_machine_sleeps_and_the_next_call_wakes_it(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        await s.asleep()
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        await s.stack.answer("tools/call", {"content": []})
        assert (await s.stack.heard(1))["result"] == {"content": []}
        assert s.wake.fly.of("time").starts == 2
        assert s.stack.ears.failures == []


async def test_a_long_call_keeps_it_awake(folder: str, autojump_clock: Clock) -> None:
    async with scene(folder) as s:
        await s.open()
        s.stack.send(id=1, method="tools/call", params={"name": "slow"})
        await trio.sleep(3600)
        assert s.wake.fly.of("time").state(trio.current_time()) is State.AWAKE
        assert s.wake.rests == []
        await s.stack.answer("tools/call", {})
        await s.asleep()


async def test_what_is_no_request_wakes_nothing_and_goes_before_the_next_one(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        await s.asleep()
        sent = len(s.sent)
        s.stack.send(method="notifications/roots/list_changed")
        s.stack.send(id="p", method="ping")  # answered without the server
        assert (await s.stack.heard("p"))["result"] == {}
        await trio.sleep(3600)
        assert len(s.sent) == sent
        assert s.wake.fly.of("time").state(trio.current_time()) is State.ASLEEP
        s.stack.send(id=1, method="tools/list")
        await s.stack.asked("tools/list")
        assert [b"roots/list_changed" in s.sent[sent], b"tools/list" in s.sent[sent + 1]] == [
            True,
            True,
        ]


async def test_at_rest_they_wait_even_if_the_machine_is_awake(
    folder: str, autojump_clock: Clock
) -> None:
    """Only Fly's proxy knows whether it is: nothing is said to it that is not worth waking it for."""
    async with scene(folder, policy="never") as s:
        await s.open()
        await s.wake.until(lambda: s.wake.rests)
        sent = len(s.sent)
        s.stack.send(method="notifications/roots/list_changed")
        s.stack.send(method="notifications/progress", params={"progressToken": 1})
        await trio.sleep(60)
        assert len(s.sent) == sent
        s.stack.send(id=1, method="tools/list")
        said = [b"roots/list_changed", b"notifications/progress", b"tools/list"]
        assert [word in line for word, line in zip(said, s.sent[sent:], strict=True)] == [True] * 3


async def test_a_transport_does_not_run_before_it_has_something_to_send(
    folder: str, autojump_clock: Clock
) -> None:
    """HTTP+SSE opens its stream at once: that would wake the machine for a client that says nothing."""
    async with scene(folder, policy="never") as s:
        ran = False

        async def run() -> None:
            nonlocal ran
            ran = True
            await trio.sleep_forever()

        s.stack.server.run = run  # type: ignore[method-assign]
        await trio.sleep(60)
        assert not ran
        s.stack.send(**INITIALIZE)
        await trio.sleep(1)
        assert ran


async def test_a_call_that_is_cancelled_while_it_waits_is_never_sent(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        await s.asleep()
        sent = len(s.sent)
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        s.stack.send(method="notifications/cancelled", params={"requestId": 1})
        await trio.sleep(60)
        assert len(s.sent) == sent
        assert s.wake.watch().plan.calls == 0


async def test_a_call_that_is_forgotten_while_it_waits_is_never_sent(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        await s.asleep()
        sent = len(s.sent)
        request = s.stack.send(id=1, method="tools/call", params={"name": "x"})
        assert isinstance(request, Message)
        s.stack.top.forget(request.id)
        await trio.sleep(60)
        assert len(s.sent) == sent
        assert s.wake.watch().plan.calls == 0


async def test_a_server_that_does_not_listen_yet_is_asked_again(
    folder: str, autojump_clock: Clock
) -> None:
    """`started` means that the machine boots: its server may need longer than a connection is tried for."""
    async with scene(folder) as s:
        s.stack.send(**INITIALIZE)
        request = await s.stack.asked("initialize")
        for nth in range(1, 4):
            await trio.sleep(30)
            error = Unreachable("connection refused")
            error.unprocessed = error.exhausted = True
            s.stack.server.downstream.fail(request.id, error)
            await s.stack.asked("initialize", nth)
        assert s.stack.ears.failures == []
        await s.stack.answer("initialize", RESULT, 3)
        await s.stack.heard(0)
        assert s.wake.records.times("time").median_s == pytest.approx(93, abs=2)


@pytest.mark.parametrize("error", [Unreachable("gone"), Denied("no"), PeerError("garbage")])
async def test_a_failure_that_waiting_does_not_mend_is_told(
    folder: str, autojump_clock: Clock, error: Exception
) -> None:
    async with scene(folder) as s:
        await s.open()
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        request = await s.stack.asked("tools/call")
        s.stack.server.downstream.fail(request.id, error)  # type: ignore[arg-type]
        assert await s.stack.failed(1) is error
        assert s.wake.watch().plan.calls == 0


async def test_a_session_that_the_machine_has_forgotten_is_made_anew(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        await s.asleep()
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        request = await s.stack.asked("tools/call")
        s.stack.server.downstream.lost(request, SessionLost("404"))
        await s.stack.answer("initialize", RESULT, 1)
        await s.stack.answer("tools/call", {"content": []}, 1)
        assert (await s.stack.heard(1))["result"] == {"content": []}
        assert s.wake.watch().plan.calls == 0


async def test_a_transport_that_ends_owes_nothing_any_more(
    folder: str, autojump_clock: Clock
) -> None:
    async with scene(folder) as s:
        await s.open()
        s.stack.send(id=1, method="tools/call", params={"name": "x"})
        s.stack.server.end(Unreachable("closed"))
        await s.stack.failed(1)
        await trio.sleep(1)
        assert s.wake.watch().plan.calls == 0
        await s.wake.until(lambda: s.wake.watch().plan.state is State.ASLEEP)


@pytest.mark.parametrize("rested", [True, False])
async def test_only_a_server_that_is_awake_is_told_of_the_end(
    folder: str, autojump_clock: Clock, rested: bool
) -> None:
    async with scene(folder) as s:
        await s.open()
        if rested:
            await s.asleep()
        await s.stack.top.aclose()
        assert s.stack.server.closed == (0 if rested else 1)
        await trio.sleep(600)
        assert s.wake.fly.of("time").starts == 1


@pytest.mark.parametrize("action", [Action.LOOK, Action.START])
async def test_when_the_api_is_of_no_help_calls_go_on_to_the_proxy(
    folder: str, autojump_clock: Clock, action: Action
) -> None:
    async with scene(folder) as s:
        s.wake.fly.fails[action] = [Failed(Failure.DENIED, "no")] * 99
        began = trio.current_time()
        s.stack.send(**INITIALIZE)
        await s.stack.answer("initialize", RESULT)
        assert trio.current_time() - began < 1


async def test_never_is_not_waited_for(folder: str, autojump_clock: Clock) -> None:
    async with scene(folder, policy="never") as s:
        s.stack.send(**INITIALIZE)
        assert len(s.sent) == 1


# ------------------------------------------------------------ with all layers


async def test_a_client_that_waits_for_the_machine_hears_of_it(
    folder: str, autojump_clock: Clock
) -> None:
    """The first time and after each sleep; lists come from the disk meanwhile."""
    async with scene(folder, whole=True) as s:
        s.wake.fly.of("time").cold_start_s = 9.0
        await s.open()
        s.stack.send(id=5, method="tools/list")
        await s.stack.answer("tools/list", {"tools": []})
        await s.stack.heard(5)
        await s.asleep()
        began = trio.current_time()
        token = {"_meta": {"progressToken": "t"}, "name": "x"}
        s.stack.send(id=6, method="tools/call", params=token)
        s.stack.send(id=7, method="tools/list")
        assert (await s.stack.heard(7))["result"] == {"tools": []}
        assert trio.current_time() - began < 0.1
        await s.stack.answer("tools/call", {"content": []})
        assert trio.current_time() - began < 11
        await s.stack.heard(6)
        progress = [m for m in s.stack.messages if m.get("method") == "notifications/progress"]
        assert len(progress) >= 4
        assert all("waiting for somebody" in m["params"]["message"] for m in progress)
        assert s.stack.ears.failures == []
