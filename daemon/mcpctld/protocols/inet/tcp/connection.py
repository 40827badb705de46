"""One TCP connection: the state machine of RFC 9293 §3.3.2, for whoever opens actively.

A blind attacker gets a challenge ACK at most (RFC 5961), and only so many. ACKs are not delayed: one goes out for all
that came before `packets_to_send` is called. Where to read first: `receive_segment`, then `packets_to_send`.
"""

import math
from collections import deque
from collections.abc import Callable

from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.events import Closed, Connected, Event, Readable, Writable
from mcpctld.protocols.inet.icmpv6 import PACKET_TOO_BIG, Error
from mcpctld.protocols.inet.ipv6 import MIN_MTU
from mcpctld.protocols.inet.limiter import Limiter
from mcpctld.protocols.inet.path_mtu import PathMtus
from mcpctld.protocols.inet.tcp.handshake import MAX_WINDOW, Handshake
from mcpctld.protocols.inet.tcp.keep_alive import KeepAlive
from mcpctld.protocols.inet.tcp.receiver import Receiver
from mcpctld.protocols.inet.tcp.segment import (
    ACK,
    FIN,
    NO_OPTIONS,
    PSH,
    RST,
    SYN,
    Flow,
    Segment,
    encode_sacks,
)
from mcpctld.protocols.inet.tcp.sender import Piece, Sender
from mcpctld.protocols.inet.tcp.sequence import MASK, unwrap
from mcpctld.protocols.inet.tcp.state import (
    CHALLENGES_PER_S,
    FIN_WAIT_S,
    KEPT_ALIVE,
    MAX_CHALLENGES,
    ON_FIN,
    ON_FIN_ACKED,
    ON_SEND_EOF,
    OVER,
    RECEIVING,
    SENDING,
    SYNCHRONIZING,
    TWO_MSL_S,
    WRITING,
    ConnectionStatistics,
    Outcome,
    Settings,
    State,
)

HEADERS = 60
"""Bytes of a packet that are not text: IPv6 and TCP, without options."""


