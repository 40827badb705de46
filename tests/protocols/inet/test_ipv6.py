"""`mcpctld.protocols.inet.ipv6`: headers, and the way past extension headers."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import (
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    MAX_HEADERS,
    ROUTING,
    TCP,
    UDP,
    Packet,
    encode_packet,
    parse,
    parse_quoted,
)

OURS, THEIRS = bytes(range(16)), bytes(range(16, 32))
PADDING = b"\1\4\0\0\0\0"
TEXT = b"payload!"


def packet(protocol: int, payload: bytes) -> bytes:
    return encode_packet(THEIRS, OURS, protocol, payload)


def header(following: int, body: bytes = PADDING) -> bytes:
    assert len(body) % 8 == 6
    return bytes([following, (len(body) - 6) // 8]) + body


def fragment(following: int, offset_and_more: int) -> bytes:
    return struct.pack("!BBHI", following, 0, offset_and_more, 7)


def test_the_bytes_of_a_header():
    assert packet(TCP, b"abc").hex() == "6000000000030640" + THEIRS.hex() + OURS.hex() + "616263"


def test_it_shows_nothing_of_what_it_carries():
    assert repr(parse(packet(TCP, b"secret"))) == "<Packet of protocol 6, 6 bytes>"


def test_a_packet_without_extensions():
    read = parse(packet(UDP, TEXT))
    assert (read.source, read.destination) == (THEIRS, OURS)
    assert (read.protocol, read.payload) == (UDP, TEXT)


def test_traffic_class_and_flow_label_do_not_matter():
    data = bytes.fromhex("6fffffff") + packet(TCP, TEXT)[4:]
    assert parse(data).payload == TEXT


def test_padding_behind_the_end_is_cut_off():
    assert parse(packet(TCP, TEXT) + bytes(16)).payload == TEXT


PASSED = {
    "hop by hop": (HOP_BY_HOP, header(TCP)),
    "destination options": (DESTINATION_OPTIONS, header(TCP)),
    "single bytes of padding": (DESTINATION_OPTIONS, header(TCP, bytes(6))),
    "an option to be skipped": (DESTINATION_OPTIONS, header(TCP, b"\x1e\4\1\2\3\4")),
    "a router alert": (HOP_BY_HOP, header(TCP, b"\5\2\0\0\1\0")),
    "a longer one": (DESTINATION_OPTIONS, header(TCP, b"\1\x0c" + bytes(12))),
    "routing with nothing left": (ROUTING, header(TCP, b"\0\0" + bytes(4))),
    "a fragment that is whole": (FRAGMENT, fragment(TCP, 0)),
    "the order of the standard": (
        HOP_BY_HOP,
        header(DESTINATION_OPTIONS)
        + header(ROUTING)
        + header(FRAGMENT, b"\0\0" + bytes(4))
        + fragment(DESTINATION_OPTIONS, 6)
        + header(TCP),
    ),
}


@pytest.mark.parametrize(("first", "headers"), PASSED.values(), ids=PASSED)
def test_harmless_extension_headers_are_looked_through(first, headers):
    read = parse(packet(first, headers + TEXT))
    assert (read.protocol, read.payload) == (TCP, TEXT)


def test_what_is_carried_may_be_unknown():
    assert parse(packet(59, b"")).protocol == 59
    assert parse(packet(HOP_BY_HOP, header(132) + TEXT)).protocol == 132


OPTIONS, SHORT = Drop.EXTENSION_HEADERS, Drop.TRUNCATED
REFUSED = {
    "nothing": (b"", SHORT),
    "half a header": (packet(TCP, b"")[:39], SHORT),
    "version 4": (b"\x45" + packet(TCP, TEXT)[1:], Drop.NOT_IPV6),
    "the end missing": (packet(TCP, TEXT)[:-1], SHORT),
    "a first fragment": (packet(FRAGMENT, fragment(TCP, 1) + TEXT), Drop.FRAGMENT),
    "a later fragment": (packet(FRAGMENT, fragment(TCP, 8) + TEXT), Drop.FRAGMENT),
    "half a fragment header": (packet(FRAGMENT, fragment(TCP, 0)[:7]), SHORT),
    "half an extension": (packet(HOP_BY_HOP, b"\6\1" + bytes(6)), SHORT),
    "hop by hop in second place": (
        packet(DESTINATION_OPTIONS, header(HOP_BY_HOP) + header(TCP) + TEXT),
        OPTIONS,
    ),
    "somewhere to go yet": (packet(ROUTING, header(TCP, b"\0\1" + bytes(4)) + TEXT), OPTIONS),
    "an option that must be known": (
        packet(DESTINATION_OPTIONS, header(TCP, b"\xc2\4\0\1\0\0") + TEXT),
        OPTIONS,
    ),
    "an option beyond the end": (packet(HOP_BY_HOP, header(TCP, b"\1\x10" + bytes(4))), OPTIONS),
    "an option without a length": (packet(HOP_BY_HOP, header(TCP, bytes(5) + b"\1")), OPTIONS),
    "too many options": (packet(HOP_BY_HOP, header(TCP, b"\x1e\0" * 11)), OPTIONS),
    "too many headers": (
        packet(DESTINATION_OPTIONS, header(DESTINATION_OPTIONS) * MAX_HEADERS + header(TCP)),
        OPTIONS,
    ),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_the_rest_is_dropped(data, reason):
    with pytest.raises(Dropped) as dropped:
        parse(data)
    assert dropped.value.reason is reason


def test_a_quoted_packet_may_lack_its_end():
    assert parse_quoted(packet(TCP, TEXT)[:-1]).payload == TEXT[:-1]


def test_a_checksum_over_the_pseudo_header_is_verified():
    total = word_sum(TEXT) + pseudo_header_sum(THEIRS + OURS, len(TEXT) + 2, TCP)
    good = Packet(THEIRS + OURS, TCP, TEXT + checksum(total).to_bytes(2, "big"))
    good.verify()
    for bad in (
        Packet(THEIRS + OURS, UDP, good.payload),
        Packet(THEIRS + THEIRS, TCP, good.payload),
        Packet(THEIRS + OURS, TCP, good.payload[:-1]),
    ):
        with pytest.raises(Dropped, match="checksum"):
            bad.verify()


protocols = st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS, TCP, 59, 99])


@given(st.binary(max_size=120), protocols, st.binary(max_size=200))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_any_bytes_are_a_packet_or_are_dropped(noise, protocol, payload):
    for data in (noise, packet(protocol, payload)):
        with contextlib.suppress(Dropped):
            assert isinstance(parse(data), Packet)
