"""The sending half of a connection: the buffer, the peer's window, and when what is sent (again).

Losses are found by RACK and repaired as RFC 6675 says, at the rate of RFC 6937; a peer without SACK is served by
NewReno (RFC 6582). One timer has four meanings, `Alarm`. The path may turn out to carry less than was thought: then
segments become smaller, by word of a router or because large ones keep getting lost (RFC 4821 §7.7).
"""

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

from mcpctld.protocols.inet.tcp.allowance import Allowance, Mode
from mcpctld.protocols.inet.tcp.congestion import Cubic
from mcpctld.protocols.inet.tcp.rack import DUP_THRESH, Rack
from mcpctld.protocols.inet.tcp.rto import MAX_S, RetransmissionTimeout
from mcpctld.protocols.inet.tcp.scoreboard import Block, Record, Scoreboard
from mcpctld.protocols.inet.tcp.send_buffer import SendBuffer
from mcpctld.protocols.inet.tcp.sequence import MASK

MAX_ACK_DELAY_S = 0.2
"""By how much peers delay an ACK for a single segment (RFC 8985 §7.2)."""
MIN_PROBE_S = 0.01
"""A tail is not probed sooner: our own pauses are longer than the round trips of a local network."""
GIVE_UP_S = 120.0
"""Without any progress for this long a connection is dead (R2 of RFC 9293 §3.8.3, which says 100 at least)."""
BASE_MSS = 1220
"""Of packets that every path carries: to fall back to when larger ones vanish."""
TIMEOUTS_OF_A_BLACK_HOLE = 2


class Alarm(enum.Enum):
    """What the timer is set for."""

    NONE = enum.auto()
    RETRANSMISSION = enum.auto()  # RFC 6298
    REORDERING = enum.auto()  # RFC 8985 §6.2 step 5
    TAIL_PROBE = enum.auto()  # RFC 8985 §7
    WINDOW_PROBE = enum.auto()  # RFC 9293 §3.8.6.1


class Piece(NamedTuple):
    """What is to go into one segment."""

    seq: int
    data: bytearray
    fin: bool
    push: bool

    def __repr__(self) -> str:
        return f"<Piece {self.seq} of {len(self.data)} bytes>"


