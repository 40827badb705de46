"""`mcpctld.protocols.inet.tcp.sender`: what goes out and when, told ACK by ACK. Segments are of 1000 bytes."""

import math
import random

import pytest

from mcpctld.protocols.inet.tcp.sender import GIVE_UP_S, Piece, Sender

MSS, START, RTT = 1000, 500, 0.1
Block = tuple[int, int]


class Peer:
    """A sender with an open window, and the time. `sent` are the pieces as (number of the segment, how many bytes)."""

    def __init__(self, *, sack: bool = True, window: int = 10**6, capacity: int = 10**6) -> None:
        self.now = 100.0
        self.sender = Sender(START, capacity)
        self.sender.open(MSS, sack=sack, now=self.now)
        self.sender.rto.sample(RTT)
        self.window = window
        self.sender.update_window(START, window, self.now)

    def write(self, segments: float) -> list[Piece]:
        self.sender.write(bytes(int(segments * MSS)))
        return self.flush()

    def flush(self) -> list[Piece]:
        return self.sender.pieces_to_send(self.now)

    def ack(
        self,
        segments: float,
        *sacks: tuple[float, float],
        after: float = RTT,
        window: int | None = None,
    ) -> list[Piece]:
        """An ACK of so many segments from the beginning, later by `after`; what is sent upon it."""
        self.now += after
        ack = START + round(segments * MSS)
        window = self.window if window is None else window
        is_duplicate = ack == self.sender.una and START + window == self.sender.edge - ack + START
        self.sender.update_window(ack, window, self.now)
        blocks = [(START + int(a * MSS), START + int(b * MSS)) for a, b in sacks]
        self.sender.receive_ack(ack, blocks, self.now, is_duplicate=is_duplicate)
        return self.flush()

    def time_out(self) -> list[Piece]:
        """Let the timer run out."""
        assert self.sender.deadline < math.inf
        self.now = self.sender.deadline
        self.sender.handle_timer(self.now)
        return self.flush()

    @property
    def wait(self) -> float:
        return round(self.sender.deadline - self.now, 6)


def numbers(pieces: list[Piece]) -> list[float]:
    return [(piece.seq - START) / MSS for piece in pieces]


# ---------------------------------------------------------------- plain sending


def test_text_is_cut_into_segments():
    peer = Peer()
    pieces = peer.write(2.5)
    assert numbers(pieces) == [0, 1, 2]
    assert [len(piece.data) for piece in pieces] == [1000, 1000, 500]
    assert [piece.push for piece in pieces] == [False, False, True]
    assert peer.sender.in_flight == 2500
    assert peer.flush() == []


def test_a_piece_shows_nothing_of_its_text():
    assert repr(Piece(5, bytearray(b"secret"), fin=False, push=True)) == "<Piece 5 of 6 bytes>"


def test_the_bytes_are_those_that_were_written():
    peer, data = Peer(), random.Random(1).randbytes(5000)
    peer.sender.write(data)
    assert b"".join(piece.data for piece in peer.flush()) == data


def test_no_more_is_taken_than_there_is_room_for():
    peer = Peer(capacity=1500)
    assert peer.sender.write(bytes(2000)) == 1500
    assert peer.sender.room == 0
    peer.flush()
    peer.ack(1)
    assert peer.sender.room == 1000


def test_ten_segments_begin_and_each_ack_brings_two_more():
    peer = Peer()
    assert len(peer.write(100)) == 10
    assert numbers(peer.ack(1)) == [10, 11]
    assert numbers(peer.ack(3, after=0)) == [12, 13, 14, 15]


def test_what_is_not_full_goes_at_once_too():
    peer = Peer()
    assert len(peer.write(0.1)) == 1
    assert len(peer.write(0.1)) == 1  # no waiting for an ACK: Nagle's algorithm is off


def test_the_end_goes_with_the_last_text():
    peer = Peer()
    peer.sender.finish()
    [piece] = peer.write(0.5)
    assert (len(piece.data), piece.fin) == (500, True)
    assert not peer.sender.is_finished
    peer.sender.receive_ack(START + 501, [], peer.now, is_duplicate=False)
    assert peer.sender.is_finished
    assert peer.sender.is_idle
    assert peer.sender.deadline == math.inf


