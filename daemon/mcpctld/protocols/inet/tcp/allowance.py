"""How much may be sent now: the congestion window while all is well, step by step while a loss is repaired.

Modes and what leads from one to another are those of RFC 5681 and RFC 6675 §5; RFC 3708 takes back what was done for
nothing.
"""

import enum

from mcpctld.protocols.inet.tcp.congestion import Cubic, Prr


class Mode(enum.Enum):
    """What is known of losses."""

    OPEN = enum.auto()  # none
    RECOVERY = enum.auto()  # they are repaired, and the window comes down
    LOSS = enum.auto()  # the retransmission timer has run out: begin anew, from one segment


class Allowance:
    """Congestion control of one connection. Sizes in bytes, sequence numbers as they do not wrap."""

    def __init__(self, mss: int, start: int) -> None:
        self.mode = Mode.OPEN
        self.cubic = Cubic(mss)
        self.is_limited = False
        """Whether more would have been sent, had the window allowed it."""
        self._prr: Prr | None = None
        self._room = 0  # in RECOVERY
        self._recovery_point = start  # an ACK of this ends it
        self._vain = 0  # retransmissions that may yet turn out to have been in vain

    def has_room(self, size: int, flight: int) -> bool:
        """Whether so much may join what is in flight; one segment always may."""
        if not flight:
            return True
        if self.mode is Mode.RECOVERY:
            return size <= self._room
        return flight + size <= self.cubic.cwnd

    def send(self, size: int, *, again: bool) -> None:
        """So much has been sent."""
        self._vain += again and self.mode is not Mode.OPEN
        if self._prr is not None:
            self._prr.send(size)
            self._room -= size

    def lose(self, una: int, nxt: int) -> None:
        """Something was found to be lost. While a loss is being repaired others are part of it."""
        if self.mode is Mode.OPEN:
            self.cubic.reduce(nxt - una)
            self._prr = Prr(nxt - una, self.cubic.ssthresh, self.cubic.mss)
            self.mode = Mode.RECOVERY
            self._recovery_point = nxt
            self._vain = 0

    def time_out(self, una: int, nxt: int, *, again: bool) -> None:
        """The retransmission timer has run out; `again` for the same text."""
        self.cubic.time_out(nxt - una, again=again)
        self._prr = None
        self.mode = Mode.LOSS
        self._recovery_point = nxt
        self._vain = 0

    def repair_tail(self, flight: int) -> None:
        """A probe has repaired a loss that nothing else had told of (RFC 8985 §7.4.2)."""
        if self.mode is Mode.OPEN:
            self.cubic.reduce(flight)
            self.cubic.cwnd = min(self.cubic.cwnd, self.cubic.ssthresh)

    def receive_dsack(self) -> None:
        """Something was sent again in vain; if all was, there was no loss."""
        if self._vain:
            self._vain -= 1
            if not self._vain:
                self.cubic.undo()
                self.mode = Mode.OPEN
                self._prr = None

    def is_repaired(self, ack: int) -> bool:
        """Whether this ACK ends the recovery there was; then it is over."""
        if self.mode is Mode.OPEN or ack < self._recovery_point:
            return False
        if self.mode is Mode.RECOVERY:
            self.cubic.cwnd = self.cubic.ssthresh  # RFC 6937 §3
        self.mode = Mode.OPEN
        self._prr = None
        return True

    def receive_ack(self, acked: int, delivered: int, flight: int, now: float, srtt: float) -> None:
        """So much has been acknowledged, and so much has arrived, `flight` is left."""
        if self._prr is not None:
            self._room = self._prr.room(delivered, flight)
        elif not self.is_limited:
            self.cubic.pause()
        elif acked:
            self.cubic.receive_ack(acked, now, srtt)
