"""`mcpctld.protocols.inet.tcp.connection`: segment by segment, state by state; then in pairs."""

import random
from collections import deque
from collections.abc import Callable

import pytest

from mcpctld.protocols.inet import icmpv6
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.events import Closed, Connected, Event, Readable, Writable
from mcpctld.protocols.inet.ipv6 import parse
from mcpctld.protocols.inet.path_mtu import PathMtus
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.segment import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    Flow,
    Options,
    Segment,
    encode_sacks,
    encode_syn_options,
)
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment
from mcpctld.protocols.inet.tcp.state import (
    FIN_WAIT_S,
    MAX_CHALLENGES,
    TWO_MSL_S,
    WRITING,
    Outcome,
    Settings,
    State,
)
from netsim.network import Conditions, Network, Transfer

OURS, THEIRS = bytes.fromhex("fdaa" + "00" * 13 + "02"), bytes.fromhex("fdaa" + "00" * 13 + "03")
ISS, IRS = 0xFFFFFF00, 0xFFFFFFF0  # both wrap soon
WINDOW = 0x4000


class Wire:
    """A connection of ours, and a peer made of single segments. Numbers count from the SYNs."""

    def __init__(self, settings: Settings | None = None, *, mtu: int = 1420) -> None:
        self.now = 100.0
        self.events: deque[Event] = deque()
        self.paths = PathMtus(mtu)
        self.touched = 0
        flow = Flow(OURS, 40000, THEIRS, 80)
        settings = Settings() if settings is None else settings
        self.it = Connection(flow, ISS, settings, self.paths, self.events, self._touch)
        self._peer = Flow(THEIRS, 80, OURS, 40000)
        self.it.connect(self.now)

    def _touch(self, touched: Connection) -> None:
        assert touched is self.it
        self.touched += 1

    def give(
        self,
        flags: int,
        seq: int = 1,
        ack: int = 1,
        text: bytes = b"",
        options: bytes = b"",
        window: int = WINDOW,
    ) -> Drop | None:
        """A segment from the peer; why it was dropped, if it was."""
        number = (IRS + seq) & 0xFFFFFFFF
        acknowledged = (ISS + ack) & 0xFFFFFFFF if flags & ACK else 0
        packet = self._peer.encode(number, acknowledged, flags, window, text, options)
        try:
            self.it.receive_segment(parse_segment(parse(packet)), self.now)
        except Dropped as dropped:
            return dropped.reason
        return None

    def sent(self) -> list[Segment]:
        """What goes out now."""
        return [parse_segment(parse(packet)) for packet in self.it.packets_to_send(self.now)]

    def told(self) -> list[type[Event]]:
        found = [type(event) for event in self.events]
        self.events.clear()
        return found

    def let_time_pass(self) -> list[Segment]:
        """Until the next deadline."""
        self.now = self.it.deadline
        self.it.handle_timer(self.now)
        return self.sent()


def shown(segments: list[Segment]) -> list[tuple[int, int, int, int]]:
    """Flags, number, acknowledgement and length of each, counted from the SYNs."""
    return [
        (
            segment.flags,
            (segment.seq - ISS) & 0xFFFFFFFF,
            (segment.ack - IRS) & 0xFFFFFFFF if segment.flags & ACK else 0,
            len(segment.payload),
        )
        for segment in segments
    ]


SYN_OPTIONS = encode_syn_options(1360, 0, sack_permitted=True)


def syn_sent(settings: Settings | None = None) -> Wire:
    wire = Wire(settings)
    wire.sent()
    return wire


def syn_received(settings: Settings | None = None) -> Wire:
    wire = syn_sent(settings)
    wire.give(SYN, seq=0, options=SYN_OPTIONS)
    wire.sent()
    return wire


def established(settings: Settings | None = None, options: bytes = SYN_OPTIONS) -> Wire:
    wire = syn_sent(settings)
    wire.give(SYN | ACK, seq=0, options=options)
    wire.sent()
    wire.told()
    return wire


def fin_wait_1(settings: Settings | None = None) -> Wire:
    wire = established(settings)
    wire.it.send_eof()
    wire.sent()
    return wire


def fin_wait_2(settings: Settings | None = None) -> Wire:
    wire = fin_wait_1(settings)
    wire.give(ACK, ack=2)
    return wire


def close_wait(settings: Settings | None = None) -> Wire:
    wire = established(settings)
    wire.give(FIN | ACK)
    wire.sent()
    wire.told()
    return wire


def closing(settings: Settings | None = None) -> Wire:
    wire = fin_wait_1(settings)
    wire.give(FIN | ACK)
    wire.sent()
    wire.told()
    return wire


def last_ack(settings: Settings | None = None) -> Wire:
    wire = close_wait(settings)
    wire.it.send_eof()
    wire.sent()
    return wire


def time_wait(settings: Settings | None = None) -> Wire:
    wire = fin_wait_2(settings)
    wire.give(FIN | ACK, ack=2)
    wire.sent()
    wire.told()
    return wire


