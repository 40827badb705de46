"""`mcpctld.protocols.inet.tcp.rto`: how long to wait, after RFC 6298."""

import pytest

from mcpctld.protocols.inet.tcp.rto import MAX_S, MIN_S, RetransmissionTimeout


def test_before_the_first_sample_it_is_a_second():
    rto = RetransmissionTimeout()
    assert (rto.timeout, rto.srtt) == (1.0, None)


def test_the_first_sample():
    rto = RetransmissionTimeout()
    rto.sample(0.5)
    assert (rto.srtt, rto.variance) == (0.5, 0.25)
    assert rto.timeout == 1.5


def test_the_next_samples_are_smoothed():
    rto = RetransmissionTimeout()
    rto.sample(0.5)
    rto.sample(0.9)
    assert rto.variance == pytest.approx(0.25 * 0.75 + 0.4 / 4)
    assert rto.srtt == pytest.approx(0.5 + 0.4 / 8)
    assert rto.timeout == pytest.approx(rto.srtt + 4 * rto.variance)


def test_it_is_never_less_than_peers_delay_acknowledgements():
    rto = RetransmissionTimeout()
    for _ in range(100):
        rto.sample(0.001)
    assert rto.timeout == MIN_S


def test_a_steady_round_trip_leaves_some_time_to_spare():
    rto = RetransmissionTimeout()
    for _ in range(1000):
        rto.sample(0.5)
    assert rto.timeout == pytest.approx(0.51)


def test_it_doubles_each_time_up_to_a_minute():
    rto = RetransmissionTimeout()
    found = []
    for _ in range(8):
        found.append(rto.timeout)
        rto.back_off()
    assert found == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, MAX_S, MAX_S]
    for _ in range(10_000):
        rto.back_off()
    assert rto.timeout == MAX_S


def test_what_arrives_at_a_later_attempt_may_end_the_backing_off():
    rto = RetransmissionTimeout()
    rto.back_off()
    rto.forgive()
    assert (rto.timeout, rto.backoff) == (1.0, 0)


def test_a_sample_ends_the_backing_off():
    rto = RetransmissionTimeout()
    rto.sample(0.1)
    before = rto.timeout
    rto.back_off()
    assert (rto.timeout, rto.backoff) == (2 * before, 1)
    rto.sample(0.1)
    assert rto.backoff == 0
    assert rto.timeout < before


def test_after_a_lost_syn_it_is_three_seconds():
    rto = RetransmissionTimeout()
    rto.lose_syn()
    assert rto.timeout == 3.0
    rto.sample(0.1)
    assert rto.timeout < 1.0