def test_the_end_goes_alone():
    peer = Peer()
    peer.write(1)
    peer.sender.finish()
    assert peer.flush() == [Piece(START + 1000, bytearray(), fin=True, push=True)]


def test_full_segments_are_followed_by_the_end():
    peer = Peer()
    peer.write(1)
    peer.sender.finish()
    pieces = peer.write(2)
    assert [piece.fin for piece in pieces] == [False, True]


# ---------------------------------------------------------------- the window


def test_no_more_is_sent_than_the_window_takes():
    peer = Peer(window=3000)
    assert numbers(peer.write(10)) == [0, 1, 2]
    assert numbers(peer.ack(2, window=3000)) == [3, 4]


def test_silly_segments_are_not_sent():
    peer = Peer(window=3000)
    peer.write(10)
    assert peer.ack(3, window=999) == []
    assert len(peer.ack(3, window=1000)) == 1


def test_half_of_the_largest_window_is_not_silly():
    peer = Peer(window=600)
    assert [len(piece.data) for piece in peer.write(10)] == [600]
    peer.window = 300
    assert [len(piece.data) for piece in peer.ack(0.6)] == [300]


def test_the_end_takes_room_in_the_window():
    peer = Peer(window=1000)
    peer.sender.finish()
    [piece] = peer.write(1)
    assert not piece.fin
    [piece] = peer.ack(1)
    assert piece.fin


def test_a_window_that_shrinks_stops_new_text_only():
    peer = Peer(window=5000)
    peer.write(10)
    assert peer.ack(1, window=2000) == []
    assert peer.sender.in_flight == 4000


def test_a_closed_window_is_probed_by_one_byte_at_growing_intervals():
    peer = Peer(window=1000)
    peer.write(3)
    peer.ack(1, window=0)
    waits = []
    for _ in range(4):
        waits.append(peer.wait)
        assert peer.time_out() == [Piece(START + 1000, bytearray(1), fin=False, push=True)]
        assert peer.sender.in_flight == 0
    assert waits == [pytest.approx(waits[0] * 2**n) for n in range(4)]
    assert waits[0] == pytest.approx(peer.sender.rto.timeout)


def test_the_interval_of_probes_has_a_limit():
    peer = Peer(window=1000)
    peer.write(3)
    peer.ack(1, window=0)
    for _ in range(40):
        peer.time_out()
    assert peer.wait == 60.0


def test_a_window_that_is_closed_from_the_beginning_is_probed():
    peer = Peer(window=0)
    assert peer.write(1) == []
    assert peer.wait == pytest.approx(peer.sender.rto.timeout)
    assert len(peer.time_out()) == 1


def test_what_a_probe_carried_may_be_taken():
    peer = Peer(window=1000)
    peer.write(3)
    peer.ack(1, window=0)
    peer.time_out()
    assert peer.sender.accepts(START + 1001)
    pieces = peer.ack(1.001, window=5000)
    assert numbers(pieces) == [1.001, 2.001]
    assert not peer.sender.accepts(START + 3001)


def test_what_a_probe_carried_may_be_refused():
    peer = Peer(window=1000)
    peer.write(3)
    peer.ack(1, window=0)
    peer.time_out()
    assert numbers(peer.ack(1, window=5000)) == [1, 2]


def test_what_fits_into_a_small_window_is_its_probe():
    peer = Peer(window=3000)
    peer.write(10)
    assert peer.ack(3, window=400) == []
    [piece] = peer.time_out()
    assert (numbers([piece]), len(piece.data)) == ([3], 400)
    assert peer.sender.in_flight == 400


def test_the_end_can_be_a_probe():
    peer = Peer(window=1000)
    peer.write(1)
    peer.sender.finish()
    assert peer.ack(1, window=0) == []
    assert peer.time_out() == [Piece(START + 1000, bytearray(), fin=True, push=True)]
    peer.now += 0.1
    assert peer.sender.accepts(START + 1001)
    peer.sender.receive_ack(START + 1001, [], peer.now, is_duplicate=False)
    assert peer.sender.is_finished


