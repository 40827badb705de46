"""Which requests are made again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.fly.errors import Reason
from mcpctld.fly.retries import (
    LONGEST_S,
    MOST,
    MOST_LIMITED,
    Failure,
    read_retry_after,
    wait_before_next,
)

R = Reason


@pytest.mark.parametrize(
    ("failure", "twice", "once"),
    [  # whether it is made again if it is repeatable, and if it is not
        (Failure(R.RATE_LIMITED, 429), True, True),
        (Failure(R.UNREACHABLE, None, sent=False), True, True),
        (Failure(R.UNREACHABLE, None), True, False),
        (Failure(R.TIMED_OUT, None), True, False),
        (Failure(R.UNAVAILABLE, 502), True, False),
        (Failure(R.UNAVAILABLE, 503), True, False),
        (Failure(R.UNAVAILABLE, 504), True, False),
        (Failure(R.UNAVAILABLE, 500), False, False),
        (Failure(R.INSUFFICIENT_CAPACITY, 503), False, False),
        (Failure(R.TIMED_OUT, 408), False, False),
        (Failure(R.DENIED, 401), False, False),
        (Failure(R.PRECONDITION, 412), False, False),
        (Failure(R.LEASE_HELD, 409), False, False),
    ],
)
def test_what_is_made_again(failure, twice, once):
    for repeatable, expected in ((True, twice), (False, once)):
        wait_s = wait_before_next(failure, repeatable=repeatable, attempt=1, jitter=0.5)
        assert (wait_s is not None) is expected


@given(st.floats(0, 1), st.booleans())
@settings(deadline=None, derandomize=True)
def test_it_ends_and_waits_longer_each_time(jitter, limited):
    failure = Failure(R.RATE_LIMITED, 429) if limited else Failure(R.UNAVAILABLE, 503)
    waits = []
    while (wait_s := wait_before_next(
        failure, repeatable=True, attempt=len(waits) + 1, jitter=jitter
    )) is not None:  # fmt: skip
        waits.append(wait_s)
    assert len(waits) + 1 == (MOST_LIMITED if limited else MOST)
    assert waits == sorted(waits)
    assert all(0 < wait_s <= LONGEST_S for wait_s in waits)


def test_what_fly_asks_to_wait_is_waited():
    def wait_s(asked: float) -> float | None:
        failure = Failure(R.RATE_LIMITED, 429, retry_after_s=asked)
        return wait_before_next(failure, repeatable=False, attempt=1, jitter=0.0)

    assert wait_s(7.0) == 7.0
    assert wait_s(0.0) == 0.0
    assert wait_s(3600.0) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("3", 3.0),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("-1", None),
        ("1.5", None),
        ("\N{ARABIC-INDIC DIGIT THREE}", None),
        ("99999999999999999999", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
    ],
)
def test_retry_after(value, expected):
    assert read_retry_after(value, now=60.0) == expected