def closed(settings: Settings | None = None) -> Wire:
    wire = last_ack(settings)
    wire.give(ACK, seq=2, ack=2)
    wire.told()
    return wire


Make = Callable[[], Wire]
STATES: dict[State, Make] = {
    State.SYN_SENT: syn_sent,
    State.SYN_RECEIVED: syn_received,
    State.ESTABLISHED: established,
    State.FIN_WAIT_1: fin_wait_1,
    State.FIN_WAIT_2: fin_wait_2,
    State.CLOSE_WAIT: close_wait,
    State.CLOSING: closing,
    State.LAST_ACK: last_ack,
    State.TIME_WAIT: time_wait,
    State.CLOSED: closed,
}
SYNCHRONIZED = [
    state for state in STATES if state not in (State.SYN_SENT, State.SYN_RECEIVED, State.CLOSED)
]
HAVE_FIN = (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)
"""In these the peer's FIN has come: its next number is 2."""
SENT_FIN = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)
"""In these ours is out: our next number is 2."""


def their(state: State) -> int:
    return 2 if state in HAVE_FIN else 1


def our(state: State) -> int:
    return 2 if state in SENT_FIN else 1


def test_every_state_can_be_made():
    assert set(STATES) == set(State)
    for state, make in STATES.items():
        assert make().it.state is state


# ---------------------------------------------------------------- SYN-SENT


class TestSynSent:
    def test_the_syn(self):
        [segment] = Wire().sent()
        assert shown([segment]) == [(SYN, 0, 0, 0)]
        assert segment.options == Options(mss=1360, scale=5, sack_permitted=True)

    def test_it_is_sent_again_and_given_up(self):
        wire, times = syn_sent(), []
        while wire.it.outcome is None:
            if wire.let_time_pass():
                times.append(wire.now - 100.0)
        assert times == [1.0, 3.0, 7.0, 15.0, 31.0]
        assert (wire.it.outcome, wire.now) == (Outcome.TIMED_OUT, 163.0)
        assert wire.told() == [Closed]

    def test_its_answer_establishes(self):
        wire = syn_sent()
        assert wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS) is None
        assert wire.it.state is State.ESTABLISHED
        assert wire.told() == [Connected]
        assert shown(wire.sent()) == [(ACK, 1, 1, 0)]

    def test_an_ack_of_something_else_is_answered_by_a_reset_and_the_next_syn_gets_through(self):
        wire = syn_sent()
        assert wire.give(ACK, seq=77, ack=900) is Drop.UNEXPECTED
        assert shown(wire.sent()) == [(RST, 900, 0, 0)]
        assert wire.give(SYN | ACK, seq=0, ack=0) is Drop.UNEXPECTED
        assert shown(wire.let_time_pass())[-1] == (SYN, 0, 0, 0)

    def test_such_resets_are_few(self):
        wire = syn_sent()
        for _ in range(1000):
            wire.give(ACK, ack=900)
        assert len(wire.sent()) == MAX_CHALLENGES

    def test_a_reset_counts_only_if_it_acknowledges_the_syn(self):
        wire = syn_sent()
        assert wire.give(RST) is Drop.UNEXPECTED
        assert wire.give(RST | ACK, ack=0) is Drop.UNEXPECTED
        assert wire.give(RST | ACK, ack=2) is Drop.UNEXPECTED
        assert wire.it.state is State.SYN_SENT
        assert wire.sent() == []
        assert wire.give(RST | ACK, seq=0) is None
        assert (wire.it.outcome, wire.told()) == (Outcome.REFUSED, [Closed])
        assert wire.sent() == []

    @pytest.mark.parametrize("flags", [0, ACK, FIN | ACK, FIN, PSH])
    def test_without_a_syn_nothing_counts(self, flags):
        wire = syn_sent()
        assert wire.give(flags) is Drop.UNEXPECTED
        assert wire.it.state is State.SYN_SENT

    def test_a_syn_of_the_peers_own_is_answered(self):
        wire = syn_sent()
        wire.give(SYN, seq=0, options=SYN_OPTIONS)
        assert wire.it.state is State.SYN_RECEIVED
        assert shown(wire.sent()) == [(SYN | ACK, 0, 1, 0)]

    def test_what_was_written_goes_once_it_is_established(self):
        wire = syn_sent()
        assert wire.it.send_data(b"early") == 5
        assert wire.sent() == []
        wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS)
        assert shown(wire.sent()) == [(PSH | ACK, 1, 1, 5)]

    def test_the_end_may_be_said_early_too(self):
        wire = syn_sent()
        wire.it.send_data(b"all")
        wire.it.send_eof()
        wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS)
        assert wire.it.state is State.FIN_WAIT_1
        assert shown(wire.sent()) == [(FIN | PSH | ACK, 1, 1, 3)]

    @pytest.mark.parametrize("end", [Connection.abort, Connection.close])
    def test_it_can_be_given_up_without_a_word(self, end):
        wire = syn_sent()
        end(wire.it)
        assert (wire.it.outcome, wire.sent()) == (Outcome.ABORTED, [])

    def test_text_on_the_answer_is_left_to_be_sent_again(self):
        wire = syn_sent()
        wire.give(SYN | ACK, seq=0, text=b"fast open", options=SYN_OPTIONS)
        assert wire.it.receive_data(99) is None
        assert shown(wire.sent()) == [(ACK, 1, 1, 0)]

    def test_a_lost_syn_makes_the_first_timeout_three_seconds(self):
        wire = syn_sent()
        wire.let_time_pass()
        wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS)
        assert wire.it.statistics().rto == 3.0
        assert wire.it.statistics().cwnd == 13600

    def test_two_lost_syns_make_the_first_window_one_segment(self):
        wire = syn_sent()
        wire.let_time_pass()
        wire.let_time_pass()
        wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS)
        assert wire.it.statistics().cwnd == 1360


