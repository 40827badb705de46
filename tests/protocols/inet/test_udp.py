"""`mcpctld.protocols.inet.udp`: datagrams."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import UDP, Packet, parse
from mcpctld.protocols.inet.udp import Datagram, encode
from mcpctld.protocols.inet.udp import parse as parse_datagram

OURS, THEIRS = bytes.fromhex("fdaa" + "00" * 13 + "02"), bytes.fromhex("fdaa" + "00" * 13 + "03")


def test_the_bytes_of_a_datagram():
    packet = encode(OURS, THEIRS, (40000, 53), b"abc")
    assert packet[:8].hex() == "60000000000b1140"
    assert packet[8:40] == OURS + THEIRS
    assert packet[40:46].hex() == "9c400035000b"
    assert packet[48:] == b"abc"


@given(st.binary(max_size=1200), st.integers(1, 0xFFFF), st.integers(1, 0xFFFF))
@settings(deadline=None, derandomize=True)
def test_what_is_sent_arrives(data, ours, theirs):
    datagram = parse_datagram(parse(encode(OURS, THEIRS, (ours, theirs), data)))
    assert datagram == Datagram(OURS, ours, theirs, data)


def change(at: int, value: int) -> Packet:
    packet = bytearray(encode(OURS, THEIRS, (40000, 53), b"abc"))
    packet[at] = value
    return parse(bytes(packet))


REFUSED = {
    "a flipped bit": (lambda: change(48, 0), Drop.CHECKSUM),
    "another length": (lambda: change(45, 9), Drop.MALFORMED),
    "no port of theirs": (lambda: parse(encode(OURS, THEIRS, (0, 53), b"abc")), Drop.MALFORMED),
    "no port of ours": (lambda: parse(encode(OURS, THEIRS, (53, 0), b"abc")), Drop.MALFORMED),
    "half a header": (lambda: Packet(OURS + THEIRS, UDP, b"1234567"), Drop.TRUNCATED),
    "no checksum": (
        lambda: Packet(OURS + THEIRS, UDP, b"\x9c\x40\x00\x35\x00\x08\x00\x00"),
        Drop.MALFORMED,
    ),
}


@pytest.mark.parametrize(("made", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_datagram_is_dropped(made, reason):
    with pytest.raises(Dropped) as dropped:
        parse_datagram(made())
    assert dropped.value.reason is reason


def test_it_shows_nothing_of_its_data():
    assert repr(Datagram(OURS, 1, 2, b"secret")) == "<Datagram 1 → 2 of 6 bytes>"
