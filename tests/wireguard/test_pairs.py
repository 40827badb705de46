"""Two devices that face each other: whoever begins, whatever becomes of a message, both can talk in the end."""

import itertools

import pytest

from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.events import SessionEstablished
from mcpctld.protocols.wireguard.keys import PresharedKey
from wireguard.world import INITIATION, RESPONSE, TRANSPORT, Deliveries, Node, World, talk

BEGINNERS = {"one": (0,), "the other": (1,), "both at once": (0, 1)}

FATES = {
    "arrives": lambda data: [(0.01, data)],
    "is lost": lambda data: [],
    "comes twice": lambda data: [(0.01, data), (0.012, data)],
    "comes late": lambda data: [(0.6, data)],
    "comes again much later": lambda data: [(0.01, data), (7.0, data)],
    "is damaged": lambda data: [(0.01, data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])],
}


@pytest.mark.parametrize("beginners", BEGINNERS.values(), ids=BEGINNERS)
@pytest.mark.parametrize("preshared", [None, PresharedKey(bytes(range(32)))], ids=["", "preshared"])
def test_the_first_packets_arrive(beginners, preshared):
    world = World()
    pair = world.pair(*([preshared] if preshared else []))
    sent = {number: pair[number].send(pair[1 - number]) for number in beginners}
    world.run(1)
    for number in beginners:
        assert pair[1 - number].packets == [sent[number]]
    talk(world, pair)


# ---------------------------------------------------------------- what may become of each message


@pytest.mark.parametrize("beginners", BEGINNERS.values(), ids=BEGINNERS)
@pytest.mark.parametrize("fates", list(itertools.product(list(FATES)[:4], repeat=3)), ids="-".join)
def test_whatever_becomes_of_the_first_three_messages(beginners, fates):
    """Packets of before the session wait for it; but those that were in a message that was lost are."""
    world = World()
    pair = world.pair()
    left = [FATES[name] for name in fates]
    world.network = lambda data: (left.pop(0) if left else FATES["arrives"])(data)
    for number in beginners:
        pair[number].send(pair[1 - number])
    world.run(25)
    assert not left
    talk(world, pair)


@pytest.mark.parametrize("beginners", BEGINNERS.values(), ids=BEGINNERS)
@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
@pytest.mark.parametrize("kind", [INITIATION, RESPONSE])
def test_a_session_that_is_replaced_loses_nothing(beginners, fate, kind):
    """Packets go both ways every 20 ms, and take half a second, while messages of the handshake fare badly."""
    world = World(delay=0.5)
    pair = world.pair()
    pair[0].send(pair[1])
    world.run(4)
    talk(world, pair, 1, 2.0)
    world.run(110)
    spoiled = [fate]

    def network(data: bytes) -> Deliveries:
        if data[0] == kind and spoiled:
            return spoiled.pop()(data)
        return world.deliver(data)

    world.network = network
    for number in beginners:
        pair[number].device.initiate(pair[1 - number].key, pair[number].now)
    expected = both_ways(world, pair, count=450, every_s=0.02)
    assert not spoiled
    assert [sorted(node.packets) for node in pair] == [sorted(sent) for sent in expected]


def both_ways(
    world: World, pair: tuple[Node, Node], count: int, every_s: float
) -> list[list[bytes]]:
    """What each of the two should have received."""
    expected: list[list[bytes]] = [[], []]
    for node in pair:
        node.packets.clear()
    for number in range(count):
        for to in (0, 1):
            fill = number.to_bytes(2, "big")
            expected[to].append(pair[1 - to].send(pair[to], fill, 80))
        world.run(every_s)
    world.run(2)
    return expected


def test_when_both_begin_again_and_again_nothing_is_lost():
    world = World(delay=0.3)
    pair = world.pair()
    for node, other in (pair, pair[::-1]):
        node.device.initiate(other.key, node.now)
    world.run(2)
    for _ in range(20):
        for node, other in (pair, pair[::-1]):
            node.device.initiate(other.key, node.now)
        expected = both_ways(world, pair, count=40, every_s=0.1)
        assert [node.packets for node in pair] == expected
    for node in pair:
        assert len(node.seen(SessionEstablished)) >= 20
        assert node.device.statistics().indices <= 6


# ---------------------------------------------------------------- bad networks


@pytest.mark.parametrize("seed", range(10))
def test_handshakes_over_a_terrible_network(seed):
    """Of all messages a third is lost, some come twice, late or damaged: a session comes to be every time."""
    world = World(seed)
    pair = world.pair()
    names = list(FATES)
    weights = (50, 30, 8, 6, 3, 3)

    def network(data: bytes) -> Deliveries:
        return FATES[world.rng.choices(names, weights)[0]](data)

    for _ in range(10):
        world.network = network
        for node, other in (pair, pair[::-1]):
            node.device.initiate(other.key, node.now)
        world.run(70)
        for node, other in (pair, pair[::-1]):
            node.send(other)
        world.run(70)
        world.network = world.deliver
        world.run(20)
        talk(world, pair)


# ---------------------------------------------------------------- a peer that was forgotten


@pytest.mark.parametrize("gap_s", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("age_s", [0.0, 3.0, 60.0, 119.0])
@pytest.mark.parametrize("gateway_begins", [False, True])
def test_an_evicted_peer_is_back_within_16_s_when_there_is_traffic(gateway_begins, age_s, gap_s):
    """The gateway forgets the peer, and knows it again by its initiation; then it may begin itself."""
    world = World()
    client, gateway = world.pair()
    client.send(gateway)
    world.run(1 + age_s)
    sessions = len(client.seen(SessionEstablished))
    gateway.device.remove_peer(client.key)
    if not gateway_begins:
        gateway.add(client)
    evicted_at, sends_at = world.now, world.now
    while len(client.seen(SessionEstablished)) == sessions:
        if world.now >= sends_at:
            client.send(gateway)
            sends_at += gap_s
        world.run(0.05)
        if gateway.drops().get(Drop.UNKNOWN_PEER) and not gateway.device.statistics().peers:
            gateway.add(client)
            gateway.device.initiate(client.key, gateway.now)
        assert world.now - evicted_at < 16
    world.run(1)
    talk(world, (client, gateway))


@pytest.mark.parametrize("restarted", [0, 1])
def test_after_a_restart_with_the_same_keys_traffic_goes_on(restarted):
    world = World()
    pair = world.pair()
    pair[0].send(pair[1])
    world.run(20)
    talk(world, pair)
    pair[restarted].restart()
    pair[restarted].add(pair[1 - restarted])
    pair[restarted].send(pair[1 - restarted])
    world.run(1)
    talk(world, pair)


def test_transport_messages_may_come_in_any_order():
    world = World()
    pair = world.pair()
    pair[0].send(pair[1])
    world.run(1)
    world.network = lambda data: [(world.rng.random(), data)]
    expected = both_ways(world, pair, count=300, every_s=0.01)
    assert [sorted(node.packets) for node in pair] == [sorted(sent) for sent in expected]
    assert pair[0].packets != expected[0]
    assert world.log.count(TRANSPORT) >= 600
