"""How long to wait for an acknowledgement (RFC 6298). All times in seconds."""

INITIAL_S = 1.0
MAX_S = 60.0
MIN_S = 0.2
"""Less than the second of RFC 6298 §2.4, as in all systems of today: it is above the 200 ms by which peers delay ACKs
only together with the variance, which is why that counts at least `GRANULARITY_S`."""
GRANULARITY_S = 0.01
AFTER_LOST_SYN_S = 3.0
"""RFC 6298 §5.7."""

_ALPHA = 1 / 8
_BETA = 1 / 4
_MAX_BACKOFF = 16


class RetransmissionTimeout:
    """An estimate of the round trip, and the timeout that follows from it."""

    __slots__ = ("_backoff", "_base", "srtt", "variance")

    def __init__(self) -> None:
        self.srtt: float | None = None
        """The smoothed round trip; None before the first sample."""
        self.variance = 0.0
        self._base = INITIAL_S
        self._backoff = 0

    @property
    def timeout(self) -> float:
        """The timeout now, backed off."""
        return min(MAX_S, self._base * (1 << self._backoff))

    @property
    def backoff(self) -> int:
        """How many times in a row it has run out."""
        return self._backoff

    def sample(self, rtt: float) -> None:
        """A segment that was sent once has been acknowledged after this time (Karn's rule, §3).

        What was sent twice does not tell how long the way is.
        """
        self._backoff = 0
        if self.srtt is None:
            self.srtt = rtt
            self.variance = rtt / 2
        else:
            self.variance += _BETA * (abs(self.srtt - rtt) - self.variance)
            self.srtt += _ALPHA * (rtt - self.srtt)
        self._base = max(MIN_S, self.srtt + max(GRANULARITY_S, 4 * self.variance))

    def back_off(self) -> None:
        """It has run out (§5.5)."""
        self._backoff = min(self._backoff + 1, _MAX_BACKOFF)

    def forgive(self) -> None:
        """Something arrived, though not at the first attempt: the way is there, what was sent was lost."""
        self._backoff = 0

    def lose_syn(self) -> None:
        """The SYN had to be sent again, so the first guess was too short (§5.7)."""
        self._base = max(self._base, AFTER_LOST_SYN_S)