# ---------------------------------------------------------------- SYN-RECEIVED


class TestSynReceived:
    def test_an_ack_establishes(self):
        wire = syn_received()
        assert wire.give(ACK) is None
        assert (wire.it.state, wire.told()) == (State.ESTABLISHED, [Connected])

    def test_so_does_the_answer_to_our_syn(self):
        wire = syn_received()
        assert wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS) is None
        assert wire.it.state is State.ESTABLISHED
        assert shown(wire.sent()) == [(ACK, 1, 1, 0)]

    def test_text_may_come_with_it(self):
        wire = syn_received()
        wire.give(PSH | ACK, text=b"hi")
        assert wire.told() == [Connected, Readable]
        assert wire.it.receive_data(99) == b"hi"

    def test_its_answer_is_sent_again_and_given_up(self):
        wire = syn_received()
        assert shown(wire.let_time_pass()) == [(SYN | ACK, 0, 1, 0)]
        while wire.it.outcome is None:
            wire.let_time_pass()
        assert wire.it.outcome is Outcome.TIMED_OUT

    def test_a_reset_refuses(self):
        wire = syn_received()
        wire.give(RST)
        assert wire.it.outcome is Outcome.REFUSED

    def test_an_ack_of_something_else_is_no_answer(self):
        wire = syn_received()
        assert wire.give(ACK, ack=2) is Drop.UNEXPECTED
        assert wire.it.state is State.SYN_RECEIVED

    @pytest.mark.parametrize("end", [Connection.abort, Connection.close])
    def test_giving_up_resets_the_peer(self, end):
        wire = syn_received()
        end(wire.it)
        assert shown(wire.sent()) == [(RST | ACK, 1, 1, 0)]

    def test_writing_waits(self):
        wire = syn_received()
        wire.it.send_data(b"early")
        assert wire.sent() == []
        wire.give(ACK)
        assert shown(wire.sent()) == [(PSH | ACK, 1, 1, 5)]


# ---------------------------------------------------------------- all later states alike


