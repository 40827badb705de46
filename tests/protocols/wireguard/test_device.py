"""`mcpctld.protocols.wireguard.device`: what does not belong to one peer."""

import random

import pytest

from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.events import SessionEstablished, UnknownPeer
from mcpctld.protocols.wireguard.limits import MAX_REPLIES, SOURCE_BURST
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.forge import forged_initiation
from wireguard.inner import ipv4, packet
from wireguard.world import COOKIE_REPLY, INITIATION, RESPONSE, World

STRANGER = ("203.0.113.5", 4711)


@pytest.fixture
def world():
    return World()


# ---------------------------------------------------------------- peers


def test_one_device_serves_many_peers(world):
    gateway = world.node()
    clients = [world.node() for _ in range(5)]
    for client in clients:
        client.add(gateway)
        gateway.add(client, endpoint=None)
        client.send(gateway)
    world.run(1)
    assert len(gateway.packets) == 5
    for client in clients:
        gateway.send(client)
    world.run(1)
    assert [len(client.packets) for client in clients] == [1] * 5
    assert len(gateway.device.statistics().peers) == 5


def test_a_peer_that_has_left_is_a_stranger(world):
    one, other = world.pair()
    one.send(other)
    world.run(1)
    other.device.remove_peer(one.key)
    assert other.device.statistics().indices == 0
    one.send(other)
    other.send(one)
    world.run(20)
    assert len(other.packets) == 1
    assert other.drops()[Drop.UNKNOWN_INDEX] == 1
    assert other.drops()[Drop.NO_ROUTE] == 1
    assert UnknownPeer(one.key, one.address) in other.events
    with pytest.raises(KeyError):
        other.device.remove_peer(one.key)


def test_a_gateway_may_add_a_peer_when_it_comes_and_begin_itself(world):
    """As Fly's gateways do."""
    client, gateway = world.node(), world.node()
    client.add(gateway)
    sent = client.send(gateway)
    world.run(1)
    (unknown,) = gateway.seen(UnknownPeer)
    assert gateway.drops() == {Drop.UNKNOWN_PEER: 1}
    gateway.add(client, endpoint=unknown.endpoint)
    gateway.device.initiate(unknown.peer, gateway.now)
    world.run(1)
    assert gateway.packets == [sent]
    assert client.seen(SessionEstablished)[0].is_initiator is False


def test_keys_that_cannot_be_a_peers(world):
    one, other = world.pair()
    for key in (one.key, other.key):
        with pytest.raises(ValueError, match="a public key of its own"):
            one.device.add_peer(PeerSpec(key), one.now)
    with pytest.raises(ValueError, match="cannot be used"):
        one.device.add_peer(PeerSpec(bytes(32)), one.now)
    assert len(one.device.statistics().peers) == 1


def test_a_peer_may_be_told_to_be_elsewhere(world):
    one, other = world.pair()
    one.send(other)
    world.run(1)
    other.address = ("198.51.100.1", 9)
    one.device.set_endpoint(other.key, other.address)
    one.send(other)
    world.run(1)
    assert len(other.packets) == 2


def test_a_peer_with_a_persistent_keepalive_is_spoken_to_at_once(world):
    one, other = world.node(), world.node()
    other.add(one)
    one.add(other, persistent_keepalive=25)
    world.run(1)
    assert other.seen(SessionEstablished)


@pytest.mark.parametrize("pause", [0, -1, 0.5, float("nan")])
def test_keepalives_without_a_pause_are_refused(world, pause):
    one, other = world.node(), world.node()
    with pytest.raises(ValueError, match="a second or more"):
        one.add(other, persistent_keepalive=pause)
    assert one.device.statistics().peers == {}


# ---------------------------------------------------------------- what is sent


def test_a_packet_goes_to_the_peer_that_has_its_destination(world):
    one, other = world.pair()
    third = world.node()
    one.add(third)
    for data, reason in (
        (packet(one.inside, "fdaa:99::1"), Drop.NO_ROUTE),
        (ipv4("10.0.0.1", "10.0.0.2"), Drop.NO_ROUTE),
        (b"", Drop.MALFORMED),
        (b"\x60" + bytes(38), Drop.MALFORMED),
        (packet(one.inside, other.inside, 1421), Drop.TOO_LONG),
    ):
        before = one.drops().get(reason, 0)
        one.device.send_packet(data, one.now)
        assert one.drops()[reason] == before + 1
    assert one.device.datagrams_to_send(one.now) == []


def test_fetching_empties(world):
    one, other = world.pair()
    one.device.send_packet(packet(one.inside, other.inside), one.now)
    assert len(one.device.datagrams_to_send(one.now)) == 1
    assert one.device.datagrams_to_send(one.now) == []
    assert one.device.next_event() is None


def test_without_peers_nothing_is_due(world):
    node = world.node()
    assert node.device.next_timer() is None
    node.device.handle_timer(node.now)
    assert node.device.statistics().peers == {}


# ---------------------------------------------------------------- what is received

