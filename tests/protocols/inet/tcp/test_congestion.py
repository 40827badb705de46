"""`mcpctld.protocols.inet.tcp.congestion`: the window of RFC 9438, step by step."""

import math

import pytest

from mcpctld.protocols.inet.tcp.congestion import Cubic, Prr

MSS, RTT = 1000, 0.1


def avoid(cubic: Cubic, seconds: float, start: float = 0.0) -> float:
    """Acknowledge a window a round trip, for so long; the window in segments."""
    now = start
    while now < start + seconds:
        now += RTT
        cubic.receive_ack(int(cubic.cwnd), now, RTT)
    return cubic.cwnd / MSS


def reduced(segments: int) -> Cubic:
    """A window of so many segments in which something is lost; recovery is over."""
    cubic = Cubic(MSS)
    cubic.cwnd = float(segments * MSS)
    cubic.reduce(segments * MSS)
    cubic.cwnd = cubic.ssthresh
    return cubic


def test_it_begins_with_ten_segments():
    assert Cubic(MSS).cwnd == 10 * MSS
    assert Cubic(MSS).ssthresh == math.inf


def test_slow_start_doubles_it_each_round_trip():
    cubic = Cubic(MSS)
    for _ in range(3):
        cubic.receive_ack(int(cubic.cwnd), 1.0, RTT)
    assert cubic.cwnd == 80 * MSS


def test_a_loss_takes_three_tenths():
    cubic = Cubic(MSS)
    cubic.reduce(100 * MSS)
    assert cubic.ssthresh == 70 * MSS
    cubic.reduce(1)
    assert cubic.ssthresh == 2 * MSS  # never less


def test_it_comes_back_to_where_it_was_after_k_and_goes_on_beyond():
    k = (0.3 * 1000 / 0.4) ** (1 / 3)
    cubic = reduced(1000)
    before = avoid(cubic, k / 2)
    assert 900 < before < 1000
    at = avoid(cubic, k / 2, k / 2)
    assert 985 < at < 1005
    assert avoid(cubic, k, k) > 1150


def test_the_plateau_is_flat_and_what_follows_is_steep():
    k = (0.3 * 1000 / 0.4) ** (1 / 3)
    cubic = reduced(1000)
    first = avoid(cubic, 1.0)
    middle = avoid(cubic, k - 1.5, 1.0)
    plateau = avoid(cubic, 1.0, k - 0.5)
    assert first - 700 > 10 * abs(plateau - middle)


def test_a_small_window_grows_as_that_of_reno():
    cubic = reduced(20)
    assert avoid(cubic, 10 * RTT) == pytest.approx(14 + 10 * 3 * 0.3 / 1.7, rel=0.05)


def test_beyond_the_earlier_window_it_adds_a_segment_a_round_trip_as_reno():
    cubic = reduced(8)
    cubic.receive_ack(0, 0.0, RTT)
    grown = avoid(cubic, 40 * RTT)
    assert grown > 8 + 20


def test_no_round_trip_raises_it_by_more_than_half():
    cubic = reduced(1000)
    cubic.receive_ack(1, 0.0, RTT)
    before = cubic.cwnd
    cubic.receive_ack(int(cubic.cwnd), 1e6, RTT)
    assert before < cubic.cwnd <= 1.5 * before + MSS


def test_who_comes_down_twice_makes_room():
    cubic = Cubic(MSS)
    cubic.cwnd = 1000.0 * MSS
    cubic.reduce(1000 * MSS)
    cubic.cwnd = cubic.ssthresh
    cubic.reduce(700 * MSS)
    cubic.cwnd = cubic.ssthresh
    k = ((700 * 0.85 - 490) / 0.4) ** (1 / 3)
    assert avoid(cubic, k) == pytest.approx(700 * 0.85, rel=0.02)


def test_time_without_need_does_not_count():
    cubic, other = reduced(1000), reduced(1000)
    avoid(cubic, 1.0)
    avoid(other, 1.0)
    cubic.pause()
    assert avoid(cubic, 1.0, 1000.0) < 1000
    assert avoid(other, 1.0, 1000.0) > 1400


def test_after_a_pause_it_begins_anew():
    cubic = Cubic(MSS)
    cubic.cwnd = 100.0 * MSS
    cubic.restart()
    assert cubic.cwnd == 10 * MSS
    cubic.cwnd = 3.0 * MSS
    cubic.restart()
    assert cubic.cwnd == 3 * MSS


def test_a_timeout_leaves_one_segment():
    cubic = Cubic(MSS)
    cubic.time_out(100 * MSS, again=False)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)
    cubic.time_out(MSS, again=True)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)


def test_what_was_done_for_nothing_is_taken_back():
    cubic = Cubic(MSS)
    cubic.cwnd = 100.0 * MSS
    cubic.reduce(100 * MSS)
    cubic.cwnd = cubic.ssthresh
    cubic.undo()
    assert (cubic.cwnd, cubic.ssthresh) == (100 * MSS, math.inf)
    cubic.cwnd = 5.0
    cubic.undo()  # once
    assert cubic.cwnd == 5.0


def test_segments_may_become_smaller_and_one_always_fits():
    cubic = Cubic(MSS)
    cubic.set_mss(500)
    assert (cubic.mss, cubic.cwnd) == (500, 10 * MSS)
    cubic.cwnd = 100.0
    cubic.set_mss(400)
    assert cubic.cwnd == 400


def test_after_two_lost_syns_it_begins_with_one_segment():
    cubic = Cubic(MSS)
    cubic.begin_carefully()
    assert cubic.cwnd == MSS


# ---------------------------------------------------------------- proportional rate reduction


def test_the_first_retransmission_goes_in_any_case():
    assert Prr(10 * MSS, 7 * MSS, MSS).room(0, 20 * MSS) == MSS


def test_for_ten_that_arrive_seven_are_sent():
    prr, flight, sent = Prr(20 * MSS, 14 * MSS, MSS), 19 * MSS, 0
    for _ in range(10):
        flight -= MSS
        room = prr.room(MSS, flight)
        while room >= MSS:
            prr.send(MSS)
            flight += MSS
            sent += 1
            room -= MSS
    assert sent == 7


def test_below_the_threshold_it_grows_back_as_in_slow_start():
    prr = Prr(20 * MSS, 14 * MSS, MSS)
    prr.send(MSS)
    assert prr.room(MSS, 4 * MSS) == 2 * MSS
    prr.send(2 * MSS)
    assert prr.room(MSS, 6 * MSS) == 2 * MSS
    assert prr.room(100 * MSS, 13 * MSS) == MSS  # up to the threshold


def test_it_is_never_negative():
    prr = Prr(0, 2 * MSS, MSS)
    prr.send(50 * MSS)
    assert prr.room(0, 10 * MSS) == 0
