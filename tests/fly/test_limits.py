"""Fly's rate limits are never exceeded, in no stretch of time, whatever is asked when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.fly.limits import FORGET_EVERY, RATES, USUAL, Limits

GAPS = st.lists(st.floats(0, 5) | st.just(0.0), min_size=1, max_size=40)


@pytest.mark.parametrize("action", ["machine.start", "machine.get", "app.delete"])
@given(gaps=GAPS, refused=st.sets(st.integers(0, 39), max_size=3))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_no_window_holds_more_than_its_share(action, gaps, refused):
    """One caller after another, each of whom waits as he was told."""
    rate, limits = RATES.get(action, USUAL), Limits()
    now, sent = 0.0, []
    for number, gap in enumerate(gaps):
        now += gap
        sent.append(now + limits.reserve(action, "m", now))
        if number in refused:
            limits.hold(action, "m", now + 3)
    for first, start in enumerate(sent):
        for last in range(first, len(sent)):
            window = sent[last] - start
            assert last - first + 1 <= rate.burst + window * rate.per_s + 1e-6


def test_a_burst_is_free_and_then_each_waits_its_turn():
    limits = Limits()
    assert [limits.reserve("machine.start", "m", 10.0) for _ in range(5)] == [0, 0, 0, 1, 2]
    assert [limits.reserve("machine.get", "m", 10.0) for _ in range(11)] == [0] * 10 + [
        pytest.approx(0.2)
    ]
    assert limits.reserve("machine.start", "other", 10.0) == 0


def test_a_budget_comes_back():
    limits = Limits()
    for _ in range(3):
        limits.reserve("x", "m", 0.0)
    assert limits.free_at("x", "m", 0.0) == 1.0
    assert limits.reserve("x", "m", 1.0) == 0
    assert limits.free_at("x", "m", 100.0) == 100.0
    assert [limits.reserve("x", "m", 100.0) for _ in range(4)] == [0, 0, 0, 1]


def test_a_refusal_for_the_rate_empties_it():
    limits = Limits()
    limits.hold("x", "m", 5.0)
    assert limits.free_at("x", "m", 0.0) == 5.0
    assert [limits.reserve("x", "m", 0.0) for _ in range(2)] == [5.0, 6.0]
    limits.hold("x", "m", 1.0)  # an older one takes nothing back
    assert limits.reserve("x", "m", 0.0) == 7.0


def test_what_is_full_again_is_forgotten():
    limits = Limits()
    for number in range(FORGET_EVERY):
        limits.reserve("x", str(number), 0.0)
    limits.reserve("x", "late", 0.5)
    assert len(limits) == FORGET_EVERY + 1
    limits.reserve("x", "later", 100.0)
    assert len(limits) == 1