class Sender:
    """Takes bytes, gives out pieces until all are acknowledged. Numbers do not wrap."""

    def __init__(self, start: int, capacity: int) -> None:
        self.una = self.nxt = start
        """The first number not acknowledged, the first not sent (SND.UNA, SND.NXT)."""
        self.edge = start
        """One past what the peer's window takes."""
        self.mss = BASE_MSS
        self.deadline = math.inf
        """When to call `handle_timer`."""
        self.rto = RetransmissionTimeout()
        self.retransmissions = 0
        self.max_window = 0
        """The largest window that the peer has had open."""
        self._allowance = Allowance(self.mss, start)
        self._buffer = SendBuffer(start, capacity)
        self._sack = False
        self._board = Scoreboard()
        self._rack = Rack()
        self._tail_probe: tuple[int, bool] | None = None  # its end, and whether it was sent before
        self._duplicates = 0  # ACKs, from a peer without SACK
        self._was_in_vain = False  # something was sent again for nothing since the last sample
        self._timeouts = 0
        self._window_probes = 0
        self._has_probed = False  # the byte at `nxt` has been sent, though not counted
        self._alarm = Alarm.NONE
        self._base_time = 0.0  # the timer counts from here
        self._progress_at = self._sent_at = 0.0
        self._reorder_at = math.inf
        self._out: list[Piece] = []

    def open(self, mss: int, *, sack: bool, now: float) -> None:
        """The handshake is over."""
        self.mss = mss
        self._allowance = Allowance(mss, self.una)
        self._sack = sack
        self._base_time = self._progress_at = self._sent_at = now

    # ------------------------------------------------------------ the user's side

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much of it as there is room for; how many bytes."""
        return self._buffer.write(data)

    def finish(self) -> None:
        """Nothing will be written any more."""
        self._buffer.fin = True

    @property
    def room(self) -> int:
        """Bytes that `write` would take."""
        return self._buffer.room

    @property
    def in_flight(self) -> int:
        """Bytes on their way, as far as is known."""
        gone = self._duplicates * self.mss  # RFC 6582: each tells that a segment has arrived
        return max(self._board.in_flight - gone, 0) if gone else self._board.in_flight

    @property
    def is_idle(self) -> bool:
        """Whether everything written is acknowledged."""
        return not self._board and self.nxt == self._buffer.end + self._buffer.fin

    @property
    def is_finished(self) -> bool:
        """Whether the FIN is acknowledged."""
        return self._buffer.fin and self.una > self._buffer.end

    # ------------------------------------------------------------ ACKs

    @property
    def cubic(self) -> Cubic:
        """The congestion window."""
        return self._allowance.cubic

    def accepts(self, ack: int) -> bool:
        """Whether an acknowledgement is one of something that was sent, and not too old (RFC 5961 §5.2)."""
        return self.una - self.max_window <= ack <= self.nxt + self._has_probed

    def is_current(self, number: int, window: int) -> bool:
        """Whether an ACK with this number on the wire, and this window, is no news."""
        return number == self.una & MASK and window == self.edge - self.una

    def covers(self, seq: int) -> bool:
        """Whether this number is in flight: who quotes it has seen our segment (RFC 5927 §4.1)."""
        return self.una <= seq < self.nxt

    def update_window(self, ack: int, window: int, now: float) -> None:
        """The peer's window, in bytes."""
        self.edge = ack + window
        self.max_window = max(self.max_window, window)
        if self._window_probes:
            self._progress_at = now  # a peer that answers is alive (RFC 9293 §3.8.6.1, MUST-37)
        if window:
            self._window_probes = 0

    def receive_ack(
        self, ack: int, sacks: Sequence[Block], now: float, *, is_duplicate: bool
    ) -> None:
        """An acceptable acknowledgement. `is_duplicate`: its segment says nothing else (RFC 5681 §2)."""
        dsack = _find_dsack(ack, sacks)
        if dsack is not None:
            self._receive_dsack(dsack)
            sacks = sacks[1:]
        acked, told = max(ack - self.una, 0), self._duplicates * self.mss
        arrived = self._advance(ack) if acked else []
        if sacks and self._sack:
            arrived += self._board.sack([block for block in sacks if self._is_possible(block)])
        if arrived:
            self._learn(arrived, now)
        if acked or arrived:
            self._base_time = self._progress_at = now
        if is_repaired := self._allowance.is_repaired(ack):
            self._rack.end_recovery()
        self._end_tail_probe(ack, dsack, is_duplicate=is_duplicate and not sacks)
        self._find_losses(now, acked=acked, is_duplicate=is_duplicate)
        if self._sack:
            delivered = sum(record.end - record.start for record in arrived)
        else:  # RFC 6937 §3: a duplicate stands for a segment, which is not counted again later
            delivered = self.mss if is_duplicate else max(acked - told, 0)
        counted = 0 if is_repaired else acked
        self._allowance.receive_ack(counted, delivered, self.in_flight, now, self._srtt)
        self._set_timer()

    def _advance(self, ack: int) -> list[Record]:
        """Let go of what is acknowledged."""
        self.nxt = max(self.nxt, ack)  # only a byte of a window probe is beyond
        self.una = ack
        self._has_probed = False
        self._timeouts = self._duplicates = 0
        self._buffer.release(ack)
        return self._board.acknowledge(ack)

    def _is_possible(self, block: Block) -> bool:
        return self.una <= block[0] < block[1] <= self.nxt

    def _learn(self, arrived: list[Record], now: float) -> None:
        """What arrivals tell of the round trip, and of the order on the way.

        What comes with something that was sent again may have waited for it over there, so it is no sample either.
        """
        latest, is_sample = 0.0, True
        for record in arrived:
            self._rack.receive(record, now)
            latest = max(latest, record.sent_at)
            is_sample &= record.sends == 1
        if is_sample:
            self.rto.sample(now - latest)
            self._was_in_vain = False
        elif self._sack and not self._was_in_vain:
            # Karn's rule keeps the timeout backed off, for it may be too short. But that DSACK would tell.
            self.rto.forgive()

    def _receive_dsack(self, block: Block) -> None:
        """Something arrived twice (RFC 2883)."""
        if not self._sack or block[1] > self.nxt:
            return
        self._was_in_vain = True
        self._rack.receive_dsack(self.una, self.nxt)
        self._allowance.receive_dsack()

    # ------------------------------------------------------------ losses

    def _find_losses(self, now: float, *, acked: int, is_duplicate: bool) -> None:
        self._reorder_at = math.inf
        if not self._board:
            return
        if self._sack:
            in_recovery = self._allowance.mode is not Mode.OPEN
            lost, wait = self._rack.find_lost(self._board, now, self._srtt, in_recovery=in_recovery)
            if wait:
                self._reorder_at = now + wait
        else:
            lost = self._find_losses_without_sack(acked=acked, is_duplicate=is_duplicate)
        for record in lost:
            self._board.mark_lost(record)
        if lost:
            self._allowance.lose(self.una, self.nxt)

    def _find_losses_without_sack(self, *, acked: int, is_duplicate: bool) -> list[Record]:
        """Three duplicates, or an ACK of a part while recovering: the first segment is lost (RFC 6582 §3.2)."""
        first, mode = self._board.first, self._allowance.mode
        self._duplicates += (
            is_duplicate and mode is not Mode.LOSS
        )  # there they are of our own making
        is_partial = acked > 0 and mode is Mode.RECOVERY
        is_third = self._duplicates == DUP_THRESH and mode is Mode.OPEN
        return [first] if (is_partial or is_third) and first.sends == 1 else []

    @property
    def _srtt(self) -> float:
        return self.rto.srtt or 0.0

    def _end_tail_probe(self, ack: int, dsack: Block | None, *, is_duplicate: bool) -> None:
        """What has become of the probe of a tail (RFC 8985 §7.4.2): a loss that it repaired counts as one."""
        if self._tail_probe is None or ack < self._tail_probe[0]:
            return
        end, was_sent_before = self._tail_probe
        if was_sent_before and dsack is None and ack > end:
            self._allowance.repair_tail(self.nxt - end)
        elif was_sent_before and dsack is None and not is_duplicate:
            return  # the next one will tell whether one or both have arrived
        self._tail_probe = None

    # ------------------------------------------------------------ sending

    def pieces_to_send(self, now: float) -> list[Piece]:
        """All that may be sent now."""
        pieces, self._out = self._out, []
        self._send_run(now, pieces)
        while (piece := self._next_piece(now)) is not None:
            pieces.append(piece)
        if pieces:
            self._sent_at = now
            self._set_timer()
        elif self._alarm is Alarm.NONE and not self.is_idle:
            # The window is closed: from now on it is probed.
            self._base_time = self._progress_at = now
            self._set_timer()
        return pieces

    def _send_run(self, now: float, pieces: list[Piece]) -> None:
        """Full segments, as many as text, window and congestion allow: most of an upload, without a look at each."""
        board = self._board
        if self._allowance.mode is not Mode.OPEN or not board or board.next_lost() is not None:
            return
        mss, nxt, text = self.mss, self.nxt, self._buffer.text
        room = int(self._allowance.cubic.cwnd) - self.in_flight
        count = min(self._buffer.end - nxt - 1, self.edge - nxt, room) // mss
        for start in range(nxt, nxt + max(count, 0) * mss, mss):
            board.add(Record(start, start + mss, False, now))
            self.nxt = start + mss
            pieces.append(Piece(start, text(start, start + mss), fin=False, push=False))

    def _next_piece(self, now: float) -> Piece | None:
        record = self._board.next_lost()
        return self._next_new(now) if record is None else self._next_lost(record, now)

    def _next_lost(self, record: Record, now: float) -> Piece | None:
        """Something to send again, before anything new (RFC 6675 §4, NextSeg rule 1)."""
        if not self._allowance.has_room(min(record.end - record.start, self.mss), self.in_flight):
            self._allowance.is_limited = True
            return None
        if _text(record) > self.mss:
            self._board.split(record, self.mss)
        return self._resend(record, now)

    def _resend(self, record: Record, now: float) -> Piece:
        self._board.resend(record, now)
        self.retransmissions += 1
        self._allowance.send(record.end - record.start, again=True)
        return self._piece(record)

    def _next_new(self, now: float) -> Piece | None:
        """Something that was not sent before."""
        size, fin = self._new_size()
        if not size and not fin:
            self._allowance.is_limited = False
            return None
        if not self._board:
            self._begin_flight(now)
        if not self._allowance.has_room(size, self.in_flight):
            self._allowance.is_limited = True
            return None
        return self._send_new(size, now, fin=fin)

    def _new_size(self) -> tuple[int, bool]:
        """How many bytes, and whether the FIN with them, as far as the window allows (RFC 9293 §3.8.6)."""
        room = self.edge - self.nxt
        unsent = min(self._buffer.end - self.nxt, self.mss)
        size = max(min(unsent, room), 0)
        if size < unsent and size * 2 < self.max_window:
            return 0, False  # no silly segments (§3.8.6.2.1); the window is probed meanwhile
        fin = self._buffer.fin and self.nxt + size == self._buffer.end and size < room
        return size, fin

    def _begin_flight(self, now: float) -> None:
        """Nothing is out: the timer starts anew, and after a pause so does the window (RFC 5681 §4.1)."""
        if now - self._sent_at > self.rto.timeout and now - self._progress_at > self.rto.timeout:
            self._allowance.cubic.restart()
        self._base_time = self._progress_at = now

    def _send_new(self, size: int, now: float, *, fin: bool) -> Piece:
        record = Record(self.nxt, self.nxt + size + fin, fin, now)
        self._board.add(record)
        self.nxt = record.end
        self._has_probed = False
        self._allowance.send(record.end - record.start, again=False)
        return self._piece(record)

    def _piece(self, record: Record) -> Piece:
        end = record.end - record.fin
        data = self._buffer.text(record.start, end)
        return Piece(record.start, data, record.fin, end == self._buffer.end)

    # ------------------------------------------------------------ the timer

    def _set_timer(self) -> None:
        """One deadline, and what it means."""
        self._alarm, self.deadline = Alarm.NONE, math.inf
        if self._board:
            self._alarm, self.deadline = Alarm.RETRANSMISSION, self._base_time + self.rto.timeout
            if self._reorder_at < self.deadline:
                self._alarm, self.deadline = Alarm.REORDERING, self._reorder_at
            elif self._may_probe_tail():
                self._set_tail_probe()
        elif not self.is_idle:
            wait = min(MAX_S, self.rto.timeout * (1 << min(self._window_probes, 16)))
            self._alarm, self.deadline = Alarm.WINDOW_PROBE, self._base_time + wait

    def _may_probe_tail(self) -> bool:
        """RFC 8985 §7.2: nothing is known to be missing, and no probe is out."""
        if self._allowance.mode is not Mode.OPEN or self._board.sacked or not self._sack:
            return False
        return self._tail_probe is None and self.rto.srtt is not None and not self.rto.backoff

    def _set_tail_probe(self) -> None:
        wait = max(2 * self._srtt, MIN_PROBE_S)
        if len(self._board) == 1:
            wait += MAX_ACK_DELAY_S
        at = max(self._base_time, self._sent_at) + wait
        if at < self.deadline:
            self._alarm, self.deadline = Alarm.TAIL_PROBE, at

    def is_hopeless(self, now: float) -> bool:
        """Whether nothing has come of all we sent for so long that nothing will."""
        return not self.is_idle and now - self._progress_at >= GIVE_UP_S

    def handle_timer(self, now: float) -> None:
        """The deadline has come."""
        if now < self.deadline:
            return
        if self._alarm is Alarm.REORDERING:
            self._find_losses(now, acked=0, is_duplicate=False)
            self._allowance.receive_ack(0, 0, self.in_flight, now, self._srtt)
        elif self._alarm is Alarm.TAIL_PROBE:
            self._probe_tail(now)
        elif self._alarm is Alarm.RETRANSMISSION:
            self._time_out(now)
        else:
            self._probe_window(now)
        self._set_timer()

    def _probe_tail(self, now: float) -> None:
        """Send something new, or the last segment again, so that the peer says what it has (RFC 8985 §7.3)."""
        self._base_time = now
        size, fin = self._new_size()
        if size or fin:
            self._out.append(self._send_new(size, now, fin=fin))
        else:
            self._out.append(self._resend(self._board.last, now))
        self._tail_probe = self.nxt, not (size or fin)

    def _time_out(self, now: float) -> None:
        """The retransmission timer has run out (RFC 6298 §5.4 to 5.6, RFC 8985 §6.3)."""
        self.rto.back_off()
        self._timeouts += 1
        self._allowance.time_out(self.una, self.nxt, again=self._timeouts > 1)
        if self._board.first.is_sacked:
            self._board.forget_sacks()
        lost = self._rack.lost_on_timeout(self._board, now, self._srtt)
        for record in lost if self._sack else list(self._board.flying):
            self._board.mark_lost(record)
        self._duplicates = 0
        self._tail_probe = None
        self._reorder_at = math.inf
        self._base_time = now
        self._suspect_black_hole()

    def _suspect_black_hole(self) -> None:
        """Large segments that get lost again and again may be too large for the path (RFC 4821 §7.7)."""
        if self._timeouts >= TIMEOUTS_OF_A_BLACK_HOLE and _text(self._board.first) > BASE_MSS:
            self.lower_mss(BASE_MSS)

    def lower_mss(self, mss: int) -> None:
        """The path takes less than was thought: what is too large goes again, and is no loss (RFC 8201 §5.4)."""
        if mss >= self.mss:
            return
        self.mss = mss
        self._allowance.cubic.set_mss(mss)
        for record in [record for record in self._board.flying if _text(record) > mss]:
            self._board.mark_lost(record)

    def _probe_window(self, now: float) -> None:
        """Ask whether the window has opened, by what fits or else one byte more (RFC 9293 §3.8.6.1)."""
        self._base_time = now
        self._window_probes += 1
        size = min(self._buffer.end - self.nxt, self.edge - self.nxt, self.mss)
        if size > 0:
            self._out.append(self._send_new(size, now, fin=False))
            return
        data = self._buffer.text(self.nxt, self.nxt + 1)
        self._out.append(Piece(self.nxt, data, not data, push=True))
        self._has_probed = True

    def clear(self) -> None:
        """The connection is over."""
        self._buffer.clear()
        self._board = Scoreboard()
        self._out.clear()
        self._alarm, self.deadline = Alarm.NONE, math.inf


def _text(record: Record) -> int:
    """How many bytes it carries."""
    return record.end - record.start - record.fin


def _find_dsack(ack: int, sacks: Sequence[Block]) -> Block | None:
    """A first block that tells of a duplicate: it is old, or lies within the second (RFC 2883 §4)."""
    if not sacks:
        return None
    start, end = sacks[0]
    is_within = len(sacks) > 1 and sacks[1][0] <= start and end <= sacks[1][1]
    return sacks[0] if end <= ack or is_within else None
