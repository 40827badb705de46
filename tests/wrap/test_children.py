"""Places for processes: who comes first is served first, and nobody waits for long."""

import pytest
import trio
import trio.testing

from mcpctld.wrap.children import WAIT_S, Busy, Children


def nobody() -> bool:
    return False


class Crowd:
    """Tasks that want a place each, and keep it until they are told."""

    def __init__(self, children: Children, nursery: trio.Nursery) -> None:
        self.children = children
        self.nursery = nursery
        self.inside: list[str] = []
        self.refused: list[str] = []
        self.leaving: dict[str, trio.Event] = {}

    async def come(self, name: str) -> None:
        self.leaving[name] = trio.Event()
        self.nursery.start_soon(self._stay, name)
        await trio.testing.wait_all_tasks_blocked()

    async def _stay(self, name: str) -> None:
        try:
            async with self.children.place():
                self.inside.append(name)
                await self.leaving[name].wait()
                self.inside.remove(name)
        except Busy:
            self.refused.append(name)

    async def go(self, name: str) -> None:
        self.leaving[name].set()
        await trio.testing.wait_all_tasks_blocked()


async def test_there_are_never_more_than_that(autojump_clock, nursery: trio.Nursery):
    crowd = Crowd(Children(2, nobody), nursery)
    for name in "abc":
        await crowd.come(name)
    assert crowd.inside == ["a", "b"]
    assert (crowd.children.running, crowd.children.waiting) == (2, 1)
    assert crowd.children.full
    await crowd.go("a")
    assert crowd.inside == ["b", "c"]
    await crowd.go("b")
    assert not crowd.children.full


async def test_who_comes_first_is_served_first(autojump_clock, nursery: trio.Nursery):
    crowd = Crowd(Children(1, nobody), nursery)
    for name in "abcd":
        await crowd.come(name)
    for name, after in zip("abc", "bcd", strict=True):
        await crowd.go(name)
        assert crowd.inside == [after]


async def test_nobody_waits_for_longer_than_that(autojump_clock, nursery: trio.Nursery):
    crowd = Crowd(Children(1, nobody), nursery)
    await crowd.come("a")
    await crowd.come("b")
    await trio.sleep(WAIT_S - 0.1)
    assert crowd.refused == []
    await trio.sleep(0.2)
    assert crowd.refused == ["b"]
    await crowd.go("a")
    await crowd.come("c")
    assert crowd.inside == ["c"]


async def test_the_refusal_says_what_to_do(autojump_clock):
    children = Children(1, nobody)
    async with children.place():
        with pytest.raises(Busy, match=r"all 1 processes .* --max-children"):
            async with children.place():
                raise AssertionError("there is no place")
    assert children.running == 0


async def test_a_place_that_nobody_needs_is_given_up_when_one_is_wanted(
    autojump_clock, nursery: trio.Nursery
):
    crowd: Crowd
    asked = []

    def evict() -> bool:
        asked.append(list(crowd.inside))
        crowd.leaving["a"].set()
        return True

    crowd = Crowd(Children(2, evict), nursery)
    await crowd.come("a")
    await crowd.come("b")
    assert asked == []
    await crowd.come("c")
    assert asked == [["a", "b"]]
    assert crowd.inside == ["b", "c"]


async def test_a_place_is_given_back_however_it_ends(autojump_clock):
    children = Children(1, nobody)
    with pytest.raises(ValueError, match="broken"):
        async with children.place():
            raise ValueError("broken")
    with trio.move_on_after(1):
        async with children.place():
            await trio.sleep_forever()
    assert children.running == 0