@pytest.mark.parametrize("state", SYNCHRONIZED)
class TestSynchronized:
    def test_a_reset_with_the_next_number_ends_it(self, state):
        wire = STATES[state]()
        dropped = wire.give(RST, seq=their(state))
        if state is State.TIME_WAIT:  # RFC 1337
            assert (dropped, wire.it.state) == (Drop.UNEXPECTED, State.TIME_WAIT)
        else:
            assert (dropped, wire.it.outcome) == (None, Outcome.RESET)
            assert wire.sent() == []

    @pytest.mark.parametrize("ahead", [1, 1000, 65535])
    def test_a_reset_elsewhere_in_the_window_is_asked_about(self, state, ahead):
        wire = STATES[state]()
        assert wire.give(RST, seq=their(state) + ahead) is Drop.UNEXPECTED
        assert wire.it.state is state
        assert shown(wire.sent())[-1] == (ACK, our(state), their(state), 0)

    @pytest.mark.parametrize("off", [-1, -70000, 1 << 21])
    def test_a_reset_outside_the_window_is_nothing(self, state, off):
        wire = STATES[state]()
        assert wire.give(RST, seq=their(state) + off) is Drop.OUT_OF_WINDOW
        assert (wire.it.state, wire.sent()) == (state, [])

    @pytest.mark.parametrize("flags", [SYN, SYN | ACK])
    @pytest.mark.parametrize("off", [-1, 0, 5, -70000])
    def test_a_syn_is_asked_about(self, state, flags, off):
        wire = STATES[state]()
        wire.give(flags, seq=their(state) + off, ack=our(state))
        assert wire.it.state is state
        assert shown(wire.sent())[-1] == (ACK, our(state), their(state), 0)

    @pytest.mark.parametrize("flags", [0, PSH, FIN])
    def test_without_an_ack_nothing_counts(self, state, flags):
        wire = STATES[state]()
        assert wire.give(flags, seq=their(state), text=b"x") is Drop.UNEXPECTED
        assert (wire.it.state, wire.sent()) == (state, [])

    @pytest.mark.parametrize("ack", [3, 70000, -20000])
    def test_an_ack_of_what_cannot_be_is_asked_about(self, state, ack):
        wire = STATES[state]()
        assert wire.give(ACK, seq=their(state), ack=ack, text=b"x") is Drop.UNEXPECTED
        assert wire.it.state is state
        assert shown(wire.sent())[-1] == (ACK, our(state), their(state), 0)

    @pytest.mark.parametrize("off", [-1, -1000])
    def test_an_old_number_is_answered(self, state, off):
        """A keep-alive probe of the peer's, say."""
        wire = STATES[state]()
        assert wire.give(ACK, seq=their(state) + off, ack=our(state)) is Drop.OUT_OF_WINDOW
        assert shown(wire.sent())[-1] == (ACK, our(state), their(state), 0)

    def test_questions_are_few_however_many_are_forged(self, state):
        wire, sent = STATES[state](), 0
        for forged in (SYN, RST, ACK, SYN | ACK) * 500:
            wire.give(forged, seq=their(state) + 7, ack=7777)
            sent += len(wire.sent())
        assert wire.it.state is state
        assert sent <= MAX_CHALLENGES
        assert wire.give(SYN) is Drop.RATE_LIMITED

    def test_giving_up_resets_the_peer(self, state):
        wire = STATES[state]()
        wire.it.abort()
        if state is State.TIME_WAIT:
            assert wire.sent() == []
        else:
            assert shown(wire.sent())[-1] == (RST | ACK, our(state), their(state), 0)
            assert wire.it.outcome is Outcome.ABORTED
            assert wire.give(ACK) is Drop.NO_SOCKET

    def test_writing_after_the_end_is_our_mistake(self, state):
        wire = STATES[state]()
        wire.it.send_eof()
        with pytest.raises(RuntimeError, match="cannot send"):
            wire.it.send_data(b"x")

    def test_an_end_that_comes_again_is_acknowledged_again(self, state):
        wire = STATES[state]()
        if state in HAVE_FIN:
            wire.give(FIN | ACK, seq=1, ack=2 if state is State.TIME_WAIT else 1)
            assert wire.it.state is state
            assert shown(wire.sent()) == [(ACK, our(state), 2, 0)]


# ---------------------------------------------------------------- ESTABLISHED


