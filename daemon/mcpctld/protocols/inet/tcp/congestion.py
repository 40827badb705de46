"""How much may be in flight: slow start, and CUBIC from there on (RFC 9438); what RFC 5681 says of idle times.

Sizes are in bytes on the outside and in segments in the formulas, as in the document.
"""

import math

INITIAL_SEGMENTS = 10
"""RFC 6928."""
MIN_SEGMENTS = 2
_C = 0.4
_BETA = 0.7
_ALPHA = 3 * (1 - _BETA) / (1 + _BETA)
"""How much is added a round trip to be as fast as Reno, with this beta (§4.3)."""
_RISE = 1.5
"""The most by which a round trip may raise the window (§4.2)."""


class Cubic:
    """The congestion window, and what it is to become."""

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = float(INITIAL_SEGMENTS * mss)
        self.ssthresh = math.inf
        self._w_max = 0.0  # segments, as all below
        self._epoch: float | None = None  # when this stage of congestion avoidance began
        self._k = 0.0
        self._w_est = 0.0
        self._cwnd_prior = 0.0
        self._undo: tuple[float, float, float] | None = None

    def set_mss(self, mss: int) -> None:
        """Segments are of another size; the window keeps its bytes, but holds one segment at least."""
        self.mss = mss
        self.cwnd = max(self.cwnd, float(mss))

    def begin_carefully(self) -> None:
        """The SYN was lost more than once (RFC 6928 §2): start with one segment."""
        self.cwnd = float(self.mss)

    def receive_ack(self, acked: int, now: float, srtt: float) -> None:
        """So many bytes have been acknowledged while the window was used up."""
        if self.cwnd < self.ssthresh:
            self.cwnd += acked
            return
        cwnd, acked_segments = self.cwnd / self.mss, acked / self.mss
        if self._epoch is None:
            self._begin_epoch(cwnd, now)
        t = now - (self._epoch or 0.0)
        alpha = 1.0 if self._w_est >= self._cwnd_prior else _ALPHA
        self._w_est += alpha * acked_segments / cwnd
        if self._w_cubic(t) < self._w_est:
            cwnd = max(cwnd, self._w_est)
        else:
            target = min(max(self._w_cubic(t + srtt), cwnd), _RISE * cwnd)
            cwnd += (target - cwnd) / cwnd * acked_segments
        self.cwnd = cwnd * self.mss

    def pause(self) -> None:
        """The window was not used up: time that goes by so does not count (§5.8)."""
        self._epoch = None

    def restart(self) -> None:
        """Nothing was sent for longer than the timeout: begin as a new connection would (RFC 5681 §4.1)."""
        self.cwnd = min(self.cwnd, float(INITIAL_SEGMENTS * self.mss))
        self._epoch = None

    def reduce(self, in_flight: int) -> None:
        """Something was lost (§4.6). `cwnd` is to come down to `ssthresh` by and by."""
        cwnd = self.cwnd / self.mss
        self._undo = self.cwnd, self.ssthresh, self._w_max
        # §4.7: who comes down a second time makes room for others.
        self._w_max = cwnd * (1 + _BETA) / 2 if cwnd < self._w_max else cwnd
        self._cwnd_prior = cwnd
        self.ssthresh = max(in_flight * _BETA, float(MIN_SEGMENTS * self.mss))
        self._epoch = None

    def time_out(self, in_flight: int, *, again: bool) -> None:
        """The retransmission timer has run out (§4.8). `again`: for the same text as before (RFC 5681 §3.1)."""
        if not again:
            self.reduce(in_flight)
        self.cwnd = float(self.mss)

    def undo(self) -> None:
        """Nothing was lost after all (§4.9)."""
        if self._undo is not None:
            cwnd, ssthresh, self._w_max = self._undo
            self.cwnd = max(self.cwnd, cwnd)
            self.ssthresh = max(self.ssthresh, ssthresh)
            self._epoch = None
            self._undo = None

    def _begin_epoch(self, cwnd: float, now: float) -> None:
        self._epoch = now
        self._w_est = cwnd
        self._w_max = max(self._w_max, cwnd)
        self._k = ((self._w_max - cwnd) / _C) ** (1 / 3)

    def _w_cubic(self, t: float) -> float:
        return float(_C * (t - self._k) ** 3 + self._w_max)


class Prr:
    """Proportional rate reduction: while a loss is repaired, send in step with what arrives (RFC 6937 §3)."""

    def __init__(self, flight: int, ssthresh: float, mss: int) -> None:
        self._flight = max(flight, 1)
        self._ssthresh = ssthresh
        self._mss = mss
        self._delivered = 0
        self._out = 0

    def room(self, delivered: int, pipe: int) -> int:
        """How many bytes may be sent now that so many more have arrived, with `pipe` in flight."""
        self._delivered += delivered
        if pipe > self._ssthresh:
            room = math.ceil(self._delivered * self._ssthresh / self._flight) - self._out
        else:
            limit = max(self._delivered - self._out, delivered) + self._mss
            room = min(int(self._ssthresh) - pipe, limit)
        if not self._out:
            room = max(room, self._mss)  # the first retransmission goes in any case
        return max(room, 0)

    def send(self, count: int) -> None:
        """So many bytes have been sent."""
        self._out += count
