"""`mcpctld.protocols.excerpt`: length and both ends of what is too long to keep."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.excerpt import EXCERPT_BYTES, Excerpt


def excerpt(*pieces: bytes) -> tuple[int, bytes, bytes]:
    kept = Excerpt()
    for piece in pieces:
        kept.add(piece)
    return kept.length, kept.head, kept.tail


NUMBERS = b"".join(b"%06d" % n for n in range(4000))


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 24000])
def test_both_ends_are_kept(length):
    data = NUMBERS[:length]
    assert excerpt(data) == (length, data[:EXCERPT_BYTES], data[-EXCERPT_BYTES:])


@given(st.lists(st.integers(0, 6000), max_size=6), st.booleans())
@settings(deadline=None)
def test_the_cuts_make_no_difference(sizes, mutable):
    pieces = []
    start = 0
    for size in sizes:
        pieces.append(NUMBERS[start : start + size])
        start += size
    given_pieces = [bytearray(piece) for piece in pieces] if mutable else pieces
    assert excerpt(*given_pieces) == excerpt(b"".join(pieces))


def test_what_was_given_may_change_afterwards():
    data = bytearray(b"abc" * 2000)
    kept = Excerpt()
    kept.add(data)
    data.clear()
    assert kept.head.startswith(b"abc")
    assert kept.tail.endswith(b"abc")