class TestEstablished:
    def test_text_that_comes_is_read_and_acknowledged_once_for_all(self):
        wire = established()
        wire.give(ACK, seq=1, text=b"abc")
        wire.give(PSH | ACK, seq=4, text=b"def")
        assert wire.told() == [Readable]
        assert shown(wire.sent()) == [(ACK, 1, 7, 0)]
        assert wire.it.receive_data(4) == b"abcd"
        assert wire.it.receive_data(4) == b"ef"
        assert wire.it.receive_data(4) is None

    def test_text_with_options_takes_the_long_way_to_the_same(self):
        wire = established()
        wire.give(ACK, seq=1, text=b"abc", options=b"\1\1\1\1")
        assert wire.told() == [Readable]
        assert wire.it.receive_data(9) == b"abc"

    def test_what_is_sent_acknowledges_too(self):
        wire = established()
        wire.give(ACK, text=b"abc")
        wire.it.send_data(b"12345")
        assert shown(wire.sent()) == [(PSH | ACK, 1, 4, 5)]

    def test_a_gap_is_told_beside_what_is_sent(self):
        wire = established()
        wire.give(ACK, seq=4, text=b"def")
        wire.it.send_data(b"12345")
        data, told = wire.sent()
        assert shown([data, told]) == [(PSH | ACK, 1, 1, 5), (ACK, 6, 1, 0)]
        assert told.options.sacks == (((IRS + 4) & 0xFFFFFFFF, (IRS + 7) & 0xFFFFFFFF),)

    def test_each_duplicate_is_told(self):
        wire = established()
        for seq in (1, 4, 1, 4):
            wire.give(ACK, seq=seq, text=b"abc")
        blocks = [segment.options.sacks[0] for segment in wire.sent() if segment.options.sacks]
        numbers = [tuple((edge - IRS) & 0xFFFFFFFF for edge in block) for block in blocks]
        assert numbers == [(1, 4), (4, 7)]

    def test_a_segment_that_is_old_altogether_is_told(self):
        wire = established()
        wire.give(ACK, text=b"x" * 100)
        wire.sent()
        assert wire.give(ACK, seq=10, text=b"x" * 10) is Drop.OUT_OF_WINDOW
        [told] = wire.sent()
        assert told.options.sacks == (((IRS + 10) & 0xFFFFFFFF, (IRS + 20) & 0xFFFFFFFF),)

    def test_text_beyond_the_window_is_answered(self):
        wire = established(Settings(receive_buffer=1000))
        assert wire.give(ACK, seq=1002, text=b"x") is Drop.OUT_OF_WINDOW
        [told] = wire.sent()
        assert (shown([told]), told.options.sacks) == ([(ACK, 1, 1, 0)], ())

    def test_without_sack_each_early_segment_gets_its_own_duplicate(self):
        wire = established(options=encode_syn_options(1360, None, sack_permitted=False))
        for seq in (4, 7, 10):
            wire.give(ACK, seq=seq, text=b"abc")
        sent = wire.sent()
        assert shown(sent)[:3] == [(ACK, 1, 1, 0)] * 3
        assert not any(segment.options.sacks for segment in sent)

    def test_the_window_closes_and_opens(self):
        wire = established(Settings(receive_buffer=1000))
        wire.give(ACK, text=bytes(1000))
        assert [segment.window for segment in wire.sent()] == [0]
        assert len(wire.it.receive_data(100) or b"") == 100
        assert wire.sent() == []
        assert len(wire.it.receive_data(400) or b"") == 400
        assert [segment.window for segment in wire.sent()] == [500]

    def test_an_ack_counts_even_where_its_text_does_not_fit(self):
        wire = established(Settings(receive_buffer=1000))
        wire.give(ACK, text=bytes(1000))
        wire.it.send_data(b"12345")
        wire.sent()
        assert wire.give(ACK, seq=1001, ack=6, text=b"x") is None
        assert wire.it.statistics().in_flight == 0

    def test_windows_are_shifted_as_agreed(self):
        wire = established(options=encode_syn_options(1360, 3, sack_permitted=True))
        wire.give(ACK, window=1000)
        assert wire.it.statistics().send_window == 8000
        assert [segment.window for segment in wire.sent()] == []
        wire.give(ACK, text=b"x")
        [segment] = wire.sent()
        assert segment.window == ((1 << 20) - 1) >> 5

    def test_the_window_of_the_syn_is_not_shifted(self):
        wire = established(options=encode_syn_options(1360, 3, sack_permitted=True))
        assert wire.it.statistics().send_window == WINDOW

    def test_an_older_segment_does_not_move_the_window(self):
        wire = established()
        wire.give(ACK, seq=1, text=b"abc", window=2000)
        wire.give(ACK, seq=1, window=9)
        assert wire.it.statistics().send_window == 2000

    def test_who_was_told_no_hears_of_room(self):
        wire = established(Settings(send_buffer=4000))
        assert wire.it.send_data(bytes(5000)) == 4000
        wire.sent()
        wire.give(ACK, ack=1361)
        assert wire.told() == []
        wire.give(ACK, ack=2721)
        assert wire.told() == [Writable]
        wire.give(ACK, ack=4001)
        assert wire.told() == []

    def test_who_asked_for_room_hears_of_it(self):
        wire = established(Settings(send_buffer=4000))
        assert wire.it.has_room()
        wire.it.send_data(bytes(4000))
        assert not wire.it.has_room()
        wire.sent()
        wire.give(ACK, ack=4001)
        assert wire.told() == [Writable]
        assert wire.it.has_room()

    def test_what_is_lost_is_sent_again(self):
        wire = established()
        wire.it.send_data(bytes(6000))
        wire.sent()
        far = (ISS + 1361) & 0xFFFFFFFF
        end = (ISS + 6001) & 0xFFFFFFFF
        wire.now += 0.1
        wire.give(ACK, options=encode_sacks([(far, end)]))
        assert shown(wire.sent()) == [(ACK, 1, 1, 1360)]
        assert wire.it.statistics().retransmissions == 1

    def test_the_peers_end(self):
        wire = established()
        wire.give(FIN | PSH | ACK, text=b"bye")
        assert (wire.it.state, wire.told()) == (State.CLOSE_WAIT, [Readable])
        assert shown(wire.sent()) == [(ACK, 1, 5, 0)]
        assert wire.it.receive_data(99) == b"bye"
        assert wire.it.receive_data(99) == b""

    def test_an_end_alone_can_be_read_too(self):
        wire = established()
        wire.give(FIN | ACK)
        assert wire.told() == [Readable]
        assert wire.it.receive_data(99) == b""

    def test_our_end(self):
        wire = established()
        wire.it.send_data(b"bye")
        wire.it.send_eof()
        wire.it.send_eof()
        assert wire.it.state is State.FIN_WAIT_1
        assert shown(wire.sent()) == [(FIN | PSH | ACK, 1, 1, 3)]

    def test_without_an_answer_it_times_out(self):
        wire = established()
        wire.it.send_data(b"x")
        wire.sent()
        while wire.it.outcome is None:
            wire.let_time_pass()
        assert (wire.it.outcome, wire.it.detail) == (Outcome.TIMED_OUT, "no acknowledgement came")
        assert 220.0 <= wire.now < 280.0

    def test_closing_with_something_unread_resets(self):
        wire = established()
        wire.give(ACK, text=b"abc")
        wire.it.close()
        assert shown(wire.sent())[-1] == (RST | ACK, 1, 4, 0)

    def test_text_after_closing_resets(self):
        wire = established()
        wire.it.close()
        wire.sent()
        wire.give(ACK, ack=2, text=b"abc")
        assert shown(wire.sent())[-1][0] == RST | ACK
        assert wire.it.outcome is Outcome.ABORTED

    def test_what_was_unread_is_gone_after_a_reset(self):
        wire = established()
        wire.give(ACK, text=b"abc")
        wire.give(RST, seq=4)
        assert wire.it.receive_data(99) is None
        assert wire.it.deadline == float("inf")
        wire.it.abort()
        wire.it.close()
        assert (wire.it.outcome, wire.sent()) == (Outcome.RESET, [])


