"""`mcpctld.protocols.wireguard.timers`: what is due when."""

import math

import pytest

from mcpctld.protocols.wireguard.timers import STALE_AFTER, Timer, Timers


@pytest.fixture
def timers():
    return Timers(None)


def test_at_first_nothing_is_due(timers):
    assert timers.next() == math.inf
    assert timers.pop(1e12) == []


def test_an_initiation_is_repeated(timers):
    timers.jitter = 0.25
    timers.initiated(100.0)
    assert timers.next() == 105.25
    assert timers.pop(105.2) == []
    assert timers.pop(105.25) == [Timer.RETRANSMIT]
    assert timers.pop(200.0) == []


def test_an_initiation_that_must_wait_is_not_put_off_by_others(timers):
    timers.jitter = 0.25
    timers.postponed(105.0)
    timers.postponed(109.0)
    assert timers.next() == 105.25


def test_with_a_session_no_initiation_is_wanted(timers):
    timers.initiated(100.0)
    timers.established()
    assert timers.next() == math.inf


def test_data_is_answered_with_a_keepalive_after_the_first_of_it(timers):
    timers.received(100.0, data=True)
    timers.received(109.0, data=True)
    assert timers.pop(110.0) == [Timer.KEEPALIVE]


@pytest.mark.parametrize("data", [True, False])
def test_whatever_goes_is_answer_enough(timers, data):
    timers.received(100.0, data=True)
    timers.sent(105.0, data=data)
    assert Timer.KEEPALIVE not in timers.pop(1000.0)


def test_a_keepalive_is_not_answered(timers):
    timers.received(100.0, data=False)
    assert timers.next() == math.inf


def test_data_without_an_answer_is_noticed_from_the_first_of_it(timers):
    timers.jitter = 0.25
    timers.sent(100.0, data=True)
    timers.sent(110.0, data=True)
    assert timers.next() == 100.0 + STALE_AFTER + 0.25 == 115.25
    assert timers.pop(115.25) == [Timer.STALE]


@pytest.mark.parametrize("data", [True, False])
def test_whatever_comes_is_answer_enough(timers, data):
    timers.sent(100.0, data=True)
    timers.received(110.0, data=data)
    assert Timer.STALE not in timers.pop(1000.0)


def test_a_keepalive_needs_no_answer(timers):
    timers.sent(100.0, data=False)
    assert timers.next() == math.inf


def test_keys_are_erased_when_no_new_ones_come(timers):
    timers.derived(100.0)
    timers.derived(220.0)
    assert timers.next() == 760.0
    assert timers.pop(760.0) == [Timer.ERASE]


def test_giving_up_ends_all_but_the_keys(timers):
    timers.received(100.0, data=True)
    timers.gave_up(101.0)
    assert timers.next() == 641.0
    timers.gave_up(200.0)
    assert timers.next() == 641.0


def test_persistent_keepalives_count_from_whatever_went_or_came():
    timers = Timers(25.0)
    assert timers.next() == math.inf
    timers.sent(100.0, data=False)
    assert timers.next() == 125.0
    timers.received(120.0, data=False)
    assert timers.pop(145.0) == [Timer.PERSISTENT]


def test_what_is_due_together_comes_in_its_order(timers):
    timers.received(100.0, data=True)  # keepalive at 110
    timers.initiated(100.0)  # at 105
    timers.derived(100.0)  # at 640
    assert timers.pop(1000.0) == [Timer.RETRANSMIT, Timer.KEEPALIVE, Timer.ERASE]