def test_a_peer_that_answers_probes_is_never_given_up():
    peer = Peer(window=1000)
    peer.write(3)
    peer.ack(1, window=0)
    for _ in range(20):
        peer.time_out()
        peer.ack(1, window=0, after=0.01)
        assert not peer.sender.is_hopeless(peer.now + GIVE_UP_S - 1)
    assert peer.sender.is_hopeless(peer.now + GIVE_UP_S)


# ---------------------------------------------------------------- what may be acknowledged


@pytest.mark.parametrize(
    ("ack", "accepts"),
    [(START + 3000, True), (START + 3001, False), (START - 5000, True), (START - 5001, False)],
)
def test_acks_of_what_was_not_sent_or_is_very_old_are_refused(ack, accepts):
    peer = Peer(window=5000)
    peer.write(3)
    assert peer.sender.accepts(ack) is accepts


def test_an_ack_that_is_no_news_is_known_as_such():
    peer = Peer(window=5000)
    assert peer.sender.is_current(START, 5000)
    assert not peer.sender.is_current(START, 4999)
    assert not peer.sender.is_current(START + 1, 5000)


def test_what_is_in_flight_is_known():
    peer = Peer()
    peer.write(2)
    assert [peer.sender.covers(START + at) for at in (-1, 0, 1999, 2000)] == [
        False,
        True,
        True,
        False,
    ]


# ---------------------------------------------------------------- losses, with SACK


def test_a_segment_that_three_others_passed_goes_again():
    peer = Peer()
    peer.write(10)
    assert peer.ack(0, (1, 3)) == []
    assert numbers(peer.ack(0, (1, 4), after=0)) == [0]
    assert peer.sender.retransmissions == 1


def test_two_that_passed_are_given_a_quarter_of_a_round_trip():
    peer = Peer()
    peer.write(10)
    assert peer.ack(0, (1, 3)) == []
    assert peer.wait == pytest.approx(0.025)
    peer.now += 0.0251
    peer.sender.handle_timer(peer.now)
    assert numbers(peer.flush()) == [0]


def test_a_timer_that_has_not_run_out_does_nothing():
    peer = Peer()
    peer.write(10)
    peer.ack(0, (1, 3))
    peer.sender.handle_timer(peer.now + 0.01)
    assert peer.flush() == []


def test_several_gaps_are_filled_in_one_round_trip():
    peer = Peer()
    peer.write(10)
    sent = peer.ack(0, (1, 2), (3, 4), (5, 10))
    for extra in range(4):
        sent += peer.ack(0, (10, 11 + extra), (5, 10), (3, 4), (1, 2), after=0.001)
    assert numbers(sent)[:3] == [0, 2, 4]


def test_a_loss_brings_the_window_down_by_three_tenths():
    peer = Peer()
    peer.write(100)
    peer.ack(0, (1, 4))
    assert peer.sender.cubic.ssthresh == 7000
    peer.ack(10)
    assert peer.sender.cubic.cwnd == 7000


def test_while_it_is_repaired_about_seven_go_for_ten_that_arrive():
    peer = Peer()
    peer.write(100)
    for acked in range(1, 11):
        peer.ack(acked, after=0.001)  # twenty are in flight
    first = peer.sender.nxt
    end = (first - START) / MSS
    sent = peer.ack(10, (11, 14), after=RTT)
    for arrived in range(15, int(end) + 1):
        sent += peer.ack(10, (11, arrived), after=0.001)
    assert numbers(sent)[0] == 10
    assert len(sent) == 14


def test_a_copy_that_gets_lost_goes_again():
    peer = Peer()
    peer.write(100)
    peer.ack(0, (1, 10))
    new = peer.ack(0, (1, 11))
    assert 0 in numbers(new)  # what was sent after the copy has arrived


def test_reordering_brings_nothing_down_for_long():
    peer = Peer()
    peer.write(30)
    peer.ack(0, (1, 4))  # the first goes again, although it was only late
    assert peer.sender.cubic.ssthresh == 7000
    peer.ack(4, after=0.001)  # it arrives
    peer.ack(10, (0, 1), after=0.1)  # and so does the copy, which was in vain
    assert peer.sender.cubic.cwnd >= 10_000
    assert peer.sender.cubic.ssthresh == math.inf


