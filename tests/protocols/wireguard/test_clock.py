"""`mcpctld.protocols.wireguard.clock`: time passes or stands still."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.clock import Clock


def test_time_is_the_callers():
    clock = Clock(100.0, 1e9)
    assert clock.advance(101.5) == 101.5
    assert clock.to_caller(200.0) == 200.0
    assert clock.unix_time == 1e9 + 1.5


def test_a_hair_back_is_no_time():
    clock = Clock(100.0, 1e9)
    assert clock.advance(160.0) == 160.0
    assert clock.advance(159.5) == 160.0
    assert clock.advance(160.5) == 161.0
    assert clock.to_caller(170.0) == 169.5


def test_a_step_back_is_a_sleep_that_no_session_outlives():
    clock = Clock(100.0, 1e9)
    assert clock.advance(160.0) == 160.0
    assert clock.advance(40.0) == 340.0
    assert clock.advance(45.0) == 345.0
    assert clock.to_caller(350.0) == 50.0
    assert clock.unix_time == 1e9 + 245


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_our_time_never_goes_back(steps):
    clock = Clock(0.0, 0.0)
    now, last = 0.0, 0.0
    for step in steps:
        now += step
        ours = clock.advance(now)
        assert ours >= last
        assert clock.to_caller(ours) == pytest.approx(now, abs=1e-3)
        last = ours


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e3))
def test_a_time_that_was_told_has_come_when_it_comes(start, back, ahead):
    """Though neither the step nor the sum can be written as a float: a driver that waits for it does not spin."""
    clock = Clock(start, 0.0)
    clock.advance(start - back)
    due = start + ahead
    assert clock.advance(clock.to_caller(due)) >= due
