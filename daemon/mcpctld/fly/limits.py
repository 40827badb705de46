"""Fly's rate limits, kept on our side: each action on each thing has a budget of its own.

Fly allows one request a second in bursts of three; reading a machine five a second in bursts of ten; deletions of apps
100 a minute. Pure: time is an argument, in seconds of any steady clock.
"""

from dataclasses import dataclass

FORGET_EVERY = 1024
"""How many keys are kept before those whose budget is full again are dropped."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second, so many at once."""

    per_s: float
    burst: int


USUAL = Rate(1.0, 3)
RATES = {"machine.get": Rate(5.0, 10), "app.delete": Rate(100 / 60, 3)}
"""By action. What is not here has the usual rate."""


class Limits:
    """When the next request of each kind may go out (the generic cell rate algorithm).

    In any stretch of `t` seconds at most `burst + t * per_s` requests of one action and identifier go out.
    """

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def reserve(self, action: str, identifier: str, now: float) -> float:
        """Take the next place in the row: how many seconds to wait before the request may be sent."""
        rate = RATES.get(action, USUAL)
        period = 1 / rate.per_s
        due = max(self._due.get((action, identifier), now), now)
        if len(self._due) >= FORGET_EVERY:
            self._forget(now)
        self._due[action, identifier] = due + period
        return max(0.0, due - now - (rate.burst - 1) * period)

    def hold(self, action: str, identifier: str, until: float) -> None:
        """Fly has refused for its rate: the budget is used up, and the next request goes out at `until` or later."""
        rate = RATES.get(action, USUAL)
        due = until + (rate.burst - 1) / rate.per_s
        self._due[action, identifier] = max(due, self._due.get((action, identifier), due))

    def free_at(self, action: str, identifier: str, now: float) -> float:
        """When a request could go out at once, if no other one takes the place first."""
        rate = RATES.get(action, USUAL)
        due = self._due.get((action, identifier), now)
        return max(now, due - (rate.burst - 1) / rate.per_s)

    def _forget(self, now: float) -> None:
        self._due = {key: due for key, due in self._due.items() if due > now}