# ---------------------------------------------------------------- the ways to the end


class TestFinWait1:
    def test_text_still_comes(self):
        wire = fin_wait_1()
        wire.give(ACK, text=b"abc")
        assert wire.it.receive_data(9) == b"abc"

    def test_the_ack_of_our_end(self):
        wire = fin_wait_1()
        wire.give(ACK, ack=2)
        assert wire.it.state is State.FIN_WAIT_2

    def test_ack_and_end_at_once(self):
        wire = fin_wait_1()
        wire.give(FIN | ACK, ack=2)
        assert (wire.it.state, wire.it.outcome) == (State.TIME_WAIT, Outcome.DONE)

    def test_the_peers_end_first(self):
        wire = fin_wait_1()
        wire.give(FIN | ACK)
        assert wire.it.state is State.CLOSING

    def test_our_end_is_sent_again(self):
        wire = fin_wait_1()
        assert shown(wire.let_time_pass()) == [(FIN | PSH | ACK, 1, 1, 0)]


class TestFinWait2:
    def test_text_still_comes_for_as_long_as_it_likes(self):
        wire = fin_wait_2()
        assert wire.it.deadline == float("inf")
        wire.give(ACK, ack=2, text=b"abc")
        assert wire.it.receive_data(9) == b"abc"
        assert shown(wire.sent()) == [(ACK, 2, 4, 0)]

    def test_the_peers_end(self):
        wire = fin_wait_2()
        wire.give(FIN | ACK, ack=2, text=b"bye")
        assert wire.told() == [Readable, Closed]
        assert (wire.it.state, wire.it.receive_data(9)) == (State.TIME_WAIT, b"bye")

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_once_nobody_reads_it_does_not_wait_for_ever(self, when):
        wire = established()
        if when == "before":
            wire.it.close()
        else:
            wire.it.send_eof()
        wire.sent()
        wire.give(ACK, ack=2)
        wire.it.close()
        assert wire.it.deadline == wire.now + FIN_WAIT_S
        wire.let_time_pass()
        assert (wire.it.state, wire.it.outcome) == (State.CLOSED, Outcome.DONE)


class TestCloseWait:
    def test_text_still_goes(self):
        wire = close_wait()
        wire.it.send_data(b"abc")
        assert shown(wire.sent()) == [(PSH | ACK, 1, 2, 3)]

    def test_text_behind_the_end_is_nothing(self):
        wire = close_wait()
        wire.give(ACK, seq=2, text=b"abc")
        assert wire.it.receive_data(9) == b""
        assert shown(wire.sent()) == [(ACK, 1, 2, 0)]

    def test_our_end(self):
        wire = close_wait()
        wire.it.send_eof()
        assert wire.it.state is State.LAST_ACK
        assert shown(wire.sent()) == [(FIN | PSH | ACK, 1, 2, 0)]


class TestClosing:
    def test_the_ack_of_our_end(self):
        wire = closing()
        wire.give(ACK, seq=2, ack=2)
        assert (wire.it.state, wire.told()) == (State.TIME_WAIT, [Closed])

    def test_our_end_is_sent_again(self):
        wire = closing()
        assert shown(wire.let_time_pass()) == [(FIN | PSH | ACK, 1, 2, 0)]


class TestLastAck:
    def test_the_ack_of_our_end(self):
        wire = last_ack()
        wire.give(ACK, seq=2, ack=2)
        assert (wire.it.state, wire.told()) == (State.CLOSED, [Closed])
        assert wire.it.outcome is Outcome.DONE

    def test_ack_and_end_again_leave_nothing_to_say(self):
        wire = last_ack()
        wire.give(FIN | ACK, seq=1, ack=2)
        assert (wire.it.state, wire.sent()) == (State.CLOSED, [])