class Connection:
    """Bytes in both directions, in order, between us and one peer.

    `touch` is called with the connection when it may have packets to send, or another deadline.
    """

    def __init__(
        self,
        flow: Flow,
        iss: int,
        settings: Settings,
        paths: PathMtus,
        events: deque[Event],
        touch: Callable[["Connection"], None],
    ) -> None:
        self.flow = flow
        self.state = State.SYN_SENT
        self.outcome: Outcome | None = None
        """How it ended; None as long as it has not."""
        self.detail = ""
        """What is known of the reason, in words."""
        self._settings = settings
        self._paths = paths
        self._events = events
        self._touch = touch
        mss = paths.link_mtu - HEADERS
        self._handshake = Handshake(flow, iss, mss, settings.receive_buffer)
        self._sender = Sender(iss + 1, settings.send_buffer)
        self._receiver = Receiver(settings.receive_buffer, mss)
        self._window_update = 0, 0  # SND.WL1, SND.WL2
        self._out: list[bytes] = []
        self._ack_due = False
        self._eof_queued = False
        self._is_deaf = False
        self._wants_room = False
        self._challenges = Limiter(CHALLENGES_PER_S, MAX_CHALLENGES)
        self._challenged = 0
        self._received = self._sent = 0
        self._state_deadline = math.inf
        self._keep_alive = KeepAlive(settings)

    def __repr__(self) -> str:
        return f"<Connection {self.flow.local_port} → {self.flow.remote_port} {self.state.value}>"

    # ------------------------------------------------------------ the user

    def send_data(self, data: bytes | bytearray | memoryview) -> int:
        """Queue as much as there is room for, and return how many bytes; `Writable` follows if not all.

        Raises `RuntimeError` after `send_eof`, and once the connection is over.
        """
        if self._eof_queued or self.state not in WRITING:
            raise RuntimeError("cannot send: this side of the connection is closed")
        taken = self._sender.write(data)
        self._wants_room = taken < len(data)
        self._touch(self)
        return taken

    def send_eof(self) -> None:
        """Nothing will be sent any more; what comes can still be read."""
        if not self._eof_queued and self.state not in OVER:
            self._eof_queued = True
            self._sender.finish()
            self._move(ON_SEND_EOF.get(self.state, self.state))
            self._touch(self)

    def receive_data(self, most: int) -> bytes | None:
        """Up to so many bytes; empty at the end of them, None while there are none."""
        data = self._receiver.read(most)
        if data:
            if self._receiver.wants_update() and self.state in RECEIVING:
                self._ack_due = True
                self._touch(self)
            return data
        return b"" if self._receiver.eof and not self._receiver.buffered else None

    def close(self) -> None:
        """Neither send nor read any more. What is unread, or comes yet, is answered by a reset (RFC 2525 §2.17)."""
        if self._receiver.buffered and self.state not in OVER:
            self.abort()
            return
        self._is_deaf = True
        self.send_eof()
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            self.abort()
        elif self.state is State.FIN_WAIT_2:
            self._move(State.FIN_WAIT_2)

    def has_room(self) -> bool:
        """Whether `send_data` would take anything; `Writable` follows if not."""
        self._wants_room = not self._sender.room
        return not self._wants_room

    def abort(self) -> None:
        """End it at once; the peer gets a reset."""
        if self.state in OVER:
            return
        if self.state is not State.SYN_SENT:
            self._emit(self._sender.nxt, RST | ACK)
        self._end(Outcome.ABORTED)

    def statistics(self) -> ConnectionStatistics:
        """Figures, as of now."""
        sender, rto = self._sender, self._sender.rto
        return ConnectionStatistics(
            state=self.state,
            mss=sender.mss,
            srtt=rto.srtt,
            rttvar=rto.variance,
            rto=rto.timeout,
            cwnd=int(sender.cubic.cwnd),
            ssthresh=sender.cubic.ssthresh,
            in_flight=sender.in_flight,
            send_window=max(sender.edge - sender.nxt, 0),
            retransmissions=sender.retransmissions,
            duplicates=self._receiver.duplicates,
            challenges=self._challenged,
            packets_received=self._received,
            packets_sent=self._sent,
            unread=self._receiver.buffered,
        )

    # ------------------------------------------------------------ packets

    def connect(self, now: float) -> None:
        """Begin: send the SYN."""
        self._keep_alive.hear(now)
        self._send_syn(now)

    def receive_segment(self, segment: Segment, now: float) -> None:
        """A segment of this flow has come. Raises `Dropped` if it is of no use."""
        self._received += 1
        self._touch(self)
        if self._is_next_text(segment):
            self._keep_alive.hear(now)
            self._take_text(segment.payload)
        elif self.state is State.SYN_SENT:
            self._receive_in_syn_sent(segment, now)
        else:
            self._receive_synchronized(segment, now)

    def _is_next_text(self, segment: Segment) -> bool:
        """Whether it is what nearly all segments of a download are: the next text, and otherwise no news.

        So most are dealt with by a handful of comparisons (header prediction, as in 4.4BSD). What fails them is dealt
        with in full, and would come to the same.
        """
        return (
            self.state is State.ESTABLISHED
            and segment.flags & ~PSH == ACK
            and segment.options is NO_OPTIONS
            and not self._is_deaf
            and self._receiver.is_next(segment.seq, len(segment.payload))
            and self._sender.is_current(segment.ack, segment.window << self._handshake.peer_scale)
        )

    def _take_text(self, text: bytes) -> None:
        if not self._receiver.buffered:
            self._events.append(Readable(self))
        self._receiver.append(text)
        self._ack_due = True

    def packets_to_send(self, now: float) -> list[bytes]:
        """All that is to be sent now: text, and one ACK for all that came."""
        packets, self._out = self._out, []
        if self.state in SENDING:
            self._encode(self._sender.pieces_to_send(now), packets)
        if self._ack_due:
            packets.append(self._encode_ack())
        self._sent += len(packets)
        return packets

    def _encode(self, pieces: list[Piece], packets: list[bytes]) -> None:
        """Segments with text; each acknowledges too, but has no room for more than the number."""
        if not pieces:
            return
        self._ack_due &= self._receiver.has_blocks
        ack, window = self._receiver.nxt, self._window()
        for seq, data, fin, push in pieces:
            flags = ACK | (FIN if fin else 0) | (PSH if push else 0)
            packets.append(self.flow.encode(seq, ack, flags, window, data))

    def _encode_ack(self) -> bytes:
        self._ack_due = False
        options = encode_sacks(self._receiver.blocks()) if self._handshake.sack else b""
        window = self._window()
        return self.flow.encode(self._sender.nxt, self._receiver.nxt, ACK, window, options=options)

    def _emit(self, seq: int, flags: int) -> None:
        """A segment without text, as soon as possible."""
        ack = self._receiver.nxt if flags & ACK else 0
        self._out.append(self.flow.encode(seq, ack, flags, self._window() if flags & ACK else 0))
        self._touch(self)

    def _window(self) -> int:
        return min(self._receiver.window() >> self._handshake.scale, MAX_WINDOW)

    # ------------------------------------------------------------ opening

    def _send_syn(self, now: float) -> None:
        ack = self._receiver.nxt if self.state is State.SYN_RECEIVED else None
        self._out.append(self._handshake.syn(ack, now))
        self._state_deadline = self._handshake.deadline
        self._touch(self)

    def _receive_in_syn_sent(self, segment: Segment, now: float) -> None:
        """RFC 9293 §3.10.7.3."""
        flags = segment.flags
        is_ours = segment.ack == self._sender.una & MASK
        if flags & ACK and not is_ours:
            self._refuse_ack(segment, now)
        if flags & RST:
            if not flags & ACK:
                raise Dropped(Drop.UNEXPECTED)
            self._end(Outcome.REFUSED)
        elif flags & SYN:
            self._synchronize(segment)
            if flags & ACK:
                self._establish(segment, now)
            else:
                self.state = State.SYN_RECEIVED  # both have opened at once (§3.5, figure 7)
                self._handshake.syns = 0
                self._send_syn(now)
        else:
            raise Dropped(Drop.UNEXPECTED)

    def _refuse_ack(self, segment: Segment, now: float) -> None:
        """An earlier connection of these ports is still known there; the reset frees it for our next SYN."""
        if not segment.flags & RST and self._challenges.allows(now):
            self._out.append(self.flow.encode(segment.ack, 0, RST, 0))
        raise Dropped(Drop.UNEXPECTED)

    def _synchronize(self, segment: Segment) -> None:
        """The peer's SYN: where its text begins, and what both can do."""
        self._receiver.open(segment.seq + 1)
        path_mtu = self._paths.get(self.flow.remote, self._keep_alive.heard_at)
        self._handshake.agree(segment.options, path_mtu - HEADERS)

    def _establish(self, segment: Segment, now: float) -> None:
        sender, handshake = self._sender, self._handshake
        sender.open(handshake.peer_mss, sack=handshake.sack, now=now)
        if handshake.syns == 1:
            sender.rto.sample(now - handshake.sent_at)
        else:
            sender.rto.lose_syn()
        if handshake.syns > 2:
            sender.cubic.begin_carefully()
        scale = 0 if segment.flags & SYN else handshake.peer_scale
        sender.update_window(sender.una, segment.window << scale, now)
        self._window_update = self._receiver.nxt - 1, sender.una
        self._state_deadline = math.inf
        self._ack_due = True
        self._events.append(Connected(self))
        self._move(State.FIN_WAIT_1 if self._eof_queued else State.ESTABLISHED)

    # ------------------------------------------------------------ the other states

    def _receive_synchronized(self, segment: Segment, now: float) -> None:
        """RFC 9293 §3.10.7.4, in its order, with the checks of RFC 5961."""
        seq = unwrap(segment.seq, self._receiver.nxt)
        flags, text = segment.flags, segment.payload
        length = len(text) + bool(flags & FIN) + bool(flags & SYN)
        if self.state is State.CLOSED:
            raise Dropped(Drop.NO_SOCKET)
        if not self._receiver.accepts(seq, length):
            self._receive_unacceptable(seq, length, flags, now)
        if flags & (RST | SYN) and not self._is_answer(flags):
            self._receive_reset_or_syn(seq, flags, now)
            return
        if not flags & ACK:
            raise Dropped(Drop.UNEXPECTED)
        ack = unwrap(segment.ack, self._sender.una)
        if not self._sender.accepts(ack):
            self._challenge(now)
        self._keep_alive.hear(now)
        if self.state is State.SYN_RECEIVED:
            self._establish(segment, now)
        self._receive_ack(segment, seq, ack, now)
        if text or flags & FIN:
            self._receive_text(seq, text, now, fin=bool(flags & FIN))

    def _is_answer(self, flags: int) -> bool:
        """Whether it is the SYN-ACK of one who opened when we did (§3.5)."""
        return self.state is State.SYN_RECEIVED and flags & (SYN | RST) == SYN and flags & ACK != 0

    def _receive_unacceptable(self, seq: int, length: int, flags: int, now: float) -> None:
        """It is old, or beyond the window: the peer is told where we are, unless it is a reset."""
        if length and not flags & (SYN | RST):
            if seq < self._receiver.nxt:
                self._receiver.note_duplicate(seq, seq + length)
            self._out.append(self._encode_ack())  # one for one, so it amplifies nothing
        elif not flags & RST:
            self._challenge(now, Drop.OUT_OF_WINDOW)
        raise Dropped(Drop.OUT_OF_WINDOW)

    def _receive_reset_or_syn(self, seq: int, flags: int, now: float) -> None:
        """RFC 5961 §3.2 and §4.2: only a reset with exactly the next number counts."""
        if not flags & RST or seq != self._receiver.nxt:
            self._challenge(now)
        if self.state is State.TIME_WAIT:
            raise Dropped(Drop.UNEXPECTED)  # RFC 1337: it may be an old one
        self._end(Outcome.REFUSED if self.state is State.SYN_RECEIVED else Outcome.RESET)

    def _challenge(self, now: float, reason: Drop = Drop.UNEXPECTED) -> None:
        """Say where we are: an honest peer then knows what to send. Always raises `Dropped`."""
        if not self._challenges.allows(now):
            raise Dropped(Drop.RATE_LIMITED)
        self._challenged += 1
        self._ack_due = True
        raise Dropped(reason)

    def _receive_ack(self, segment: Segment, seq: int, ack: int, now: float) -> None:
        sender = self._sender
        window = segment.window << self._handshake.peer_scale
        is_same = ack + window == sender.edge
        if (seq, ack) >= self._window_update and not segment.flags & SYN:
            self._window_update = seq, ack
            sender.update_window(ack, window, now)
        sacks = segment.options.sacks
        if ack > sender.una or (sender.in_flight and (sacks or not segment.payload)):
            near = [(unwrap(start, ack), unwrap(end, ack)) for start, end in sacks]
            is_duplicate = is_same and ack == sender.una and not segment.payload
            sender.receive_ack(ack, near, now, is_duplicate=is_duplicate)
            self._note_path(now)
        if self._wants_room and sender.room >= self._settings.send_buffer // 2:
            self._wants_room = False
            self._events.append(Writable(self))
        if sender.is_finished and self.state in ON_FIN_ACKED:
            self._move(ON_FIN_ACKED[self.state])

    def _note_path(self, now: float) -> None:
        """Segments that were made smaller arrive: other connections need not find that out."""
        size = self._sender.mss
        if size < self._handshake.peer_mss:
            self._handshake.peer_mss = size
            self._paths.note(self.flow.remote, max(size + HEADERS, MIN_MTU), now)

    def _receive_text(self, seq: int, text: bytes, now: float, *, fin: bool) -> None:
        receiver = self._receiver
        self._ack_due = self.state is not State.CLOSED
        if self.state is State.TIME_WAIT:
            self._move(State.TIME_WAIT, now)  # the peer has not seen our last ACK
        if self.state not in RECEIVING:
            return
        if self._is_deaf and text and seq + len(text) > receiver.nxt:
            self.abort()
            return
        had = receiver.buffered
        in_order = receiver.receive(seq, text, fin=fin)
        if not in_order and (receiver.has_duplicate or not self._handshake.sack):
            self._out.append(self._encode_ack())  # each is counted over there
        if (receiver.buffered and not had) or receiver.eof:
            self._events.append(Readable(self))
        if receiver.eof:
            self._move(ON_FIN[self.state], now)

    # ------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call `handle_timer`; infinite for never."""
        deadline = min(self._sender.deadline, self._state_deadline)
        return min(deadline, self._keep_alive.deadline) if self.state in KEPT_ALIVE else deadline

    def handle_timer(self, now: float) -> None:
        """The deadline has come."""
        if self._state_deadline <= now:
            self._handle_state_timer(now)
        elif self._sender.deadline <= now:
            if self._sender.is_hopeless(now):
                self._end(Outcome.TIMED_OUT, "no acknowledgement came")
            else:
                self._sender.handle_timer(now)
        elif self.deadline <= now:
            self._probe_peer()
        self._touch(self)

    def _handle_state_timer(self, now: float) -> None:
        if self.state not in SYNCHRONIZING:
            self._end(self.outcome or Outcome.DONE)
        elif not self._handshake.is_hopeless:
            self._send_syn(now)
        else:
            self._end(Outcome.TIMED_OUT, "no answer came")

    def _probe_peer(self) -> None:
        """An old number, which every peer answers with an ACK (RFC 9293 §3.8.4)."""
        if self._keep_alive.probe():
            self._emit(self._sender.nxt - 1, ACK)
        else:
            self._emit(self._sender.nxt, RST | ACK)
            self._end(Outcome.TIMED_OUT, "the peer does not answer")

    # ------------------------------------------------------------ errors, and the end

    def receive_error(self, error: Error, number: int, now: float) -> None:
        """A router says something of a segment of ours that had this number (RFC 5927 §4.1). Raises `Dropped`."""
        is_syn = self.state in SYNCHRONIZING
        seq = unwrap(number, self._sender.una)
        if seq != self._handshake.iss if is_syn else not self._sender.covers(seq):
            raise Dropped(Drop.FORGED_ERROR)
        if error.kind == PACKET_TOO_BIG:
            if error.parameter >= error.quoted_length or is_syn:
                raise Dropped(Drop.FORGED_ERROR)
            self._sender.lower_mss(
                self._paths.lower(self.flow.remote, error.parameter, now) - HEADERS
            )
            self._touch(self)
        elif is_syn:
            # RFC 5461 §4.1: nothing is lost yet, and the user may have another address to try.
            self._end(Outcome.UNREACHABLE, error.reason)
        else:
            self.detail = error.reason  # RFC 5927 §5.2: should it time out, this is why

    def _move(self, state: State, now: float | None = None) -> None:
        """Enter a state, or enter it again."""
        now = self._keep_alive.heard_at if now is None else now
        self.state = state
        if state is State.TIME_WAIT:
            self._state_deadline = now + TWO_MSL_S
            self._tell_end(Outcome.DONE)
        elif state is State.FIN_WAIT_2 and self._is_deaf:
            self._state_deadline = now + FIN_WAIT_S
        elif state is State.CLOSED:
            self._end(Outcome.DONE)

    def _end(self, outcome: Outcome, detail: str = "") -> None:
        """Nothing follows; what is unread is gone, unless all of it had come."""
        self.state = State.CLOSED
        self.detail = self.detail or detail
        self._state_deadline = math.inf
        self._ack_due = False
        self._sender.clear()
        if outcome is not Outcome.DONE:
            self._receiver.clear()
        self._tell_end(outcome)
        self._touch(self)

    def _tell_end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._events.append(Closed(self))
