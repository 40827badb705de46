"""Machine-seconds: every awake second is charged once, to somebody, on its day."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wake.ledger import DAY_S, KEPT_DAYS, UNKNOWN, Account, Ledger


def test_each_slice_goes_to_who_needed_it() -> None:
    ledger = Ledger()
    ledger.charge("s", 90, "editor")  # asleep still: nothing to charge
    ledger.up("s", 100)
    ledger.charge("s", 160, "schedule")
    ledger.charge("s", 170, "editor")
    ledger.down("s", 200)
    ledger.settle(1000)
    assert ledger.spent("s") == {"editor": 90, "schedule": 10}


def test_who_keeps_it_awake_without_our_asking_is_unknown() -> None:
    ledger = Ledger()
    ledger.up("s", 0)
    ledger.down("s", 5)
    assert ledger.spent("s") == {UNKNOWN: 5}


def test_days_are_kept_apart() -> None:
    ledger = Ledger()
    ledger.charge("s", 0, "a")
    ledger.up("s", DAY_S - 10)
    ledger.down("s", 2 * DAY_S + 20)
    assert ledger.accounts["s"].days == {0: {"a": 10}, 1: {"a": DAY_S}, 2: {"a": 20}}
    assert ledger.spent("s", first_day=1) == {"a": DAY_S + 20}
    assert ledger.spent("other") == {}


def test_old_days_are_dropped() -> None:
    ledger = Ledger()
    ledger.up("s", 0)
    ledger.settle((KEPT_DAYS + 10) * DAY_S)
    assert sorted(ledger.accounts["s"].days) == list(range(10, KEPT_DAYS + 10))


def test_another_daemon_goes_on_and_blames_nobody_for_the_gap() -> None:
    ledger = Ledger()
    ledger.charge("s", 0, "editor")
    ledger.up("s", 0)
    ledger.settle(10)
    stored = msgspec.json.encode(ledger.accounts)
    after = Ledger(msgspec.json.decode(stored, type=dict[str, Account]))
    after.settle(29)
    assert after.spent("s") == {"editor": 10}  # nothing is charged on a guess
    after.up("s", 30, started_at=0)  # awake all the time, as it turns out
    after.charge("s", 40, "editor")
    after.down("s", 45)
    assert after.spent("s") == {"editor": 15, UNKNOWN: 30}


@pytest.mark.parametrize("started_at", [None, 25.0])
def test_a_gap_of_which_nothing_is_known_is_not_charged(started_at: float | None) -> None:
    after = Ledger({"s": Account(since=10.0)})
    after.up("s", 30, started_at)
    after.down("s", 31)
    assert after.spent("s") == {UNKNOWN: 1}


def test_what_turns_out_to_sleep_was_not_awake_for_anybody() -> None:
    after = Ledger({"s": Account(since=10.0)})
    after.down("s", 30)
    assert (after.spent("s"), after.doubts) == ({}, {})


steps = st.lists(
    st.tuples(
        st.sampled_from(["up", "down", "a", "b", "settle"]),
        st.floats(0, 3 * DAY_S, allow_nan=False),
    ),
    max_size=40,
)


@settings(deadline=None, derandomize=True)
@given(steps)
def test_the_sum_is_the_time_awake(steps: list[tuple[str, float]]) -> None:
    ledger, now, since, awake = Ledger(), 0.0, None, 0.0
    for step, pause in steps:
        now += pause
        match step:
            case "up":
                ledger.up("s", now)
                since = now if since is None else since
            case "down":
                ledger.down("s", now)
                awake += now - since if since is not None else 0.0
                since = None
            case "settle":
                ledger.settle(now)
            case who:
                ledger.charge("s", now, who)
    ledger.settle(now)
    awake += now - since if since is not None else 0.0
    if now < KEPT_DAYS * DAY_S:
        assert sum(ledger.spent("s").values()) == pytest.approx(awake)