@pytest.mark.parametrize("block", [(20.0, 30.0), (3.0, 2.0), (2.0, 2.0), (9.5, 10.5)])
def test_blocks_of_what_was_not_sent_do_not_count(block):
    peer = Peer()
    peer.write(10)
    before = peer.sender.in_flight
    peer.ack(0, block)
    assert peer.sender.in_flight == before
    assert peer.flush() == []


def test_duplicates_of_what_was_not_sent_do_not_count():
    peer = Peer()
    peer.write(10)
    peer.ack(0, (11, 12), (10, 20))
    peer.ack(0, (1, 4))
    assert peer.sender.cubic.ssthresh == 7000


def test_blocks_from_a_peer_that_did_not_agree_to_them_do_not_count():
    peer = Peer(sack=False)
    peer.write(10)
    peer.ack(0, (1, 9))
    peer.ack(0, (0, 1), (0, 5))
    assert peer.sender.in_flight == 8000  # two duplicates, no more


def test_an_old_ack_moves_nothing():
    peer = Peer()
    peer.write(10)
    peer.ack(5)
    peer.flush()
    flight = peer.sender.in_flight
    peer.ack(2)
    assert (peer.sender.una, peer.sender.in_flight) == (START + 5000, flight)


# ---------------------------------------------------------------- losses, without SACK


def test_three_duplicates_send_the_first_again():
    peer = Peer(sack=False)
    peer.write(10)
    peer.ack(0)
    peer.ack(0)
    assert numbers(peer.ack(0)) == [0]
    assert peer.sender.cubic.ssthresh == 7000


def test_each_duplicate_tells_that_a_segment_has_left_the_way():
    peer = Peer(sack=False)
    peer.write(30)
    assert numbers(peer.ack(0) + peer.ack(0)) == [10, 11]  # RFC 3042
    assert numbers(peer.ack(0)) == [0]
    sent: list[Piece] = []
    for _ in range(5):
        sent += peer.ack(0)
    assert numbers(sent) == [12, 13, 14, 15]


def test_what_is_acknowledged_in_part_sends_the_next_gap():
    peer = Peer(sack=False)
    peer.write(10)
    for _ in range(8):
        peer.ack(0)
    assert numbers(peer.ack(3)) == [3]
    assert numbers(peer.ack(4)) == [4]
    peer.ack(10)
    assert peer.sender.cubic.cwnd == 7000


def test_an_ack_with_a_new_window_is_no_duplicate():
    peer = Peer(sack=False)
    peer.write(10)
    for n in range(5):
        assert peer.ack(0, window=10**6 + n + 1) == []


def test_after_a_timeout_all_goes_again_and_duplicates_tell_nothing():
    peer = Peer(sack=False)
    peer.write(4)
    assert numbers(peer.time_out()) == [0]
    for _ in range(5):
        assert peer.ack(0) == []
    assert numbers(peer.ack(1)) == [1, 2]


# ---------------------------------------------------------------- the tail


def test_a_tail_is_probed_after_two_round_trips():
    peer = Peer()
    peer.write(3)
    assert peer.wait == pytest.approx(2 * RTT)
    assert numbers(peer.time_out()) == [2]
    assert peer.sender.cubic.cwnd == 10_000


def test_a_single_segment_may_be_acknowledged_late():
    peer = Peer()
    peer.sender.rto.sample(0.5)
    peer.write(1)
    assert peer.wait == pytest.approx(2 * peer.sender.rto.srtt + 0.2)


def test_new_text_is_the_better_probe():
    peer = Peer(window=3000)
    peer.write(5)
    peer.sender.update_window(START, 4000, peer.now)  # not flushed: the probe is what sends it
    assert numbers(peer.time_out())[0] == 3


def test_there_is_one_probe_and_then_the_timeout():
    peer = Peer()
    peer.write(3)
    peer.time_out()
    assert peer.wait == pytest.approx(peer.sender.rto.timeout)
    assert numbers(peer.time_out()) == [0]


def test_a_loss_that_the_probe_repaired_counts():
    peer = Peer()
    peer.write(3)
    peer.time_out()
    peer.ack(3)
    peer.write(1)
    peer.ack(4)
    assert peer.sender.cubic.cwnd == pytest.approx(2000)


