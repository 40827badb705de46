"""`mcpctld.drivers.http.alarm`: one task, awake when it must be."""

import math

import pytest
import trio

from mcpctld.drivers.http.alarm import Alarm


class Diary:
    """Writes down when it was called; answers with what it was told to."""

    def __init__(self, *answers: float) -> None:
        self.rings: list[float] = []
        self.answers = list(answers)
        self.began = trio.current_time()

    def due(self) -> float:
        self.rings.append(round(trio.current_time() - self.began, 6))
        return self.began + self.answers.pop(0) if self.answers else math.inf


@pytest.mark.parametrize(
    ("set_", "answers", "rings"),
    [
        ([3], [], [3]),
        ([3, 5], [], [3]),
        ([5, 3], [], [3]),
        ([3], [4, 9], [3, 4, 9]),
        ([math.inf], [], []),
        ([-1], [], [0]),
    ],
)
async def test_it_rings_at_the_earliest_time_that_was_set(autojump_clock, set_, answers, rings):
    diary = Diary(*answers)
    async with trio.open_nursery() as nursery:
        alarm = Alarm(nursery, diary.due)
        for time in set_:
            alarm.set(diary.began + time)
    assert diary.rings == rings


async def test_an_earlier_time_can_be_set_while_it_sleeps(autojump_clock):
    diary = Diary()
    async with trio.open_nursery() as nursery:
        alarm = Alarm(nursery, diary.due)
        alarm.set(diary.began + 10)
        await trio.sleep(2)
        alarm.set(diary.began + 5)
        alarm.set(diary.began + 7)
    assert diary.rings == [5]


async def test_what_is_set_while_it_rings_counts_too(autojump_clock):
    diary = Diary(9)

    def due():
        if not diary.rings:
            alarm.set(diary.began + 6)
        return diary.due()

    async with trio.open_nursery() as nursery:
        alarm = Alarm(nursery, due)
        alarm.set(diary.began + 1)
        await trio.sleep(0.5)
        assert len(nursery.child_tasks) == 1
        await trio.sleep(4)
        assert len(nursery.child_tasks) == 1
    assert diary.rings == [1, 6]
    assert len(nursery.child_tasks) == 0


async def test_it_can_be_set_again_after_it_came_to_rest(autojump_clock):
    diary = Diary()
    async with trio.open_nursery() as nursery:
        alarm = Alarm(nursery, diary.due)
        alarm.set(diary.began + 1)
        await trio.sleep(2)
        assert not nursery.child_tasks
        alarm.set(diary.began + 3)
    assert diary.rings == [1, 3]
