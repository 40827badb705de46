"""`mcpctld.protocols.inet.checksum`: sums of 16-bit words, against the plain way to say them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.inet.checksum import checksum, is_valid, pseudo_header_sum, word_sum


def plain_sum(data: bytes) -> int:
    """RFC 1071 §4.1, word by word."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_the_example_of_rfc_1071():
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert word_sum(data) == 0xDDF2
    assert checksum(word_sum(data)) == 0x220D


@given(st.binary(max_size=2000))
def test_it_is_the_sum_of_words_with_end_around_carry(data):
    assert word_sum(data) == plain_sum(data) % 0xFFFF
    assert word_sum(bytearray(data)) == word_sum(memoryview(data)) == word_sum(data)


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_what_carries_its_checksum_is_valid_and_one_flipped_bit_makes_it_not(data):
    whole = data + checksum(word_sum(data)).to_bytes(2, "big")
    assert is_valid(word_sum(whole))
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not is_valid(word_sum(flipped))


@pytest.mark.parametrize("total", [0, 1, 0xFFFE, 0xFFFF, 0x10000, 1 << 40])
def test_a_checksum_is_never_zero_which_would_mean_none(total):
    assert 1 <= checksum(total) <= 0xFFFF
    assert is_valid(total + checksum(total))


def test_the_pseudo_header_counts_addresses_length_and_protocol():
    addresses = bytes(range(32))
    header = addresses + struct.pack("!IHBB", 1234, 0, 0, 17)
    assert pseudo_header_sum(addresses, 1234, 17) % 0xFFFF == plain_sum(header) % 0xFFFF
