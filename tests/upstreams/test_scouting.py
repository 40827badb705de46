"""Of several sessions that come while nobody knows how a server is spoken to, one finds out."""

import pytest
import trio

from fixtures.scripted import Exchange
from mcpctld.errors import Unreachable
from mcpctld.upstreams._scouting import BOUND_S
from sessions.client import INITIALIZE
from upstreams.guest import Guest
from upstreams.world import World, world
from upstreams.wrapper import Wrapper


def begin(*ones: World) -> None:
    """What hasty clients write in one breath."""
    for one in ones:
        one.send(id="init", method="initialize", params=INITIALIZE)
        one.send(method="notifications/initialized")
        one.send(id=1, method="tools/list")


async def test_the_fly_wrapper_gets_no_two_half_lines(autojump_clock):
    async with world("auto") as w:
        wrapper = Wrapper(w)
        guests = [Guest(w), Guest(w)]
        begin(w, *guests)
        for one in (w, *guests):
            await one.answer("init")
            await one.answer(1)
            assert one.upstream.name == "fly-wrap"
        assert w.shared.sharing == 3
        lines = b"".join(wrapper.heard).splitlines()
        assert lines[0].startswith(b'{"jsonrpc": "2.0", "id": "init"')
        assert len(lines) == len(wrapper.messages) == 6
        for guest in guests:
            await guest.leave()


async def test_what_was_found_out_before_the_first_message_is_used(autojump_clock):
    async with world("auto") as w:
        wrapper, guest = Wrapper(w), Guest(w)
        await w.settle()
        begin(w)
        await w.answer(1)
        guest.send(id=1, method="tools/call")
        await guest.answer(1)
        assert len(wrapper.of("tools/call")) == 1
        await guest.leave()


async def test_an_ordinary_server_is_asked_by_all_once_it_is_known(autojump_clock):
    async with world("auto") as w:
        guest = Guest(w)
        gate = trio.Event()

        @w.server.on("initialize")
        async def slow(exchange: Exchange) -> None:
            await gate.wait()
            await exchange.reply({"protocolVersion": "2025-11-25", "capabilities": {}})

        begin(w, guest)
        await w.settle()
        assert len(w.server.calls("initialize")) == 1
        assert guest.upstream.name == "auto"
        gate.set()
        for one in (w, guest):
            await one.answer(1)
            assert one.upstream.name == "streamable-http"
        await guest.leave()


async def test_one_that_finds_nothing_out_gives_way_to_the_next(autojump_clock):
    async with world("auto", reachable=False, connect_timeout_s=2) as w:
        guests = [Guest(w), Guest(w)]
        for one in (w, *guests):
            one.send(id=1, method="initialize", params=INITIALIZE)
        began = trio.current_time()
        for one in (w, *guests):
            assert isinstance(await one.failure(1), Unreachable)
        assert trio.current_time() - began < BOUND_S
        w.up = True
        for one in (w, *guests):
            one.send(id=2, method="initialize", params=INITIALIZE)
            await one.answer(2)
        for guest in guests:
            await guest.leave()


@pytest.mark.parametrize("leaves", [True, False])
async def test_one_that_hears_nothing_is_not_waited_for_for_ever(autojump_clock, leaves: bool):
    async with world("auto") as w:
        guest = Guest(w)

        @w.server.on("initialize")
        async def silent(exchange: Exchange) -> None:
            del w.server.handlers["initialize"]
            exchange.answered = True
            await exchange.client_left()
            await exchange.drop()

        for one in (guest, w):
            one.send(id=1, method="initialize", params=INITIALIZE)
        await w.server.wait_for("initialize")
        began = trio.current_time()
        if leaves:
            await guest.leave()
        await w.answer(1)
        waited = trio.current_time() - began
        assert waited < 1 if leaves else BOUND_S - 1 < waited < BOUND_S + 1
        if not leaves:
            await guest.leave()


async def test_who_waits_can_be_held_back_and_can_give_up(autojump_clock):
    async with world("auto", max_message_bytes=1000) as w:
        guest = Guest(w)
        gate = trio.Event()

        @w.server.on("POST")
        async def slow(exchange: Exchange) -> None:
            await gate.wait()
            await exchange.reply({})

        w.send(id=1, method="tools/list")
        guest.send(id=1, method="tools/list", params={"x": "y" * 900})
        guest.send(id=2, method="tools/list", params={"x": "y" * 900})
        assert guest.upstream.full
        guest.upstream.forget(b"1")
        assert not guest.upstream.full
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.upstream.wait_room)
            await w.settle()
            gate.set()
        await guest.answer(2)
        assert [exchange.message["id"] for exchange in w.server.seen] == [1, 2]
        await guest.leave()


async def test_who_goes_while_it_waits_has_begun_nothing(autojump_clock):
    async with world("auto") as w:
        Wrapper(w)
        guest = Guest(w)
        begin(w, guest)
        await guest.leave()
        await w.answer(1)
        assert w.shared.sharing == 1
