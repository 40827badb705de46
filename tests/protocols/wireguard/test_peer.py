"""`mcpctld.protocols.wireguard.peer`: two of them in virtual time; the rules of the whitepaper's §6, one by one."""

import itertools

import pytest

from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.events import (
    EndpointChanged,
    HandshakeFailed,
    HandshakeUnanswered,
    KeysErased,
    SessionEstablished,
)
from mcpctld.protocols.wireguard.limits import MAX_EVENTS, MAX_STAGED, REJECT_AFTER_MESSAGES
from wireguard.inner import packet
from wireguard.world import COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT, World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def pair(world):
    return world.pair()


def connect(world, one, other):
    """A session that one began, with nothing left to say."""
    one.send(other)
    world.run(1)
    assert len(other.packets) == 1
    world.log.clear()


def peer(node):
    (found,) = node.device._peers.values()
    return found


def statistics(node):
    (found,) = node.device.statistics().peers.values()
    return found


# ---------------------------------------------------------------- the first packet


def test_the_first_packet_makes_a_session_and_arrives(world, pair):
    one, other = pair
    sent = [one.send(other, fill) for fill in (b"a", b"b", b"c")]
    assert statistics(one).staged == 3
    world.run(1)
    assert other.packets == sent
    assert world.log == [INITIATION, RESPONSE, TRANSPORT, TRANSPORT, TRANSPORT]
    assert one.seen(SessionEstablished) == [
        SessionEstablished(other.key, pytest.approx(0.02), True)
    ]
    assert other.seen(SessionEstablished) == [
        SessionEstablished(one.key, pytest.approx(0.02), False)
    ]


def test_its_initiations_have_timestamps_that_grow(world, pair):
    one, other = pair
    seen = [one.device.last_timestamp(other.key)]
    for _ in range(3):
        one.device.initiate(other.key, one.now)
        world.run(10)
        seen.append(one.device.last_timestamp(other.key))
    assert seen == sorted(set(seen))


def test_what_is_said_of_it(world, pair):
    one, other = pair
    connect(world, one, other)
    seen = statistics(one)
    assert (seen.endpoint, seen.handshakes, seen.unanswered) == (other.address, 1, 0)
    assert seen.last_handshake == pytest.approx(1000.02)
    assert seen.rtt == pytest.approx(0.02)
    assert (seen.bytes_sent, seen.bytes_received) == (148 + 32 + 64, 92)
    assert statistics(other).bytes_received == 148 + 32 + 64
    assert (seen.staged, seen.drops) == (0, {})


def test_without_a_packet_the_initiator_says_that_it_has_the_keys(world, pair):
    one, other = pair
    one.device.initiate(other.key, one.now)
    world.run(1)
    assert world.log == [INITIATION, RESPONSE, TRANSPORT]
    assert other.seen(SessionEstablished)


def test_the_responder_sends_only_when_it_has_heard_the_initiator(world, pair):
    one, other = pair
    one.device.initiate(other.key, one.now)
    world.network = lambda data: [] if data[0] == TRANSPORT else world.deliver(data)
    world.run(1)
    other.send(one)
    world.run(1)
    assert (one.packets, statistics(other).staged) == ([], 1)
    world.network = world.deliver
    world.run(10)
    assert len(one.packets) == 1


def test_packets_that_wait_are_bounded_and_the_oldest_makes_room(world, pair):
    one, other = pair
    sent = [one.send(other, fill=bytes([number])) for number in range(MAX_STAGED + 3)]
    assert statistics(one).staged == MAX_STAGED
    world.run(1)
    assert other.packets == sent[3:]
    assert one.drops() == {Drop.QUEUE_FULL: 3}


def test_a_peer_that_is_nowhere_is_not_sent_to(world):
    one, other = world.node(), world.node()
    one.add(other, endpoint=None)
    other.add(one)
    one.send(other)
    one.device.initiate(other.key, one.now)
    assert (one.drops(), world.log) == ({Drop.NO_ENDPOINT: 1}, [])
    other.send(one)
    world.run(1)
    assert len(one.packets) == 1
    one.send(other)
    world.run(1)
    assert len(other.packets) == 1


def test_a_peer_that_was_nowhere_may_be_told_where_it_is(world):
    one, other = world.node(), world.node()
    one.add(other, endpoint=None)
    other.add(one)
    one.device.set_endpoint(other.key, other.address)
    one.send(other)
    world.run(1)
    assert len(other.packets) == 1


# ---------------------------------------------------------------- §5.4.6: padding


