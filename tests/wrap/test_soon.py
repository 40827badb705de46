"""Answers that do not come at once become streams."""

import trio

from mcpctld.wrap.soon import AFTER_S, Soon


class Waiting:
    def __init__(self) -> None:
        self.began = trio.current_time()
        self.streamed: list[float] = []

    def stream_now(self) -> None:
        self.streamed.append(trio.current_time() - self.began)


async def test_each_has_its_time(autojump_clock, nursery: trio.Nursery):
    soon = Soon(nursery)
    made = []
    for _ in range(5):
        made.append(one := Waiting())
        soon.note(one, trio.current_time())
        await trio.sleep(AFTER_S / 3)
    await trio.sleep(1)
    for one in made:
        (waited,) = one.streamed
        assert AFTER_S <= waited < AFTER_S + 0.001


async def test_many_at_the_same_time_take_one_task(autojump_clock, nursery: trio.Nursery):
    soon = Soon(nursery)
    made = [Waiting() for _ in range(100)]
    for one in made:
        soon.note(one, one.began)
    await trio.lowlevel.checkpoint()
    assert len(nursery.child_tasks) == 1
    await trio.sleep(1)
    assert all(len(one.streamed) == 1 for one in made)
    assert len(nursery.child_tasks) == 0


async def test_rest_is_no_end(autojump_clock, nursery: trio.Nursery):
    soon = Soon(nursery)
    for _ in range(3):
        one = Waiting()
        soon.note(one, one.began)
        await trio.sleep(10)
        assert len(one.streamed) == 1
