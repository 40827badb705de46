"""What is due when."""

import math

from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers


class Log(list[tuple[str, float]]):
    def __call__(self, name: str):
        return lambda now: self.append((name, now))


def test_without_a_timer_there_is_no_deadline():
    assert Timers().deadline == math.inf


def test_timers_act_once_when_they_are_due():
    timers, log = Timers(), Log()
    timers.set("late", 0.0, 5.0, log("late"))
    timers.set("early", 0.0, 1.0, log("early"))
    timers.set("second", 1.0, 1.0, log("second"))
    assert timers.deadline == 1.0
    timers.run(0.5)
    assert log == []
    timers.run(1.0)
    assert log == [("early", 1.0)]
    assert timers.deadline == 2.0
    timers.run(9.0)
    assert sorted(log[1:]) == [("late", 9.0), ("second", 9.0)]
    assert timers.deadline == math.inf


def test_a_timer_is_dropped_or_replaced_by_its_key():
    timers, log = Timers(), Log()
    timers.set("key", 0.0, 1.0, log("old"))
    timers.set("key", 0.0, 3.0, log("new"))
    timers.set("other", 0.0, 1.0, log("other"))
    timers.drop("other")
    timers.drop("unknown")
    assert timers.deadline == 3.0
    timers.run(3.0)
    assert log == [("new", 3.0)]


def test_an_action_may_set_timers():
    timers, log = Timers(), Log()
    timers.set("key", 0.0, 1.0, lambda now: timers.set("key", now, 2.0, log("again")))
    timers.run(1.0)
    assert timers.deadline == 3.0
    timers.run(3.0)
    assert log == [("again", 3.0)]
