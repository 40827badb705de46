"""What a machine's wakes say of the next one."""

from mcpctld.wake.learning import KEPT, LONGEST_S, UNKNOWN_S, WakeTimes


def test_nothing_is_known_before_the_first_wake() -> None:
    times = WakeTimes()
    assert (times.median_s, times.p90_s, times.lead_s, times.kept) == (None, None, UNKNOWN_S, [])


def test_the_median_shows_the_usual_and_the_lead_the_slow_ones() -> None:
    times = WakeTimes()
    for seconds in (2, 2, 2, 2, 2, 2, 2, 3, 9, 40):
        times.learn(seconds)
    assert (times.median_s, times.p90_s, times.lead_s) == (2, 9, 9)


def test_only_the_newest_count() -> None:
    times = WakeTimes([100.0] * KEPT)
    for _ in range(KEPT):
        times.learn(1.0)
    assert times.p90_s == 1.0
    assert len(times.kept) == KEPT
    assert len(WakeTimes(range(1000)).kept) == KEPT


def test_what_took_for_ever_was_no_wake() -> None:
    times = WakeTimes()
    times.learn(LONGEST_S + 1)
    times.learn(-1)
    assert times.kept == []
