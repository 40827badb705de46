"""`mcpctld.protocols.inet.tcp.handshake`: what is offered, what is agreed on."""

import pytest

from mcpctld.protocols.inet.ipv6 import parse
from mcpctld.protocols.inet.tcp.handshake import Handshake
from mcpctld.protocols.inet.tcp.segment import ACK, SYN, Flow, Options
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment

FLOW = Flow(bytes(15) + b"\2", 40000, bytes(15) + b"\3", 80)


def handshake(capacity: int = 1 << 20) -> Handshake:
    return Handshake(FLOW, 7, 1360, capacity)


def sent(packet: bytes):
    return parse_segment(parse(packet))


def test_a_syn_offers_all_we_can():
    segment = sent(handshake().syn(None, 1.0))
    assert (segment.seq, segment.ack, segment.flags, segment.window) == (7, 0, SYN, 0xFFFF)
    assert segment.options == Options(mss=1360, scale=5, sack_permitted=True)


@pytest.mark.parametrize(
    ("capacity", "scale", "window"),
    [(16384, 0, 16384), (65534, 0, 65534), (65535, 1, 65535), (1 << 20, 5, 65535)],
)
def test_the_scale_is_enough_for_the_buffer(capacity, scale, window):
    segment = sent(handshake(capacity).syn(None, 1.0))
    assert (segment.options.scale, segment.window) == (scale, window)
    assert 0xFFFF << scale >= capacity


def test_syns_go_at_growing_intervals_and_not_for_ever():
    it, now, times = handshake(), 100.0, []
    while not it.is_hopeless:
        it.syn(None, now)
        times.append(now - 100.0)
        now = it.deadline
    assert times == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert now == 163.0


def test_what_the_peer_can_do_too_is_agreed_on():
    it = handshake()
    it.agree(Options(mss=1400, scale=7, sack_permitted=True), path_mss=1300)
    assert (it.sack, it.scale, it.peer_scale, it.peer_mss) == (True, 5, 7, 1300)


def test_windows_are_scaled_by_both_or_not_at_all():
    it = handshake()
    it.agree(Options(mss=1000), path_mss=1300)
    assert (it.sack, it.scale, it.peer_scale, it.peer_mss) == (False, 0, 0, 1000)


@pytest.mark.parametrize(
    ("told", "taken"), [(None, 1220), (0, 1220), (1, 48), (47, 48), (9000, 1300)]
)
def test_segments_are_neither_too_large_nor_absurdly_small(told, taken):
    it = handshake()
    it.agree(Options(mss=told), path_mss=1300)
    assert it.peer_mss == taken


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("scale", [None, 3])
def test_an_answer_to_a_syn_offers_only_what_that_did(scale, sack):
    it = handshake()
    it.agree(Options(mss=1000, scale=scale, sack_permitted=sack), path_mss=1300)
    segment = sent(it.syn(99, 1.0))
    assert (segment.seq, segment.ack, segment.flags) == (7, 99, SYN | ACK)
    assert segment.options == Options(1360, None if scale is None else 5, sack)
