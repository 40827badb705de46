"""`mcpctld.protocols.inet.ports`: numbers that cannot be guessed."""

import itertools

import pytest

from mcpctld.protocols.inet.ports import (
    ATTEMPTS,
    FIRST_PORT,
    OutOfPorts,
    SequenceNumbers,
    choose_port,
    endpoint_key,
)
from netsim.network import entropy


def test_ports_are_spread_over_the_upper_half():
    draw = entropy(1)
    chosen = [choose_port(draw, lambda _: True) for _ in range(4000)]
    assert all(FIRST_PORT <= port <= 0xFFFF for port in chosen)
    assert len(set(chosen)) > 3700
    eighths = [sum(port >> 12 == eighth for port in chosen) for eighth in range(8, 16)]
    assert min(eighths) > 400


def test_a_port_in_use_is_passed_over():
    drawn = iter([b"\0\1", b"\0\1", b"\0\2"])
    assert choose_port(lambda _: next(drawn), lambda port: port != FIRST_PORT + 1) == FIRST_PORT + 2


def test_where_none_is_free_it_ends():
    tried = []
    with pytest.raises(OutOfPorts, match="no free port"):
        choose_port(entropy(1), lambda port: bool(tried.append(port)))
    assert len(tried) == ATTEMPTS


def test_a_key_is_what_a_packet_from_the_peer_shows():
    assert endpoint_key(bytes(16), 0x1234, 0x5678) == bytes(16) + b"\x12\x34\x56\x78"


def test_numbers_of_one_pair_of_endpoints_grow_with_time():
    numbers = SequenceNumbers(entropy(1))
    series = [numbers.initial(b"a", now / 10) for now in range(100)]
    steps = {(b - a) % 2**32 for a, b in itertools.pairwise(series)}
    assert steps <= {24_999, 25_000, 25_001}  # RFC 9293 §3.4.1: once in 4 microseconds


def test_numbers_tell_nothing_of_those_of_others_nor_of_another_secret():
    numbers, others = SequenceNumbers(entropy(1)), SequenceNumbers(entropy(2))
    found = {numbers.initial(b"%d" % n, 7.0) for n in range(500)}
    assert len(found) == 500
    assert not found & {others.initial(b"%d" % n, 7.0) for n in range(500)}
    assert sum(number >> 31 for number in found) in range(200, 300)
