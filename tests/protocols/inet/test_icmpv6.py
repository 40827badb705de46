"""`mcpctld.protocols.inet.icmpv6`: echo and errors."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet import udp
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.icmpv6 import (
    PACKET_TOO_BIG,
    PARAMETER_PROBLEM,
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
    UNREACHABLE,
    Echo,
    Error,
    encode_echo,
    encode_error,
    is_unicast,
    may_be_answered,
)
from mcpctld.protocols.inet.icmpv6 import parse as parse_message
from mcpctld.protocols.inet.ipv6 import ICMPV6, TCP, UDP, Packet, encode_packet, parse

OURS, THEIRS = bytes.fromhex("fdaa" + "00" * 13 + "02"), bytes.fromhex("fdaa" + "00" * 13 + "03")
GROUP = bytes.fromhex("ff02" + "00" * 13 + "01")
ECHO = Echo(is_reply=False, identifier=0x1234, sequence=0x5678, data=b"abc")
DATAGRAM = udp.encode(OURS, THEIRS, (40000, 53), b"question")


@pytest.mark.parametrize("is_reply", [False, True])
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=1000))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_an_echo_arrives_as_it_was_sent(is_reply, identifier, sequence, data):
    echo = Echo(is_reply, identifier, sequence, data)
    assert parse_message(parse(encode_echo(OURS, THEIRS, echo))) == echo


def test_it_shows_nothing_of_its_data():
    assert repr(ECHO) == "<Echo request 4660/22136 of 3 bytes>"
    assert repr(Echo(True, 1, 2, b"secret")) == "<Echo reply 1/2 of 6 bytes>"


def test_the_bytes_of_an_echo_request():
    packet = encode_echo(OURS, THEIRS, ECHO)
    assert packet[6] == ICMPV6
    assert packet[40:42] == b"\x80\0"
    assert packet[44:] == bytes.fromhex("12345678") + b"abc"


def test_an_error_quotes_the_packet_that_caused_it():
    told = encode_error(THEIRS, UNREACHABLE, PORT_UNREACHABLE, 0, DATAGRAM)
    packet = parse(told)
    error = parse_message(packet)
    assert (packet.source, packet.destination) == (THEIRS, OURS)
    assert isinstance(error, Error)
    assert (error.kind, error.code, error.quoted_length) == (1, 4, len(DATAGRAM))
    assert error.quoted == parse(DATAGRAM)


def test_an_error_is_never_longer_than_every_path_carries():
    large = udp.encode(OURS, THEIRS, (40000, 53), bytes(1372))
    told = encode_error(THEIRS, PACKET_TOO_BIG, 0, 1300, large)
    assert len(told) == 1280
    error = parse_message(parse(told))
    assert isinstance(error, Error)
    assert (error.parameter, error.quoted_length) == (1300, 1420)
    assert len(error.quoted.payload) == 1280 - 48 - 40


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (UNREACHABLE, 0, "no route"),
        (UNREACHABLE, 4, "port unreachable"),
        (UNREACHABLE, 77, "unreachable, code 77"),
        (TIME_EXCEEDED, 0, "hop limit exceeded"),
        (PARAMETER_PROBLEM, 1, "packet refused"),
    ],
)
def test_an_error_has_words_for_users(kind, code, words):
    error = parse_message(parse(encode_error(THEIRS, kind, code, 0, DATAGRAM)))
    assert isinstance(error, Error)
    assert error.reason == words


def damaged() -> Packet:
    packet = bytearray(encode_echo(OURS, THEIRS, ECHO))
    packet[-1] ^= 1
    return parse(bytes(packet))


REFUSED = {
    "half a header": (lambda: Packet(OURS + THEIRS, ICMPV6, bytes(7)), Drop.TRUNCATED),
    "a flipped bit": (damaged, Drop.CHECKSUM),
    "of a neighbour": (
        lambda: parse(encode_error(THEIRS, 135, 0, 0, DATAGRAM)),
        Drop.UNKNOWN_PROTOCOL,
    ),
    "an unknown error": (
        lambda: parse(encode_error(THEIRS, 100, 0, 0, DATAGRAM)),
        Drop.UNKNOWN_PROTOCOL,
    ),
    "quoting nothing": (
        lambda: parse(encode_error(THEIRS, 1, 0, 0, bytes(8) + OURS)),
        Drop.TRUNCATED,
    ),
    "quoting no packet": (
        lambda: parse(encode_error(THEIRS, 1, 0, 0, bytes(8) + OURS + bytes(40))),
        Drop.NOT_IPV6,
    ),
}


@pytest.mark.parametrize(("made", "reason"), REFUSED.values(), ids=REFUSED)
def test_the_rest_is_dropped(made, reason):
    with pytest.raises(Dropped) as dropped:
        parse_message(made())
    assert dropped.value.reason is reason


@pytest.mark.parametrize(
    ("packet", "may"),
    [
        (parse(DATAGRAM), True),
        (parse(encode_packet(OURS, THEIRS, 99, b"")), True),
        (parse(encode_echo(OURS, THEIRS, ECHO)), True),
        (parse(encode_error(OURS, 1, 0, 0, udp.encode(THEIRS, OURS, (1, 2), b""))), False),
        (parse(encode_packet(OURS, GROUP, UDP, b"")), False),
        (parse(encode_packet(GROUP, THEIRS, TCP, b"")), False),
        (parse(encode_packet(bytes(16), THEIRS, TCP, b"")), False),
    ],
)
def test_errors_answer_neither_errors_nor_groups(packet, may):
    assert may_be_answered(packet) is may


def test_one_host_is_neither_a_group_nor_nobody():
    assert is_unicast(OURS)
    assert not is_unicast(GROUP)
    assert not is_unicast(bytes(16))


@given(st.integers(0, 255), st.binary(max_size=120))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_message_is_read_or_dropped(kind, body):
    packet = parse(encode_error(THEIRS, kind, 0, 0, bytes(8) + OURS + body))
    for read in (packet, Packet(packet.addresses, ICMPV6, body)):
        with contextlib.suppress(Dropped):
            assert isinstance(parse_message(read), Echo | Error)