class TestTimeWait:
    def test_it_ends_by_itself(self):
        wire = time_wait()
        assert wire.it.deadline == wire.now + TWO_MSL_S
        wire.let_time_pass()
        assert (wire.it.state, wire.it.outcome, wire.told()) == (State.CLOSED, Outcome.DONE, [])

    def test_an_end_that_comes_again_puts_it_off(self):
        wire = time_wait()
        wire.now += 30.0
        wire.give(FIN | ACK, seq=1, ack=2)
        assert wire.it.deadline == wire.now + TWO_MSL_S

    def test_other_segments_do_not(self):
        wire = time_wait()
        wire.now += 30.0
        wire.give(ACK, seq=2, ack=2)
        assert wire.it.deadline == wire.now + TWO_MSL_S - 30.0


class TestClosed:
    def test_nothing_comes_of_anything(self):
        wire = closed()
        for flags in (SYN, ACK, RST, FIN | ACK, SYN | ACK):
            assert wire.give(flags, seq=2, ack=2) is Drop.NO_SOCKET
        wire.it.send_eof()
        wire.it.abort()
        wire.it.handle_timer(1e9)
        assert wire.sent() == []
        assert wire.told() == []


# ---------------------------------------------------------------- keep-alive


KEPT = Settings(keep_alive=60.0, keep_alive_interval=10.0, keep_alive_probes=2)


@pytest.mark.parametrize("make", [established, close_wait, fin_wait_2])
def test_a_silent_peer_is_asked_and_given_up(make):
    wire = make(KEPT)
    nxt = our(wire.it.state)
    assert wire.it.deadline == wire.now + 60.0
    assert [segment[:2] for segment in shown(wire.let_time_pass())] == [(ACK, nxt - 1)]
    assert len(wire.let_time_pass()) == 1
    assert [segment[0] for segment in shown(wire.let_time_pass())] == [RST | ACK]
    assert (wire.it.outcome, wire.it.detail) == (Outcome.TIMED_OUT, "the peer does not answer")
    assert wire.now == 100.0 + 80.0


def test_a_peer_that_answers_is_kept():
    wire = established(KEPT)
    for _ in range(20):
        assert len(wire.let_time_pass()) == 1
        wire.give(ACK)
        assert wire.it.deadline == wire.now + 60.0


# ---------------------------------------------------------------- errors on the way


def error(kind: int, parameter: int = 0, *, mtu: int = 1420) -> icmpv6.Error:
    packet = Flow(OURS, 40000, THEIRS, 80).encode(0, 0, ACK, 0, bytes(mtu - 60))
    told = icmpv6.parse(parse(icmpv6.encode_error(THEIRS, kind, 0, parameter, packet)))
    assert isinstance(told, icmpv6.Error)
    return told


def tell(wire: Wire, told: icmpv6.Error, seq: int) -> Drop | None:
    try:
        wire.it.receive_error(told, (ISS + seq) & 0xFFFFFFFF, wire.now)
    except Dropped as dropped:
        return dropped.reason
    return None


class TestErrors:
    @pytest.mark.parametrize("make", [syn_sent, syn_received])
    def test_a_refused_syn_ends_the_attempt(self, make):
        wire = make()
        assert tell(wire, error(icmpv6.UNREACHABLE), 1) is Drop.FORGED_ERROR
        assert tell(wire, error(icmpv6.PACKET_TOO_BIG, 1300), 0) is Drop.FORGED_ERROR
        assert tell(wire, error(icmpv6.UNREACHABLE), 0) is None
        assert (wire.it.outcome, wire.it.detail) == (Outcome.UNREACHABLE, "no route")

    def test_later_it_is_only_why_it_may_time_out(self):
        wire = established()
        wire.it.send_data(b"x")
        wire.sent()
        assert tell(wire, error(icmpv6.UNREACHABLE), 1) is None
        assert wire.it.outcome is None
        while wire.it.outcome is None:
            wire.let_time_pass()
        assert (wire.it.outcome, wire.it.detail) == (Outcome.TIMED_OUT, "no route")

    @pytest.mark.parametrize("seq", [0, 1362, 5000])
    def test_who_does_not_know_what_is_in_flight_is_not_believed(self, seq):
        wire = established()
        wire.it.send_data(bytes(1360))
        wire.sent()
        assert tell(wire, error(icmpv6.PACKET_TOO_BIG, 1300), seq) is Drop.FORGED_ERROR
        assert wire.it.statistics().mss == 1360

    @pytest.mark.parametrize("mtu", [1420, 1500])
    def test_nor_who_says_that_what_fits_does_not(self, mtu):
        wire = established()
        wire.it.send_data(bytes(1360))
        wire.sent()
        assert tell(wire, error(icmpv6.PACKET_TOO_BIG, mtu), 1) is Drop.FORGED_ERROR

    @pytest.mark.parametrize(("mtu", "mss"), [(1400, 1340), (1280, 1220), (68, 1220), (0, 1220)])
    def test_a_smaller_path_sends_smaller_segments_at_once(self, mtu, mss):
        wire = established()
        wire.it.send_data(bytes(1360))
        wire.sent()
        assert tell(wire, error(icmpv6.PACKET_TOO_BIG, mtu), 1) is None
        assert [len(segment.payload) for segment in wire.sent()] == [mss, 1360 - mss]
        assert wire.paths.get(THEIRS, wire.now) == mss + 60

    def test_what_is_known_of_the_path_holds_for_the_next_connection(self):
        wire = Wire()
        wire.paths.lower(THEIRS, 1300, wire.now)
        wire.sent()
        wire.give(SYN | ACK, seq=0, options=SYN_OPTIONS)
        assert wire.it.statistics().mss == 1240

    def test_a_black_hole_that_was_found_is_noted_once_something_passes(self):
        wire = established()
        wire.it.send_data(bytes(1360))
        wire.sent()
        for _ in range(3):
            wire.let_time_pass()
        assert wire.paths.get(THEIRS, wire.now) == 1420
        wire.give(ACK, ack=1221)
        assert wire.paths.get(THEIRS, wire.now) == 1280