def test_a_probe_that_was_in_vain_does_not_count():
    for told in ([(2.0, 3.0)], []):
        peer = Peer()
        peer.write(3)
        peer.time_out()
        peer.ack(3)
        peer.ack(3, *told)  # by DSACK, or by an ACK that says nothing else
        peer.write(1)
        peer.ack(4)
        assert peer.sender.cubic.cwnd == 10_000


def test_new_text_that_arrives_was_no_repair():
    peer = Peer(window=3000)
    peer.write(4)
    peer.sender.update_window(START, 4000, peer.now)
    peer.time_out()
    peer.ack(4)
    assert peer.sender.cubic.cwnd == 10_000
    assert peer.sender.is_idle


def test_the_probe_finds_the_gap_at_the_tail():
    peer = Peer()
    peer.write(6)
    peer.ack(2)
    assert numbers(peer.time_out()) == [5]
    assert 2 in numbers(peer.ack(2, (5, 6)) + peer.time_out())


@pytest.mark.parametrize("why", ["no SACK", "no round trip", "gaps"])
def test_there_is_no_probe_where_it_would_tell_nothing(why):
    peer = Peer(sack=why != "no SACK")
    if why == "no round trip":
        peer.sender.rto.srtt = None
    peer.write(6)
    if why == "gaps":
        peer.ack(1, (2, 3))
        peer.time_out()  # of the reordering
        peer.now += 0.001
        peer.ack(1, (2, 3), after=0)
    assert peer.wait >= 0.19


# ---------------------------------------------------------------- the retransmission timer


def test_it_doubles_and_sends_the_first_again():
    peer = Peer(sack=False)
    peer.write(3)
    waits = []
    for _ in range(4):
        waits.append(peer.wait)
        assert numbers(peer.time_out()) == [0]
        assert peer.sender.cubic.cwnd == MSS
    assert waits == [pytest.approx(waits[0] * 2**n) for n in range(4)]


def test_acks_that_are_no_news_do_not_put_it_off():
    peer = Peer(sack=False)
    peer.write(3)
    deadline = peer.sender.deadline
    for _ in range(9):
        peer.ack(0, after=0.001)
    assert peer.sender.retransmissions == 1
    assert peer.sender.deadline == deadline


def test_what_waited_for_a_gap_to_be_filled_is_no_sample_of_the_round_trip():
    peer = Peer()
    peer.write(4)
    peer.time_out()
    peer.time_out()  # the first goes again; of the others no ACK has told
    before = peer.sender.rto.srtt
    peer.ack(4, after=5.0)
    assert peer.sender.rto.srtt == before


@pytest.mark.parametrize(
    ("sack", "vain", "backoff"), [(True, False, 0), (True, True, 1), (False, False, 1)]
)
def test_it_stays_backed_off_only_if_it_may_be_too_short(sack, vain, backoff):
    """As Karn's rule has it; but a peer that tells of duplicates has told of none, so the segment was lost."""
    peer = Peer(sack=sack)
    peer.write(3)
    peer.ack(1)
    if vain:
        peer.ack(1, (0, 1))
    while not peer.sender.rto.backoff:
        peer.time_out()
    peer.ack(2)
    assert peer.sender.rto.backoff == backoff
    peer.ack(3)
    peer.write(1)
    peer.ack(4)
    assert peer.sender.rto.backoff == 0


def test_after_it_the_window_doubles_until_all_is_repaired():
    peer = Peer()
    peer.write(10)
    peer.time_out()
    sent = peer.time_out()
    assert numbers(sent) == [0]
    sent = peer.ack(1)
    assert numbers(sent) == [1, 2]
    sent = peer.ack(3)
    assert numbers(sent) == [3, 4, 5, 6]


def test_one_that_was_for_nothing_is_taken_back():
    peer = Peer()
    peer.write(10)
    peer.time_out()  # the probe
    assert numbers(peer.time_out()) == [0]
    peer.ack(10, (9, 10))
    peer.ack(10, (0, 1))
    assert peer.sender.cubic.cwnd >= 10_000


def test_a_peer_that_drops_what_it_held_gets_it_again():
    peer = Peer()
    peer.write(4)
    peer.ack(0, (0, 1), (2, 3))  # the first is held, yet not acknowledged
    while not peer.sender.rto.backoff:
        sent = peer.time_out()
    sent += peer.time_out()
    assert 0 in numbers(sent)


