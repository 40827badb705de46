"""`mcpctld.protocols.wireguard.tai64n`: whatever the clock does, each timestamp is later than the last."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.tai64n import SIZE, ZERO, Timestamps, encode

GRAIN = 2**24 / 1e9


def test_an_instant():
    """A capture published with Wireshark's dissector has the timestamp of 2 March 2018, 13:10:58 UTC."""
    captured = bytes.fromhex("400000005a994d2c3b389469")
    assert encode(1519996194.9939)[:8] == captured[:8]
    assert encode(0.0).hex() == "400000000000000a" + "00000000"


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 1e11), st.floats(0, 1e11))
def test_timestamps_compare_as_their_instants(one, other):
    if one + GRAIN < other:
        assert encode(one) < encode(other)
    assert len(encode(one)) == SIZE


def test_what_is_finer_than_17_ms_is_not_told():
    assert len({encode(1.7e9 + milliseconds / 1000) for milliseconds in range(1000)}) in (60, 61)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=50))
def test_they_never_go_back(clock):
    timestamps = Timestamps()
    given_ = [timestamps.next(unix_time) for unix_time in clock]
    assert given_ == sorted(set(given_))


def test_they_never_go_back_over_a_restart():
    before = Timestamps()
    before.next(2e9)
    after = Timestamps(before.last)
    assert before.last < after.next(1e9) < after.next(1e9)
    assert after.next(3e9) == encode(3e9)


def test_they_are_those_of_the_clock_where_that_is_later():
    timestamps = Timestamps()
    assert timestamps.next(1.5e9) == encode(1.5e9)
    assert timestamps.next(1.6e9) == encode(1.6e9)


def test_a_carry():
    timestamps = Timestamps(encode(0.0)[:8] + (10**9 - 1).to_bytes(4, "big"))
    stepped = timestamps.next(0.0)
    assert stepped[:8] == encode(1.0)[:8]
    assert int.from_bytes(stepped[8:], "big") < 2**24


@pytest.mark.parametrize("last", [b"", bytes(11), bytes(13)])
def test_a_timestamp_has_12_bytes(last):
    with pytest.raises(ValueError, match="12 bytes"):
        Timestamps(last)


def test_the_end_of_time_is_no_error():
    timestamps = Timestamps(b"\xff" * 12)
    assert len(timestamps.next(0.0)) == SIZE
    assert Timestamps().last == ZERO