MALFORMED = {
    "nothing": b"",
    "short": bytes(31),
    "no type": bytes(32),
    "an unknown type": b"\5" + bytes(147),
    "reserved bytes": b"\4\0\0\1" + bytes(40),
    "an initiation cut short": b"\1" + bytes(146),
    "a response and more": b"\2" + bytes(92),
    "a cookie reply of another length": b"\3" + bytes(64),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_message(world, data):
    one, _ = world.pair()
    one.device.receive_datagram(data, STRANGER, one.now)
    assert one.drops() == {Drop.MALFORMED: 1}
    assert one.device.datagrams_to_send(one.now) == []


@pytest.mark.parametrize("data", [b"\4\0\0\0" + bytes(28), b"\3\0\0\0" + bytes(60)])
def test_what_is_for_nobody(world, data):
    one, _ = world.pair()
    one.device.receive_datagram(data, STRANGER, one.now)
    assert one.drops() == {Drop.UNKNOWN_INDEX: 1}


@pytest.mark.parametrize("data", [b"\1" + bytes(147), b"\2" + bytes(91)])
def test_who_does_not_know_our_key_is_not_answered(world, data):
    one, _ = world.pair()
    one.device.receive_datagram(data, STRANGER, one.now)
    assert one.drops() == {Drop.BAD_MAC1: 1}


def test_a_forged_initiation_is_not_answered(world):
    one, _ = world.pair()
    one.device.receive_datagram(
        forged_initiation(one.key, random.Random(1).randbytes), STRANGER, one.now
    )
    assert one.drops() == {Drop.NOT_AUTHENTIC: 1}
    assert one.device.datagrams_to_send(one.now) == []


def test_a_response_to_nothing_is_dropped(world):
    one, other = world.pair()
    responses = []
    world.network = lambda data: responses.append(data) or world.deliver(data)
    one.send(other)
    world.run(1)
    one.device.remove_peer(other.key)
    (response,) = (data for data in responses if data[0] == RESPONSE)
    one.device.receive_datagram(response, other.address, one.now)
    assert one.drops() == {Drop.UNKNOWN_INDEX: 1}


# ---------------------------------------------------------------- under load


def flood(node, count, seed=1):
    drawn = random.Random(seed).randbytes
    for _ in range(count):
        node.device.receive_datagram(forged_initiation(node.key, drawn), STRANGER, node.now)


def test_under_load_strangers_get_cookies_instead_of_work(world):
    one, _ = world.pair()
    flood(one, 60)
    assert one.drops() == {Drop.NOT_AUTHENTIC: 50, Drop.UNDER_LOAD: 10}
    replies = one.device.datagrams_to_send(one.now)
    assert [(data[0], address) for data, address in replies] == [(COOKIE_REPLY, STRANGER)] * 10
    assert one.device.statistics().cookie_replies == 10


def test_a_peer_gets_through_while_others_flood(world):
    one, other = world.pair()
    flood(other, 200)
    other.device.datagrams_to_send(other.now)
    sent = one.send(other)
    world.run(1)
    assert world.log == [INITIATION, COOKIE_REPLY]
    for _ in range(10):
        world.run(0.5)
        flood(other, 200)
    assert RESPONSE in world.log
    world.run(1)
    assert other.packets == [sent]


def test_even_who_has_a_cookie_may_not_send_too_much(world):
    one, other = world.node(), world.node(handshakes_per_second=0)
    one.add(other)
    initiations = []
    world.network = lambda data: (
        initiations.append(data) or []
        if data[0] == INITIATION and data[-16:] != bytes(16)
        else world.deliver(data)
    )
    one.send(other)
    world.run(6)
    for _ in range(SOURCE_BURST + 3):
        other.device.receive_datagram(initiations[0], one.address, other.now)
    assert other.drops()[Drop.UNKNOWN_PEER] == SOURCE_BURST
    assert other.drops()[Drop.RATE_LIMITED] == 3


def test_replies_that_nobody_fetches_are_bounded(world):
    node = world.node(handshakes_per_second=0)
    flood(node, MAX_REPLIES + 5)
    assert len(node.device.datagrams_to_send(node.now)) == MAX_REPLIES
    assert node.drops() == {Drop.UNDER_LOAD: MAX_REPLIES + 5}


# ---------------------------------------------------------------- time


def test_timers_are_in_the_callers_clock_though_it_steps_back(world):
    one, other = world.pair()
    one.send(other)
    world.run(2)
    one.step = -500.0
    one.device.handle_timer(one.now)
    assert 0 < one.device.next_timer() - one.now < 540
    one.send(other)
    world.run(1)
    assert len(other.packets) == 2
    assert len(one.seen(SessionEstablished)) == 2  # nobody knows how old the first one was
    (seen,) = one.device.statistics().peers.values()
    assert seen.last_handshake == pytest.approx(one.now - 0.98)


def test_a_restart_needs_the_last_timestamp_only_if_the_clock_went_back(world):
    one, other = world.pair()
    one.send(other)
    world.run(10)
    one.restart()
    one.add(other)
    one.send(other)
    world.run(1)
    assert len(other.packets) == 2
    last = one.device.last_timestamp(other.key)
    for known, arrived in ((None, 2), (last, 3)):
        one.restart(wall_clock_step=-86400.0)
        one.add(other, **({"last_timestamp": known} if known else {}))
        one.send(other)
        world.run(1)
        assert len(other.packets) == arrived