@pytest.mark.parametrize(
    ("size", "padded"),
    [(40, 48), (48, 48), (49, 64), (1407, 1408), (1408, 1408), (1409, 1420), (1420, 1420)],
)
def test_packets_are_padded_but_not_beyond_the_mtu(world, pair, size, padded):
    one, other = pair
    connect(world, one, other)
    lengths = []
    world.network = lambda data: lengths.append(len(data)) or world.deliver(data)
    sent = one.send(other, size=size)
    world.run(1)
    assert (lengths, other.packets[1:]) == ([padded + 32], [sent])


# ---------------------------------------------------------------- §6.2: limits of a session


@pytest.mark.parametrize(("age", "expected"), [(119, []), (121, [INITIATION])])
def test_the_initiator_makes_a_new_session_when_it_sends_with_an_old_one(
    world, pair, age, expected
):
    one, other = pair
    connect(world, one, other)
    world.run(age - 1)
    world.log.clear()
    one.send(other)
    assert world.log == [TRANSPORT, *expected]
    world.run(1)
    assert len(one.seen(SessionEstablished)) == 1 + len(expected)
    assert len(other.packets) == 2


def test_the_responder_leaves_that_to_the_initiator(world, pair):
    one, other = pair
    connect(world, one, other)
    world.run(150)
    world.log.clear()
    other.send(one)
    world.run(1)
    assert world.log == [TRANSPORT]


@pytest.mark.parametrize(("age", "expected"), [(164, []), (166, [INITIATION])])
def test_the_initiator_makes_a_new_session_when_it_only_receives(world, pair, age, expected):
    one, other = pair
    connect(world, one, other)
    world.run(age - 1)
    world.log.clear()
    other.send(one)
    world.run(0.015)
    assert world.log == [TRANSPORT, *expected]


@pytest.mark.parametrize("sender", [0, 1])
def test_an_old_session_does_not_send(world, pair, sender):
    connect(world, *pair)
    world.run(180)
    world.log.clear()
    sent = pair[sender].send(pair[1 - sender])
    assert world.log == [INITIATION]
    world.run(1)
    assert pair[1 - sender].packets[-1] == sent


@pytest.mark.parametrize("sender", [0, 1])
@pytest.mark.parametrize(("wait", "dropped"), [(0.1, {}), (1.0, {Drop.EXPIRED: 1})])
def test_an_old_session_does_not_receive(world, pair, sender, wait, dropped):
    connect(world, *pair)
    world.run(178.5)
    on_the_way = []
    world.network = lambda data: on_the_way.append(data) or []
    pair[sender].send(pair[1 - sender])
    world.run(wait)
    pair[1 - sender].device.receive_datagram(on_the_way[0], pair[sender].address, world.now)
    assert pair[1 - sender].drops() == dropped


@pytest.mark.parametrize("delay", [0.01, 0.5])
@pytest.mark.parametrize("sender", [0, 1])
def test_no_packet_is_lost_at_the_end_of_a_session(delay, sender):
    """Whenever the first packet after a pause is sent: it still goes with the old session, or waits for the new one."""
    for after in range(-25, 25):
        world = World(delay=delay)
        pair = world.pair()
        pair[0].send(pair[1])
        world.run(180 + after * delay / 10)
        sent = pair[sender].send(pair[1 - sender])
        world.run(10 * delay)
        assert pair[1 - sender].packets[-1] == sent


@pytest.mark.parametrize("role", [0, 1])
def test_a_session_that_has_sent_enough_is_replaced(world, pair, role):
    connect(world, *pair)
    world.run(10)
    node, other = pair[role], pair[1 - role]
    peer(node)._keypairs.current.sent = 2**60
    world.log.clear()
    node.send(other)
    assert world.log == [TRANSPORT, INITIATION]


def test_a_session_that_has_sent_too_much_is_not_used(world, pair):
    one, other = pair
    connect(world, one, other)
    world.run(10)
    peer(one)._keypairs.current.sent = REJECT_AFTER_MESSAGES
    world.log.clear()
    sent = one.send(other)
    assert world.log == [INITIATION]
    world.run(1)
    assert other.packets[-1] == sent


# ---------------------------------------------------------------- §6.3: keys are erased


def test_keys_are_erased_after_nine_minutes_without_a_new_session(world, pair):
    one, other = pair
    connect(world, one, other)
    world.run(538)
    assert one.device.statistics().indices == other.device.statistics().indices == 1
    world.run(2)
    for node, far in ((one, other), (other, one)):
        assert node.seen(KeysErased) == [KeysErased(far.key)]
        assert node.device.statistics().indices == 0
        assert node.device.next_timer() is None
    one.send(other)
    world.run(1)
    assert len(other.packets) == 2


