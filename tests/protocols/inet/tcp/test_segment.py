"""`mcpctld.protocols.inet.tcp.segment`: bytes of segments and options."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import TCP, Packet, encode_packet, parse
from mcpctld.protocols.inet.tcp.segment import (
    ACK,
    FIN,
    MAX_SACKS,
    PSH,
    RST,
    SYN,
    Flow,
    Options,
    Segment,
    encode_sacks,
    encode_syn_options,
    parse_options,
)
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment

OURS, THEIRS = bytes.fromhex("fdaa" + "00" * 13 + "02"), bytes.fromhex("fdaa" + "00" * 13 + "03")
FLOW = Flow(OURS, 40000, THEIRS, 80)


def test_the_bytes_of_a_segment():
    packet = FLOW.encode(0x11223344, 0x55667788, PSH | ACK, 0x99AA, b"abc")
    assert packet[:8].hex() == "6000000000170640"
    assert packet[8:40] == OURS + THEIRS
    assert packet[40:56].hex() == "9c400050" + "11223344" + "55667788" + "501899aa"
    assert packet[58:].hex() == "0000" + b"abc".hex()


def test_a_flow_is_known_by_what_its_peer_sends():
    answer = parse(Flow(THEIRS, 80, OURS, 40000).encode(0, 0, ACK, 0))
    assert answer.source + answer.payload[:4] == FLOW.key


numbers = st.integers(0, 0xFFFFFFFF)


@given(numbers, numbers, st.integers(0, 31), st.integers(0, 0xFFFF), st.binary(max_size=1400))
@settings(deadline=None, derandomize=True)
def test_what_is_sent_arrives(seq, ack, flags, window, payload):
    read = parse_segment(parse(FLOW.encode(seq, ack, flags, window, payload)))
    assert read == Segment(40000, 80, seq, ack, flags, window, Options(), payload)
    beyond = FLOW.encode(seq + (3 << 32), ack + (9 << 32), flags, window, bytearray(payload))
    assert parse_segment(parse(beyond)) == read


@pytest.mark.parametrize("payload", [b"", b"x", b"xyz" * 400])
def test_options_stand_between_header_and_text(payload):
    options = encode_sacks([(1, 2), (3, 4)])
    read = parse_segment(parse(FLOW.encode(1, 2, ACK, 3, payload, options)))
    assert (read.options.sacks, read.payload) == (((1, 2), (3, 4)), payload)


def test_options_of_a_syn_are_padded_each():
    assert encode_syn_options(1360, 5, sack_permitted=True).hex() == "020405500103030501010402"
    assert encode_syn_options(1360, None, sack_permitted=False).hex() == "02040550"
    read = parse_options(encode_syn_options(1360, 0, sack_permitted=True))
    assert read == Options(1360, 0, sack_permitted=True)


def test_as_many_blocks_are_told_as_there_is_room_for():
    blocks = [(n << 32 | 10 * n, n << 32 | 10 * n + 5) for n in range(9)]
    option = encode_sacks(blocks)
    assert len(option) == 36
    assert parse_options(option).sacks == tuple((10 * n, 10 * n + 5) for n in range(MAX_SACKS))
    assert encode_sacks([]) == b""


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("", Options()),
        ("00020405b4", Options()),
        ("0101020405b4", Options(mss=1460)),
        ("020405b4020401f4", Options(mss=500)),
        ("03030e", Options(scale=14)),
        ("0303ff", Options(scale=14)),
        ("080a00000001000000020402", Options(sack_permitted=True)),
        ("fe04abcd030301", Options(scale=1)),
        ("02030501", Options()),  # known options of other lengths are skipped
        ("0304010101", Options()),
        ("040301", Options()),
        ("0504abcd", Options()),
        ("0502", Options()),
    ],
)
def test_options_are_read_and_unknown_ones_skipped(data, options):
    assert parse_options(bytes.fromhex(data)) == options


@pytest.mark.parametrize("data", ["02", "0200", "0201", "0101ff", "020405", "fe"])
def test_options_whose_length_cannot_be_are_dropped(data):
    with pytest.raises(Dropped, match="malformed"):
        parse_options(bytes.fromhex(data))


def rebuilt(change) -> Packet:
    """A segment with something changed and the checksum made right again."""
    payload = bytearray(FLOW.encode(1, 2, ACK, 3, b"text")[40:])
    payload[16:18] = b"\0\0"
    change(payload)
    packet = Packet(OURS + THEIRS, TCP, bytes(payload))
    total = word_sum(packet.payload) + pseudo_header_sum(packet.addresses, len(payload), TCP)
    payload[16:18] = checksum(total).to_bytes(2, "big")
    return Packet(OURS + THEIRS, TCP, bytes(payload))


def put(at: int, value: int):
    return lambda payload: payload.__setitem__(at, value)


REFUSED = {
    "half a header": (Packet(OURS + THEIRS, TCP, bytes(19)), Drop.TRUNCATED),
    "a flipped bit": (parse(encode_packet(OURS, THEIRS, TCP, bytes(20))), Drop.CHECKSUM),
    "a header of less than 20 bytes": (rebuilt(put(12, 0x40)), Drop.MALFORMED),
    "a header beyond the end": (rebuilt(put(12, 0xF0)), Drop.MALFORMED),
    "no port of theirs": (rebuilt(lambda p: p.__setitem__(slice(0, 2), b"\0\0")), Drop.MALFORMED),
    "no port of ours": (rebuilt(lambda p: p.__setitem__(slice(2, 4), b"\0\0")), Drop.MALFORMED),
    "an option beyond the end": (
        rebuilt(lambda p: (put(12, 0x60)(p), put(20, 9)(p))),
        Drop.MALFORMED,
    ),
}


@pytest.mark.parametrize(("packet", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_segment_is_dropped(packet, reason):
    with pytest.raises(Dropped) as dropped:
        parse_segment(packet)
    assert dropped.value.reason is reason


def test_flags_that_we_do_not_know_do_not_matter():
    def change(payload: bytearray) -> None:
        payload[12] |= 0x0F
        payload[13] |= 0xE0

    assert parse_segment(rebuilt(change)).flags == ACK


def test_it_shows_flags_and_nothing_of_its_text():
    segment = Segment(1, 2, 3, 4, SYN | ACK, 5, Options(), b"secret")
    assert repr(segment) == "<Segment SYN+ACK of 6 bytes>"
    assert (
        repr(Segment(1, 2, 3, 4, FIN | RST | PSH, 5, Options(), b""))[9:]
        == "FIN+RST+PSH of 0 bytes>"
    )


@given(st.binary(max_size=100))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_bytes_are_a_segment_or_are_dropped(noise):
    def change(payload: bytearray) -> None:
        payload[12 : 12 + len(noise)] = noise
        payload[16:18] = b"\0\0"

    with contextlib.suppress(Dropped):
        assert isinstance(parse_segment(rebuilt(change)), Segment)
