"""`mcpctld.drivers.carriers.link` and `path`, in virtual time: how soon traffic flows again after what may happen."""

import pytest
import trio

from drivers.carriers.far import OURS, THEIRS, UNIX_TIME, Far
from mcpctld.drivers.carriers.link import MAX_UNHEARD, WireGuardLink, wants_answer
from mcpctld.protocols.inet.tcp.segment import ACK, FIN, SYN, Flow
from mcpctld.protocols.wireguard.tai64n import encode
from wireguard.inner import packet, udp

RESUMED_S = 5.0
"""What is promised."""
SETTLED_S = 60.0


@pytest.fixture
def far(nursery):
    return Far(nursery)


async def begin(nursery, link: WireGuardLink) -> None:
    nursery.start_soon(link.run)
    await answered(link)


async def answered(link: WireGuardLink) -> float:
    """Send a packet, and others as TCP would, until an answer comes: how long that took."""
    began = trio.current_time()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_sending, link)
            await link.receive()
            nursery.cancel_scope.cancel()
    took = trio.current_time() - began
    with trio.move_on_after(1):  # what else comes
        while True:
            await link.receive()
    return took


async def keep_sending(link: WireGuardLink) -> None:
    pause = 1.0
    while True:
        link.send([packet(OURS, THEIRS, 60)])
        await trio.sleep(pause)
        pause *= 2


def chosen(link: WireGuardLink) -> str | None:
    [path] = link.paths.values()
    return path.chosen


@pytest.mark.parametrize("kind", ["udp", "websocket"])
async def test_packets_go_there_and_back(nursery, far, kind, autojump_clock):
    told = []
    link = far.link(kind, established=told.append)
    nursery.start_soon(link.run)
    assert await answered(link) < 0.2
    assert link.was_up.is_set()
    assert told == [far.key.public]
    assert (chosen(link), len(far.heard)) == (kind, 1)
    nursery.cancel_scope.cancel()


async def test_the_first_carrier_has_a_head_start(nursery, far, autojump_clock):
    link = far.link("udp", "websocket")
    await begin(nursery, link)
    assert [carrier.kind for carrier in far.carriers] == ["udp"]
    assert chosen(link) == "udp"
    nursery.cancel_scope.cancel()


async def test_without_udp_the_other_one_is_chosen_within_a_second(nursery, far, autojump_clock):
    far.deaf = {"udp"}
    link = far.link("udp", "websocket")
    nursery.start_soon(link.run)
    assert await answered(link) < 1
    assert chosen(link) == "websocket"
    [path] = link.paths.values()
    assert path.up == ["websocket"]  # the other one was let go
    nursery.cancel_scope.cancel()


async def test_udp_that_only_goes_there(nursery, far, autojump_clock):
    far.dumb = {"udp"}
    link = far.link("udp", "websocket")
    nursery.start_soon(link.run)
    assert await answered(link) < 15
    assert chosen(link) == "websocket"
    nursery.cancel_scope.cancel()


async def test_an_initiation_that_is_lost_is_sent_again_soon(nursery, far, autojump_clock):
    far.deaf = {"udp"}
    link = far.link("udp")
    nursery.start_soon(link.run)
    await trio.sleep(0.5)
    far.deaf = set()
    assert await answered(link) < 1.5
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- what breaks


@pytest.mark.parametrize("kind", ["udp", "websocket"])
async def test_a_gateway_that_has_forgotten_us(nursery, far, kind, autojump_clock):
    link = far.link(kind)
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    far.restart()
    assert await answered(link) < RESUMED_S
    nursery.cancel_scope.cancel()


async def test_udp_that_dies_without_a_word(nursery, far, autojump_clock):
    link = far.link("udp", "websocket")
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    far.deaf = far.dumb = {"udp"}
    assert await answered(link) < RESUMED_S
    assert chosen(link) == "websocket"
    nursery.cancel_scope.cancel()


