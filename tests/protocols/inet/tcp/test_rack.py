"""`mcpctld.protocols.inet.tcp.rack`: which segments are lost, after RFC 8985."""

import pytest

from mcpctld.protocols.inet.tcp.rack import Rack
from mcpctld.protocols.inet.tcp.scoreboard import Record, Scoreboard

SIZE, RTT = 10, 0.1


class Flight:
    """Segments of ten bytes, sent 10 ms apart; ACKs come a round trip later unless another time is said."""

    def __init__(self, count: int) -> None:
        self.rack, self.board = Rack(), Scoreboard()
        self.records = [Record(SIZE * n, SIZE * n + SIZE, False, n / 100) for n in range(count)]
        for record in self.records:
            self.board.add(record)

    def sack(self, *which: int, now: float | None = None) -> None:
        for at in which:
            start = self.records[at].start
            for record in self.board.sack([(start, start + SIZE)]):
                self.rack.receive(record, record.sent_at + RTT if now is None else now)

    def acknowledge(self, count: int, now: float) -> None:
        for record in self.board.acknowledge(SIZE * count):
            self.rack.receive(record, now)

    def lost(self, now: float, *, in_recovery: bool = False) -> tuple[list[int], float]:
        found, wait = self.rack.find_lost(self.board, now, RTT, in_recovery=in_recovery)
        return [record.start // SIZE for record in found], round(wait, 6)


def test_nothing_is_lost_before_something_has_arrived():
    assert Flight(5).lost(9.0) == ([], 0.0)


def test_what_was_sent_later_than_what_arrived_is_not_lost():
    flight = Flight(5)
    flight.acknowledge(2, 0.11)
    assert flight.lost(9.0) == ([], 0.0)


def test_one_that_was_passed_is_waited_for_a_quarter_of_a_round_trip():
    flight = Flight(5)
    flight.sack(1)
    assert flight.lost(0.11) == ([], 0.015)
    assert flight.lost(0.124) == ([], 0.001)
    assert flight.lost(0.1251) == ([0], 0.0)


def test_three_beyond_a_gap_are_enough():
    flight = Flight(5)
    flight.sack(1, 2)
    assert flight.lost(0.12)[0] == []
    flight.sack(3)
    assert flight.lost(0.13) == ([0], 0.0)


def test_while_repairing_there_is_no_waiting():
    flight = Flight(5)
    flight.sack(1)
    assert flight.lost(0.11, in_recovery=True) == ([0], 0.0)


def test_once_reordering_was_seen_there_is_always_waiting():
    flight = Flight(6)
    flight.sack(1, 2)
    flight.sack(0, now=0.13)
    assert flight.rack.reordering_seen
    flight.sack(5)
    assert flight.lost(0.15, in_recovery=True) == ([], 0.005)
    assert flight.lost(0.1551, in_recovery=True)[0] == [3]
    assert flight.lost(0.1651)[0] == [3, 4]


def test_an_early_copy_tells_nothing():
    flight = Flight(3)
    flight.sack(1)
    flight.board.mark_lost(flight.records[0])
    flight.board.resend(flight.records[0], 0.2)
    flight.sack(0, now=0.21)  # far too soon after it was sent again
    assert flight.lost(9.0) == ([], 0.0)
    assert not flight.rack.reordering_seen


def test_a_copy_that_arrived_tells_of_those_before_it():
    flight = Flight(4)
    flight.sack(1)
    flight.board.mark_lost(flight.records[0])
    flight.board.resend(flight.records[0], 0.2)
    flight.sack(0, now=0.31)
    assert flight.lost(0.31, in_recovery=True)[0] == [2, 3]


def test_a_copy_can_be_lost_too():
    flight = Flight(4)
    flight.sack(1, 2)
    flight.board.mark_lost(flight.records[0])
    flight.board.resend(flight.records[0], 0.2)
    later = Record(40, 50, False, 0.25)
    flight.board.add(later)
    flight.rack.receive(flight.board.sack([(40, 50)])[0], 0.35)
    assert flight.lost(0.35, in_recovery=True)[0] == [3, 0]


def test_needless_copies_make_it_more_patient_once_a_round_trip():
    flight = Flight(10)
    flight.sack(1, 2)
    flight.sack(0, now=0.13)
    flight.sack(9)
    assert flight.lost(0.208)[0] == [3, 4, 5, 6, 7, 8]
    flight.rack.receive_dsack(una=30, nxt=100)
    flight.rack.receive_dsack(una=30, nxt=100)  # in the same round trip
    assert flight.lost(0.208)[0] == [3, 4, 5]
    flight.rack.receive_dsack(una=100, nxt=200)
    assert flight.lost(0.208)[0] == [3]


def test_patience_is_never_more_than_a_round_trip():
    flight = Flight(3)
    for round_ in range(50):
        flight.rack.receive_dsack(una=round_ * 100, nxt=round_ * 100 + 100)
    flight.sack(1)
    assert flight.lost(0.11) == ([], round(0.1 + RTT - 0.11, 6))


def test_patience_wears_off_after_sixteen_recoveries():
    flight = Flight(3)
    for round_ in range(3):
        flight.rack.receive_dsack(una=round_ * 100, nxt=round_ * 100 + 100)
    flight.sack(1)
    assert flight.lost(0.11) == ([], 0.09)
    for _ in range(15):
        flight.rack.end_recovery()
    assert flight.lost(0.11) == ([], 0.09)
    flight.rack.end_recovery()
    assert flight.lost(0.11) == ([], 0.015)


@pytest.mark.parametrize(("now", "lost"), [(0.121, [0, 1, 2]), (0.105, [0]), (9.0, [0, 1, 2, 3])])
def test_on_a_timeout_the_first_is_lost_and_what_is_as_old(now, lost):
    flight = Flight(5)
    flight.sack(4, now=0.14)
    found = flight.rack.lost_on_timeout(flight.board, now, RTT)
    assert [record.start // SIZE for record in found] == lost
