"""`mcpctld.protocols.inet.tcp.sequence`: numbers that wrap on the wire only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.inet.tcp.sequence import MASK, unwrap


@pytest.mark.parametrize(
    ("number", "near", "unwrapped"),
    [
        (5, 0, 5),
        (0, 5, 0),
        (0, MASK, MASK + 1),
        (MASK, MASK + 10, MASK),
        (MASK, 3, -1),
        (7, 5 << 32, (5 << 32) + 7),
        (MASK, 5 << 32, (5 << 32) - 1),
    ],
)
def test_the_nearest_number_is_meant(number, near, unwrapped):
    assert unwrap(number, near) == unwrapped


@given(st.integers(0, 1 << 40), st.integers(-(2**31), 2**31 - 1))
def test_within_half_the_space_nothing_is_lost(near, distance):
    assert unwrap((near + distance) & MASK, near) == near + distance
