"""`mcpctld.protocols.inet.tcp.scoreboard`: what is in flight, lost, or held by the peer."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.tcp.scoreboard import MAX_SEEN, Record, Scoreboard

SIZE = 10


def board(count: int) -> tuple[Scoreboard, list[Record]]:
    """So many segments of ten bytes, sent one a second."""
    made = Scoreboard()
    records = [Record(SIZE * n, SIZE * (n + 1), False, float(n)) for n in range(count)]
    for record in records:
        made.add(record)
    return made, records


def test_an_empty_one():
    made = Scoreboard()
    assert not made
    assert (made.in_flight, made.sacked, len(made), made.next_lost()) == (0, 0, 0, None)


def test_what_is_acknowledged_is_gone():
    made, records = board(4)
    assert made.in_flight == 40
    assert made.acknowledge(20) == records[:2]
    assert (made.in_flight, len(made), made.first, made.last) == (20, 2, records[2], records[3])
    assert made.acknowledge(20) == []
    assert made.acknowledge(40) == records[2:]
    assert not made


def test_a_part_of_a_segment_may_be_acknowledged():
    made, records = board(2)
    assert made.acknowledge(14) == records[:1]
    assert (made.first.start, made.in_flight) == (14, 6)
    made.mark_lost(made.first)
    assert made.acknowledge(17) == []
    assert (made.first.start, made.in_flight) == (17, 0)
    assert made.next_lost() is records[1]


def test_what_the_peer_holds_is_not_in_flight():
    made, records = board(6)
    assert made.sack([(30, 50)]) == records[3:5]
    assert (made.in_flight, made.sacked) == (40, 2)
    assert made.sack([(30, 50)]) == []
    assert made.sack([(30, 60), (10, 20)]) == [records[5], records[1]]
    assert made.acknowledge(40) == [records[0], records[2]]
    assert (made.in_flight, made.sacked) == (0, 2)


@pytest.mark.parametrize("block", [(5, 15), (11, 19), (8, 10), (0, 9)])
def test_a_part_of_a_segment_is_not_held(block):
    made, _ = board(2)
    assert made.sack([block]) == []


def test_a_block_that_grows_within_a_segment_is_marked_once_whole():
    made, records = board(4)
    assert made.sack([(10, 25)]) == [records[1]]
    assert made.sack([(10, 30)]) == [records[2]]
    assert made.sack([(10, 40)]) == [records[3]]


def test_lost_ones_are_sent_again_in_order():
    made, records = board(5)
    for at in (3, 1, 2):
        made.mark_lost(records[at])
    assert made.in_flight == 20
    assert made.next_lost() is records[1]
    made.resend(records[1], 9.0)
    assert (made.in_flight, records[1].sends, records[1].sent_at) == (30, 2, 9.0)
    assert made.next_lost() is records[2]
    made.sack([(20, 30)])  # it was not lost after all
    assert made.next_lost() is records[3]


def test_those_in_flight_come_in_the_order_in_which_they_were_sent_last():
    made, records = board(4)
    made.mark_lost(records[0])
    made.resend(records[0], 9.0)
    made.resend(records[2], 10.0)  # not lost, sent as a probe
    assert list(made.flying) == [records[1], records[3], records[0], records[2]]
    assert made.in_flight == 40


def test_a_segment_that_has_become_too_large_is_cut():
    made = Scoreboard()
    whole = Record(0, 26, True, 1.0)
    made.add(whole)
    made.mark_lost(whole)
    made.split(whole, 10)
    assert (whole.start, whole.end, whole.fin) == (0, 10, False)
    made.resend(whole, 2.0)
    rest = made.next_lost()
    assert rest is not None
    assert (rest.start, rest.end, rest.fin, rest.sends) == (10, 26, True, 1)
    assert len(made) == 2
    made.resend(rest, 2.0)
    assert made.in_flight == 26


def test_a_peer_may_drop_what_it_held():
    made, records = board(4)
    made.sack([(0, 20)])
    made.forget_sacks()
    assert (made.sacked, made.in_flight) == (0, 20)
    assert made.next_lost() is records[0]
    made.resend(records[0], 9.0)
    assert made.next_lost() is records[1]
    assert made.sack([(0, 20)]) == records[:2]


def test_any_number_of_blocks_takes_no_more_room():
    made, _ = board(4 * MAX_SEEN)
    for n in range(0, 4 * MAX_SEEN, 2):
        made.sack([(SIZE * n, SIZE * (n + 1))])
        assert len(made._seen) <= MAX_SEEN
    assert made.sacked == 2 * MAX_SEEN


@given(st.integers(0, 2**32))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_the_sums_are_those_of_the_records(seed):
    draw = random.Random(seed)
    made, records = board(30)
    for _ in range(60):
        record = draw.choice(records)
        choice = draw.randrange(4)
        if choice == 0:
            start = SIZE * draw.randrange(30)
            made.sack([(start, start + SIZE * draw.randrange(1, 9))])
        elif choice == 1 and record in made.flying:
            made.mark_lost(record)
        elif choice == 2 and (lost := made.next_lost()) is not None:
            made.resend(lost, 100.0)
        elif draw.random() < 0.2:
            made.acknowledge(draw.randrange(300))
        held = [r for r in made._records if r.is_sacked]
        flying = [r for r in made._records if not r.is_sacked and not r.is_lost]
        assert made.sacked == len(held)
        assert made.in_flight == sum(r.end - r.start for r in flying)
        assert set(made.flying) == set(flying)
        lost = [r for r in made._records if r.is_lost]
        assert made.next_lost() is (min(lost, key=lambda r: r.start) if lost else None)
