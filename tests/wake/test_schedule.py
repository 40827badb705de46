"""The hours of `wake_at`: what they mean, and the two days a year on which clocks jump."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.config.check import _WAKE_TIME
from mcpctld.wake.schedule import DAYS, Hour, next_after, parse

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of summer time


def unix(text: str, zone: ZoneInfo) -> float:
    """Local time with its offset, or without where there is no doubt."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "days", "hour", "minute"),
    [
        ("09:00", {0, 1, 2, 3, 4, 5, 6}, 9, 0),
        ("Mon-Fri 08:50", {0, 1, 2, 3, 4}, 8, 50),
        ("Sat 23:59", {5}, 23, 59),
        ("Mon,Wed 00:00", {0, 2}, 0, 0),
        ("Fri-Mon 10:00", {4, 5, 6, 0}, 10, 0),
        ("Sat,Mon-Tue 10:05", {5, 0, 1}, 10, 5),
        ("Sun-Sun 10:05", {6}, 10, 5),
    ],
)
def test_what_an_entry_means(text: str, days: set[int], hour: int, minute: int) -> None:
    assert parse(text) == Hour(frozenset(days), hour, minute)


@pytest.mark.parametrize(
    ("hours", "zone", "now", "due"),
    [
        # plain days
        (["09:00"], BERLIN, "2026-11-28T08:59:59", "2026-11-28T09:00:00"),
        (["09:00"], BERLIN, "2026-11-28T09:00:00", "2026-11-29T09:00:00"),
        (["Mon-Fri 08:50"], BERLIN, "2026-11-27T09:00:00", "2026-11-30T08:50:00"),
        (["Mon-Fri 08:50", "Sat 12:00"], BERLIN, "2026-11-27T09:00:00", "2026-11-28T12:00:00"),
        (["Sun 00:00"], NEW_YORK, "2026-12-31T23:00:00", "2027-01-03T00:00:00"),
        (["Thu 00:05"], NEW_YORK, "2026-12-31T00:05:00", "2027-01-07T00:05:00"),
        # 02:00 -> 03:00 on 2026-03-29: 02:30 does not exist, and comes an hour later
        (["02:30"], BERLIN, "2026-03-29T01:59:00", "2026-03-29T03:30:00"),
        (["02:30"], BERLIN, "2026-03-29T03:30:00", "2026-03-30T02:30:00"),
        (["09:00"], BERLIN, "2026-03-28T09:00:00", "2026-03-29T09:00:00"),
        # 03:00 -> 02:00 on 2026-10-25: 02:30 comes twice, and counts the first time
        (["02:30"], BERLIN, "2026-10-25T01:00:00", "2026-10-25T02:30:00+02:00"),
        (["02:30"], BERLIN, "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00"),
        (["02:30"], BERLIN, "2026-10-25T02:15:00+01:00", "2026-10-26T02:30:00"),
        (["09:00"], BERLIN, "2026-10-24T09:00:00", "2026-10-25T09:00:00"),
        # half an hour: 02:00 -> 02:30 on 2026-10-04
        (["02:15"], LORD_HOWE, "2026-10-04T01:59:00", "2026-10-04T02:45:00"),
        # behind Greenwich, just after midnight of the day clocks go forward
        (["Sun 00:30"], NEW_YORK, "2026-03-08T00:10:00", "2026-03-08T00:30:00"),
    ],
)  # fmt: skip
def test_when_it_comes_next(hours: list[str], zone: ZoneInfo, now: str, due: str) -> None:
    found = next_after([parse(text) for text in hours], unix(now, zone), zone)
    assert found == unix(due, zone)


def test_without_hours_there_is_none() -> None:
    assert next_after([], 0.0) is None


def test_the_clock_of_the_system_is_the_default() -> None:
    now = datetime(2026, 11, 28, 8, 0).timestamp()
    assert next_after([parse("09:00")], now) == datetime(2026, 11, 28, 9, 0).timestamp()


days = st.lists(st.sampled_from(DAYS), min_size=1, max_size=3).map(",".join)
times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map("{0[0]:02}:{0[1]:02}".format)
entries = st.one_of(times, st.builds("{} {}".format, days, times))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    entry=entries,
    now=st.integers(1_700_000_000, 2_000_000_000),
    zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]),
)
def test_each_chosen_day_has_it_exactly_once(entry: str, now: int, zone: ZoneInfo) -> None:
    """Walking from hour to hour for three weeks meets each chosen date once, in order, at that time or a jump later."""
    assert _WAKE_TIME.fullmatch(entry)  # what the configuration lets through is what is parsed here
    hour = parse(entry)
    at, dates = float(now), []
    while at < now + 21 * 86400:
        due = next_after([hour], at, zone)
        assert due is not None
        assert at < due <= at + 8 * 86400
        local = datetime.fromtimestamp(due, zone)
        assert local.weekday() in hour.days
        late = (local.hour * 60 + local.minute) - (hour.hour * 60 + hour.minute)
        assert late in (0, 30, 60)
        dates.append(local.date())
        at = due
    assert dates == sorted(set(dates))
    between = (dates[-1] - dates[0]).days
    expected = sum(
        (dates[0].toordinal() + 6 + step) % 7 in hour.days for step in range(between + 1)
    )
    assert len(dates) == expected
