"""Which segments are lost, by time: RACK (RFC 8985 §6). Names are those of the document.

A segment is lost if one that was sent sufficiently later has arrived. How much later grows with the reordering that is
seen, and is nothing as long as none is: then three segments beyond a gap are enough, as in RFC 6675.
"""

import math

from mcpctld.protocols.inet.tcp.scoreboard import Record, Scoreboard

DUP_THRESH = 3
_PERSIST = 16
"""Recoveries for which a wider window is kept (§6.2 step 4)."""


class Rack:
    """What is known of the segment that was sent last among those that have arrived."""

    def __init__(self) -> None:
        self.min_rtt = math.inf
        self.reordering_seen = False
        self._latest = -math.inf, 0  # xmit_ts and end_seq: what was sent last of what has arrived
        self._rtt = 0.0
        self._fack = 0
        self._mult = 1
        self._persist = 0
        self._dsack_round: int | None = None

    def receive(self, record: Record, now: float) -> None:
        """It has arrived, says an ACK (steps 1 to 3)."""
        rtt = now - record.sent_at
        if record.sends > 1 and rtt < self.min_rtt:
            return  # step 2: the ACK is for an earlier copy
        self.min_rtt = min(self.min_rtt, rtt)
        if (record.sent_at, record.end) > self._latest:
            self._latest = record.sent_at, record.end
            self._rtt = rtt
        if record.end > self._fack:
            self._fack = record.end
        elif record.end < self._fack and record.sends == 1:
            self.reordering_seen = True

    def receive_dsack(self, una: int, nxt: int) -> None:
        """Something was sent again in vain: be more patient, one step a round trip (step 4)."""
        self._persist = _PERSIST
        if self._dsack_round is None or una >= self._dsack_round:
            self._dsack_round = nxt
            self._mult += 1

    def end_recovery(self) -> None:
        """Forget, after a while, that patience was needed (step 4)."""
        self._persist -= 1
        if self._persist <= 0:
            self._mult = 1

    def find_lost(
        self, board: Scoreboard, now: float, srtt: float, *, in_recovery: bool
    ) -> tuple[list[Record], float]:
        """Which are lost now, and when to look again: seconds from now, 0 for never (step 5)."""
        patience = self._reordering_window(board.sacked, srtt, in_recovery=in_recovery)
        lost: list[Record] = []
        for record in board.flying:
            if (record.sent_at, record.end) >= self._latest:
                break
            remaining = record.sent_at + self._rtt + patience - now
            if remaining > 0:
                return lost, remaining
            lost.append(record)
        return lost, 0.0

    def lost_on_timeout(self, board: Scoreboard, now: float, srtt: float) -> list[Record]:
        """Which are lost when the retransmission timer has run out: the first, and what is as old (§6.3)."""
        patience = self._reordering_window(board.sacked, srtt, in_recovery=True)
        return [
            record
            for record in board.flying
            if record is board.first or record.sent_at + self._rtt + patience <= now
        ]

    def _reordering_window(self, sacked: int, srtt: float, *, in_recovery: bool) -> float:
        if not self.reordering_seen and (in_recovery or sacked >= DUP_THRESH):
            return 0.0
        return min(self._mult * self.min_rtt / 4, srtt)