# ---------------------------------------------------------------- §6.4: initiations are repeated


def test_an_initiation_is_repeated_with_jitter_and_given_up_after_a_while(world, pair):
    one, other = pair
    times = []
    world.network = lambda data: times.append(world.now) or []
    one.send(other)
    world.run(120)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(5 <= gap <= 5 + 1 / 3 for gap in gaps)
    assert len(set(gaps)) == len(gaps)
    assert len(times) == 18
    assert one.seen(HandshakeFailed) == [HandshakeFailed(other.key, 1)]
    assert one.seen(HandshakeUnanswered) == [
        HandshakeUnanswered(other.key, n) for n in range(1, 19)
    ]
    assert (statistics(one).unanswered, statistics(one).staged) == (18, 0)
    assert one.drops() == {Drop.GAVE_UP: 1}
    world.run(1000)
    assert len(times) == 18
    assert one.seen(KeysErased)


def test_who_wants_to_send_starts_the_count_anew(world, pair):
    one, other = pair
    world.network = lambda data: []
    for _ in range(10):
        one.send(other)
        world.run(60)
    assert not one.seen(HandshakeFailed)
    assert one.seen(HandshakeUnanswered)[-1].times > 100
    world.network = world.deliver
    world.run(6)
    assert len(other.packets) == 10
    assert statistics(one).unanswered == 0


def test_there_is_never_more_than_one_initiation_in_five_seconds(world, pair):
    one, other = pair
    times = []
    world.network = lambda data: times.append(world.now) or []
    for _ in range(400):
        one.device.initiate(other.key, one.now)
        world.run(0.1)
    assert min(after - before for before, after in itertools.pairwise(times)) >= 5
    assert len(times) >= 7


def test_who_has_just_answered_waits_before_it_begins(world, pair):
    """And does begin: the answer may have been lost."""
    one, other = pair
    one.device.initiate(other.key, one.now)
    world.network = lambda data: world.deliver(data) if data[0] == INITIATION else []
    world.run(0.5)
    one.device.remove_peer(other.key)
    world.network = world.deliver
    one.add(other)
    other.send(one)
    assert world.log == [INITIATION, RESPONSE]
    world.run(6)
    assert world.log == [INITIATION, RESPONSE, INITIATION, RESPONSE, TRANSPORT]
    assert len(one.packets) == 1


# ---------------------------------------------------------------- §6.5: keepalives


def test_data_is_answered_with_a_keepalive_after_ten_seconds(world, pair):
    one, other = pair
    connect(world, one, other)
    world.run(8.9)
    assert world.log == []
    world.run(0.3)
    assert world.log == [TRANSPORT]
    assert statistics(one).bytes_received == 92 + 32
    world.run(100)
    assert world.log == [TRANSPORT]  # which is not answered


def test_data_answered_by_data_needs_no_keepalive(world, pair):
    one, other = pair
    connect(world, one, other)
    other.send(one)
    world.run(9)
    one.send(other)
    world.run(9)
    assert world.log == [TRANSPORT, TRANSPORT]


def test_silence_after_data_leads_to_a_new_session_within_16_s(world, pair):
    one, other = pair
    connect(world, one, other)
    world.run(11)
    world.log.clear()
    world.network = lambda data: [] if data[0] == TRANSPORT else world.deliver(data)
    one.send(other)
    world.run(14.9)
    assert world.log == [TRANSPORT]
    world.network = world.deliver
    world.run(1)
    assert world.log == [TRANSPORT, INITIATION, RESPONSE, TRANSPORT]
    one.send(other)
    world.run(1)
    assert len(other.packets) == 2


def test_a_persistent_keepalive_makes_a_session_and_keeps_it(world):
    one, other = world.node(), world.node()
    other.add(one)
    one.add(other, persistent_keepalive=25)
    world.run(1)
    assert world.log == [INITIATION, RESPONSE, TRANSPORT]
    world.run(24 + 26)
    assert world.log == [INITIATION, RESPONSE, TRANSPORT, TRANSPORT, TRANSPORT]
    world.run(3600)
    assert 28 <= len(one.seen(SessionEstablished)) <= 31


def test_a_persistent_keepalive_goes_on_trying(world):
    one, other = world.node(), world.node()
    world.network = lambda data: []
    one.add(other, persistent_keepalive=25)
    world.run(3600)
    assert len(one.seen(HandshakeUnanswered)) > 550
    world.network = world.deliver
    other.add(one)
    world.run(31)
    assert one.seen(SessionEstablished)


