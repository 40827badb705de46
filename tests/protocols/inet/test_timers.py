"""`mcpctld.protocols.inet.timers`: the next deadline of many."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.timers import Timers


class Thing:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline


def test_nothing_waits():
    timers = Timers[Thing]()
    timers.update(Thing(math.inf))
    assert timers.next() is None
    assert timers.due(1e9) == []


def test_the_earliest_comes_first_and_each_once():
    first, second, third = Thing(1.0), Thing(2.0), Thing(3.0)
    timers = Timers[Thing]()
    for thing in (third, first, second):
        timers.update(thing)
    assert timers.next() == 1.0
    assert timers.due(2.0) == [first, second]
    assert timers.next() == 3.0


def test_a_deadline_that_moves_away_is_not_early():
    thing = Thing(1.0)
    timers = Timers[Thing]()
    timers.update(thing)
    thing.deadline = 5.0
    timers.update(thing)
    assert timers.next() == 5.0
    assert timers.due(4.9) == []
    assert timers.due(5.0) == [thing]


def test_a_deadline_that_comes_nearer_is_kept():
    thing = Thing(5.0)
    timers = Timers[Thing]()
    timers.update(thing)
    thing.deadline = 1.0
    timers.update(thing)
    assert timers.due(1.0) == [thing]
    thing.deadline = 5.0
    timers.update(thing)
    assert timers.due(5.0) == [thing]


def test_what_is_discarded_is_not_told():
    thing, other = Thing(1.0), Thing(2.0)
    timers = Timers[Thing]()
    timers.update(thing)
    timers.update(other)
    timers.discard(thing)
    timers.discard(thing)
    assert timers.next() == 2.0


def test_one_that_swings_between_two_deadlines_does_not_pile_up():
    thing = Thing(7200.0)
    timers = Timers[Thing]()
    for now in range(1, 5000):
        thing.deadline = now + 0.2
        timers.update(thing)
        assert timers.due(now + 0.2) == [thing]
        thing.deadline = now + 7200.0
        timers.update(thing)
    assert len(timers._heap) <= 2


actions = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.booleans()), max_size=60)


@given(actions)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_it_agrees_with_looking_at_all_of_them(moves):
    things = [Thing(math.inf) for _ in range(5)]
    timers = Timers[Thing]()
    now = 0.0
    for which, delta, advances in moves:
        if advances:
            now += delta
            due = timers.due(now)
            assert set(due) == {thing for thing in things if thing.deadline <= now}
            assert len(due) == len(set(due))
            for thing in due:
                thing.deadline = math.inf
                timers.update(thing)
        else:
            things[which].deadline = now + delta + 1
            timers.update(things[which])
        earliest = min(thing.deadline for thing in things)
        assert timers.next() == (None if earliest == math.inf else earliest)
