"""The hours of `wake_at`: when each comes next, by the clock of this computer.

An hour that the change to summer time leaves out comes as much later as the clock was put forward; one that comes
twice counts the first time (PEP 495, `fold=0`). So each day has it once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Hour:
    """One entry: on which days of the week (Monday is 0), at which time of day."""

    days: frozenset[int]
    hour: int
    minute: int


def parse(text: str) -> Hour:
    """`09:00`, `Mon-Fri 08:50` or `Sat,Mon-Wed 10:00`. `config.check` has seen to the form.

    A range may pass the end of the week: `Fri-Mon`.
    """
    days, _, time = text.rpartition(" ")
    hour, minute = time.split(":")
    return Hour(_days(days) if days else frozenset(range(7)), int(hour), int(minute))


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def next_after(hours: Iterable[Hour], now: float, zone: tzinfo | None = None) -> float | None:
    """The Unix time at which the first of `hours` comes after `now` (Unix time); None without hours.

    `zone` is that of the clock, None for the system's.
    """
    return min((_next(hour, now, zone) for hour in hours), default=None)


def _next(hour: Hour, now: float, zone: tzinfo | None) -> float:
    day = datetime.fromtimestamp(now, zone).replace(tzinfo=None) - timedelta(days=1)
    while True:
        if day.weekday() in hour.days:
            at = day.replace(hour=hour.hour, minute=hour.minute, second=0, microsecond=0, fold=0)
            time = at.replace(tzinfo=zone).timestamp()
            if time > now:
                return time
        day += timedelta(days=1)
