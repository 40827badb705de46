"""Which failed request to Fly may be made again, and when. Pure.

What was refused for its rate, or never left us, was not acted on and may always be repeated. After anything else Fly
may have done it all the same: only what changes nothing by being done twice is made again. A machine or a volume would
be made twice, so who makes one looks first whether it is there.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mcpctld.fly.errors import Reason

MOST = 4
"""How often a request is made at most, the first time counted."""
MOST_LIMITED = 8
"""The same after refusals for the rate."""
FIRST_S = 0.25
LONGEST_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""RFC 9110 §9.2.2"""
_UNSURE = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Failure:
    """How one request ended. `sent` is false when it provably never reached Fly; without an answer `status` is None."""

    reason: Reason
    status: int | None
    sent: bool = True
    retry_after_s: float | None = None


def wait_before_next(
    failure: Failure, *, repeatable: bool, attempt: int, jitter: float
) -> float | None:
    """Seconds to wait before request number `attempt` + 1; None when it is not to be made.

    `repeatable` says that doing it twice is the same as once. `jitter` is a random number from 0 to 1.
    """
    limited = failure.reason is Reason.RATE_LIMITED
    if attempt >= (MOST_LIMITED if limited else MOST) or not _may(failure, repeatable):
        return None
    if failure.retry_after_s is not None:
        asked = failure.retry_after_s
        return None if asked > LONGEST_RETRY_AFTER_S else asked + jitter * FIRST_S
    longest = min(LONGEST_S, FIRST_S * float(2**attempt) * (2 if limited else 1))
    return longest / 2 + longest / 2 * jitter


def _may(failure: Failure, repeatable: bool) -> bool:
    if failure.reason is Reason.RATE_LIMITED or not failure.sent:
        return True
    if failure.reason is Reason.INSUFFICIENT_CAPACITY or not repeatable:
        return False
    return failure.status is None or failure.status in _UNSURE


def read_retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` asks for (RFC 9110 §10.2.3); `now` is Unix time. None when it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