def test_a_persistent_keepalive_to_nowhere_waits_for_the_peer(world):
    one, other = world.node(), world.node()
    one.add(other, endpoint=None, persistent_keepalive=25)
    world.run(100)
    assert world.log == []
    other.add(one)
    other.send(one)
    world.run(30)
    assert len(one.packets) == 1
    assert statistics(one).bytes_sent > 92


# ---------------------------------------------------------------- §2.1: roaming


@pytest.mark.parametrize("mover", [0, 1])
def test_the_peer_is_where_it_was_heard_from_last(world, pair, mover):
    connect(world, *pair)
    moved, other = pair[mover], pair[1 - mover]
    moved.address = ("198.51.100.9", 7)
    moved.send(other)
    world.run(1)
    assert other.seen(EndpointChanged) == [EndpointChanged(moved.key, moved.address)]
    other.send(moved)
    world.run(1)
    assert len(moved.packets) == (2 if mover else 1)


def test_only_what_is_authentic_moves_it(world, pair):
    one, other = pair
    connect(world, one, other)
    datagrams = []
    world.network = lambda data: datagrams.append(data) or world.deliver(data)
    one.send(other)
    world.run(1)
    elsewhere = ("203.0.113.1", 1)
    other.device.receive_datagram(datagrams[0], elsewhere, other.now)  # a copy
    other.device.receive_datagram(datagrams[0][:-1] + b"\0", elsewhere, other.now)
    assert statistics(other).endpoint == one.address
    assert other.drops() == {Drop.REPLAYED: 1, Drop.NOT_AUTHENTIC: 1}


# ---------------------------------------------------------------- what is in it


def test_only_packets_from_the_peers_own_addresses_are_taken(world, pair):
    one, other = pair
    connect(world, one, other)
    one.device.send_packet(packet("fdaa:9::1", other.inside), one.now)
    world.run(1)
    assert other.drops() == {Drop.WRONG_SOURCE: 1}


def test_what_is_no_packet_is_dropped(world, pair):
    one, other = pair
    connect(world, one, other)
    peer(one).send(b"no packet", one.now)
    world.run(1)
    assert other.drops() == {Drop.MALFORMED: 1}


def test_packets_that_nobody_fetches_are_bounded(world, pair):
    one, other = pair
    connect(world, one, other)
    sent = packet(one.inside, other.inside)
    for _ in range(MAX_EVENTS + 5):
        one.device.send_packet(sent, one.now)
    for data, _ in one.device.datagrams_to_send(one.now):
        other.device.receive_datagram(data, one.address, other.now)
    assert other.drops() == {Drop.QUEUE_FULL: 5}
    world.run(1)
    assert len(other.packets) == 1 + MAX_EVENTS


# ---------------------------------------------------------------- messages that are of no use


def first_index(world):
    """A list, in which the index of the first message will be, as bytes."""
    drawn = []
    deliver = world.network
    world.network = lambda data: drawn.append(data[4:8]) or deliver(data)
    return drawn


def test_an_initiation_that_comes_twice_is_answered_once(world, pair):
    one, other = pair
    world.network = lambda data: world.deliver(data) * 2
    one.send(other)
    world.run(1)
    assert len(other.packets) == 1
    assert other.drops() == {Drop.OLD_HANDSHAKE: 1, Drop.REPLAYED: 1}
    assert one.drops() == {Drop.UNKNOWN_INDEX: 1}


def test_a_cookie_reply_to_nothing_is_dropped(world, pair):
    one, other = pair
    index = first_index(world)
    connect(world, one, other)
    reply = b"\3\0\0\0" + index[0] + bytes(56)
    one.device.receive_datagram(reply, other.address, one.now)
    assert one.drops() == {Drop.NOT_AUTHENTIC: 1}


def test_a_transport_message_for_a_handshake_is_dropped(world, pair):
    one, other = pair
    index = first_index(world)
    one.device.initiate(other.key, one.now)
    world.settle()
    data = b"\4\0\0\0" + index[0] + bytes(24)
    one.device.receive_datagram(data, other.address, one.now)
    assert one.drops() == {Drop.UNKNOWN_INDEX: 1}


def test_under_load_a_cookie_is_asked_for_and_given(world):
    one, other = world.node(), world.node(handshakes_per_second=0)
    one.add(other)
    other.add(one)
    one.send(other)
    world.run(1)
    assert world.log == [INITIATION, COOKIE_REPLY]
    world.run(5)
    assert world.log == [INITIATION, COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT]
    assert len(other.packets) == 1
