"""The checksum of IPv6's upper layers (RFC 1071, RFC 8200 §8.1).

A sum of 16-bit words with end-around carry is the number that the bytes spell, modulo 65535: 2**16 leaves 1. So one
conversion and one division do it, five times as fast as adding words, and fields that are known as numbers need not be
looked at as bytes: a number of any length stands for the sum of its words.
"""

import functools

MODULUS = 0xFFFF


def word_sum(data: bytes | bytearray | memoryview) -> int:
    """The sum of the 16-bit words of `data`, modulo 65535; an odd byte at the end is the upper half of a word."""
    number = int.from_bytes(data, "big")
    return (number << 8 if len(data) & 1 else number) % MODULUS


def pseudo_header_sum(addresses: bytes, length: int, protocol: int) -> int:
    """The sum over the pseudo-header (RFC 8200 §8.1); `addresses` are source and destination in either order."""
    return _address_sum(addresses) + length + protocol


@functools.lru_cache(maxsize=256)
def _address_sum(addresses: bytes) -> int:
    return word_sum(addresses)  # all packets of a connection have the same


def checksum(total: int) -> int:
    """What makes `total` a sum of zero. Never 0, which UDP takes for none (RFC 8200 §8.1)."""
    return MODULUS - total % MODULUS


def is_valid(total: int) -> bool:
    """Whether a sum that includes the checksum is right."""
    return total % MODULUS == 0