def test_without_any_progress_it_is_hopeless():
    peer = Peer()
    peer.write(1)
    begin = peer.now
    while not peer.sender.is_hopeless(peer.now):
        peer.time_out()
    assert GIVE_UP_S <= peer.now - begin < GIVE_UP_S + 60
    assert not Peer().sender.is_hopeless(1e9)


def test_after_a_pause_the_window_begins_anew():
    peer = Peer()
    for sent in (10, 20, 40):
        peer.write(sent)
    for acked in range(1, 71):
        peer.ack(acked, after=0.0001)
    assert peer.sender.is_idle
    assert peer.sender.cubic.cwnd > 30_000
    peer.now += 10
    assert len(peer.write(100)) == 10


# ---------------------------------------------------------------- smaller segments


def test_a_smaller_path_sends_again_what_was_too_large_and_nothing_was_lost():
    peer = Peer()
    peer.write(3.3)
    peer.sender.lower_mss(400)
    pieces = peer.flush()
    assert [len(piece.data) for piece in pieces] == [400, 400, 200] * 3
    assert peer.sender.in_flight == 3300
    assert peer.sender.cubic.ssthresh == math.inf
    assert peer.sender.mss == 400
    peer.sender.finish()
    assert [len(piece.data) for piece in peer.write(1)] == [400, 400, 200]


def test_a_larger_path_changes_nothing():
    peer = Peer()
    peer.write(3)
    peer.sender.lower_mss(1000)
    peer.sender.lower_mss(2000)
    assert peer.flush() == []


def test_a_large_end_is_cut_too():
    peer = Peer()
    peer.sender.finish()
    peer.write(1)
    peer.sender.lower_mss(600)
    assert [(len(piece.data), piece.fin) for piece in peer.flush()] == [(600, False), (400, True)]


def test_large_segments_that_vanish_become_smaller():
    peer = Peer()
    peer.sender.open(1400, sack=True, now=peer.now)
    peer.write(7)
    peer.time_out()
    assert [len(piece.data) for piece in peer.time_out()] == [1400]
    assert [len(piece.data) for piece in peer.time_out()] == [1220, 180]
    assert peer.sender.mss == 1220
    peer.time_out()
    assert peer.sender.mss == 1220


def test_small_segments_that_vanish_stay_as_they_are():
    peer = Peer()
    peer.write(1)
    for _ in range(5):
        peer.time_out()
    assert peer.sender.mss == MSS


# ---------------------------------------------------------------- the end


def test_nothing_follows_a_connection_that_is_over():
    peer = Peer()
    peer.write(100)
    peer.sender.clear()
    assert peer.sender.deadline == math.inf
    assert peer.sender.in_flight == 0


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_over_a_bad_way_everything_arrives(sack, seed):
    """A receiver in ten lines, a way that loses one in ten each way: the text is the same, and it ends."""
    draw = random.Random(seed)
    peer, data = Peer(sack=sack), draw.randbytes(60_000)
    peer.sender.write(data)
    peer.sender.finish()
    got: dict[int, bytes] = {}
    nxt = START
    for _ in range(3000):
        for piece in peer.flush():
            if draw.random() > 0.1:
                got[piece.seq] = bytes(piece.data) + b"\0" * piece.fin
        while any(seq <= nxt < seq + len(text) for seq, text in got.items()):
            nxt = max(seq + len(text) for seq, text in got.items() if seq <= nxt)
        peer.now += 0.01
        if draw.random() > 0.1:
            blocks = sorted((seq, seq + len(text)) for seq, text in got.items() if seq > nxt)
            is_duplicate = nxt == peer.sender.una
            peer.sender.update_window(nxt, 10**6, peer.now)
            shown = blocks[-3:] if sack else []
            peer.sender.receive_ack(nxt, shown, peer.now, is_duplicate=is_duplicate)
        if peer.sender.is_finished:
            break
        if peer.sender.deadline <= peer.now:
            peer.sender.handle_timer(peer.now)
    assert peer.sender.is_finished
    text = bytearray(60_001)
    for seq, piece_text in got.items():
        text[seq - START : seq - START + len(piece_text)] = piece_text
    assert text[:-1] == data