# ---------------------------------------------------------------- what is shown


def test_figures_and_no_text():
    wire = established()
    wire.it.send_data(b"secret")
    wire.give(ACK, text=b"secret")
    figures = wire.it.statistics()
    assert (figures.state, figures.unread, figures.mss) == (State.ESTABLISHED, 6, 1360)
    assert (figures.packets_received, figures.packets_sent) == (2, 2)
    assert repr(wire.it) == "<Connection 40000 → 80 ESTABLISHED>"


# ---------------------------------------------------------------- any segment, in any state


def forge(draw: random.Random) -> tuple[int, int, int, bytes, bytes, int]:
    """Flags, number, acknowledgement, text, options, window: near what is right, or anywhere."""
    near = [draw.choice((0, 1, 1, 1, 2, 3, draw.randrange(-70000, 70000))) for _ in range(10)]
    anywhere = draw.randrange(1 << 32)
    seq, ack = draw.choice((near[0], near[0], anywhere)), draw.choice((near[1], near[1], ~anywhere))
    blocks = [
        ((ISS + near[at]) & 0xFFFFFFFF, (ISS + near[at + 1]) & 0xFFFFFFFF) for at in (2, 4, 6)
    ]
    options = draw.choice((b"", SYN_OPTIONS, encode_sacks(blocks[: draw.randrange(4)])))
    text = draw.randbytes(draw.choice((0, 0, 1, 50)))
    return draw.choice((ACK, draw.randrange(32))), seq, ack, text, options, draw.randrange(1 << 16)


@pytest.mark.parametrize("state", list(State))
def test_any_segments_lead_to_drops_and_bounded_answers(state):
    for seed in range(60):
        wire, draw = STATES[state](), random.Random(seed)
        for _ in range(20):
            assert len(wire.sent()) < 20
            wire.give(*forge(draw))
            if draw.random() < 0.3 and wire.it.state in WRITING and not wire.it._eof_queued:
                wire.it.send_data(bytes(3000))
            if draw.random() < 0.2 and wire.it.deadline < float("inf"):
                wire.let_time_pass()
            figures = wire.it.statistics()
            assert figures.unread <= 1 << 20
            assert figures.in_flight <= 1 << 20


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_two_that_open_at_once_exchange_and_close(loss, seed):
    network = Network(Conditions(loss=loss), seed=seed)
    left, right = network.connect()
    data = random.Random(seed).randbytes(40_000)
    there, back = (Transfer(network, left, right, data), Transfer(network, right, left, data[::-1]))
    assert network.run(lambda: all([there.step(), back.step()]))
    assert there.is_intact
    assert back.is_intact
    assert network.run(lambda: left.outcome is right.outcome is Outcome.DONE)
    assert {left.state, right.state} <= {State.TIME_WAIT, State.CLOSED}


def test_a_reader_that_sleeps_stops_the_writer_and_loses_nothing():
    network = Network(Conditions())
    small = Settings(local_port=40002, receive_buffer=20_000)
    left, right = network.connect(right=small)
    data = random.Random(1).randbytes(100_000)
    left.send_data(data)
    left.send_eof()
    assert not network.run(lambda: False, seconds=300.0)
    assert right.statistics().unread <= 20_000
    got = b""

    def read() -> bool:
        nonlocal got
        while piece := right.receive_data(3000):
            got += piece
        return piece == b""

    assert network.run(read)
    assert got == data


def test_a_window_update_that_gets_lost_is_made_up_for():
    network = Network(Conditions())
    left, right = network.connect(right=Settings(local_port=40002, receive_buffer=20_000))
    left.send_data(bytes(40_000))
    left.send_eof()
    network.run(lambda: right.statistics().unread == 20_000)
    network.run(lambda: False, seconds=1.0)
    network.back.filter = lambda _: False
    right.receive_data(1 << 20)
    network.run(lambda: False, seconds=0.1)
    network.back.filter = lambda _: True
    assert network.run(lambda: right.statistics().unread == 20_000, seconds=10.0)