async def test_a_websocket_that_is_cut(nursery, far, autojump_clock):
    link = far.link("websocket")
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    far.restart()
    far.carriers[-1].cut()
    assert await answered(link) < 1.5
    assert len(far.carriers) == 2
    nursery.cancel_scope.cancel()


async def test_another_address_of_ours(nursery, far, autojump_clock):
    link = far.link("udp")
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    link.renew()
    await trio.sleep(0.1)
    assert len(far.carriers) == 2
    far.carriers[0].deliver = lambda datagrams: None  # the old one leads nowhere
    assert await answered(link) < 0.5
    nursery.cancel_scope.cancel()


async def test_after_a_change_of_network_udp_has_its_chance_again(nursery, far, autojump_clock):
    far.deaf = {"udp"}
    link = far.link("udp", "websocket")
    await begin(nursery, link)
    assert chosen(link) == "websocket"
    await trio.sleep(SETTLED_S)
    far.deaf = set()
    link.renew()
    assert await answered(link) < 0.5
    assert chosen(link) == "udp"
    nursery.cancel_scope.cancel()


async def test_a_carrier_that_cannot_be_made_is_tried_again(nursery, far, autojump_clock):
    far.refuse = {"udp"}
    link = far.link("udp")
    nursery.start_soon(link.run)
    await trio.sleep(20)
    [path] = link.paths.values()
    assert (path.trouble, path.up) == ("no udp here", [])
    far.refuse = set()
    assert await answered(link) < 6
    assert path.trouble == ""
    nursery.cancel_scope.cancel()


async def test_after_sleep(nursery, far, autojump_clock):
    """Our clock has gone on, that of trio has not: the session is over without anybody having said so."""
    slept = 0.0
    link = far.link("udp", clock=lambda: trio.current_time() + slept)
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    slept = 3600.0
    far.restart()
    link.renew()
    assert await answered(link) < 0.5
    nursery.cancel_scope.cancel()


async def test_what_was_asked_in_vain_is_asked_again_over_the_next_session(
    nursery, far, autojump_clock
):
    link = far.link("udp")
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    far.restart()
    far.heard.clear()
    sent = [packet(OURS, THEIRS, 100 + number) for number in range(MAX_UNHEARD + 5)]
    link.send(sent)
    await trio.sleep(3)
    assert sorted(far.heard) == sorted(sent[:MAX_UNHEARD])
    nursery.cancel_scope.cancel()


async def test_who_has_nothing_to_ask_is_left_alone(nursery, far, autojump_clock):
    link = far.link("udp")
    await begin(nursery, link)
    await trio.sleep(SETTLED_S)
    far.deaf = {"udp"}
    before = link.device.last_timestamp(far.key.public)
    link.send([Flow(_packed(OURS), 1, _packed(THEIRS), 2).encode(1, 1, ACK, 100)])
    await trio.sleep(14)
    assert link.device.last_timestamp(far.key.public) == before
    nursery.cancel_scope.cancel()


async def test_timestamps_are_of_the_clock(nursery, far, autojump_clock):
    link = far.link("udp")
    await begin(nursery, link)
    assert link.device.last_timestamp(far.key.public) >= encode(UNIX_TIME)
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- which packets are answered


def _packed(address: str) -> bytes:
    import ipaddress

    return ipaddress.ip_address(address).packed


FLOW = Flow(_packed(OURS), 1, _packed(THEIRS), 2)


@pytest.mark.parametrize(
    ("data", "wants"),
    [
        (FLOW.encode(1, 0, SYN, 100, options=b"\2\4\5\0"), True),
        (FLOW.encode(1, 1, ACK, 100, b"text"), True),
        (FLOW.encode(1, 1, ACK | FIN, 100), True),
        (FLOW.encode(1, 1, ACK, 100), False),
        (FLOW.encode(1, 1, ACK, 100, options=b"\1\1\5\n" + bytes(8)), False),
        (udp(OURS, THEIRS, 53, b"question"), True),
        (packet(OURS, THEIRS, 60), True),
    ],
)
def test_which_packets_are_answered(data, wants):
    assert wants_answer(data) is wants
