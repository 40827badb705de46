"""Beats, and what sleep does to them."""

import itertools

import pytest
import trio

from mcpctld.wrap import pulse
from mcpctld.wrap.pulse import BEAT_S, JUMP_S, TICK_S


class Heart:
    """Notes what is called, and has clocks that can be moved."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asleep_s = 0.0
        self.log: list[tuple[str, float]] = []
        patch.setattr(pulse, "_drift", lambda: self.asleep_s)

    def beat(self, now: float) -> None:
        assert now == trio.current_time()
        self.log.append(("beat", now))

    def wake(self) -> None:
        self.log.append(("wake", trio.current_time()))


@pytest.fixture
async def heart(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Heart:
    made = Heart(monkeypatch)
    nursery.start_soon(pulse.run, made.beat, made.wake)
    await trio.sleep(0.001)
    return made


async def test_it_beats_and_nothing_else(autojump_clock, heart: Heart):
    await trio.sleep(10 * BEAT_S)
    assert {name for name, _ in heart.log} == {"beat"}
    times = [when for _, when in heart.log]
    assert len(times) == 10
    assert all(b - a == pytest.approx(BEAT_S) for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("jump", [JUMP_S + 1, 3600.0, -3600.0])
async def test_after_sleep_everything_is_said_at_once(autojump_clock, heart: Heart, jump: float):
    heart.asleep_s += jump
    await trio.sleep(TICK_S)
    assert [name for name, _ in heart.log] == ["wake", "beat"]
    await trio.sleep(BEAT_S)
    assert [name for name, _ in heart.log] == ["wake", "beat", "beat"]


async def test_each_sleep_is_noticed(autojump_clock, heart: Heart):
    for _ in range(3):
        heart.asleep_s += 60
        await trio.sleep(TICK_S)
    assert [name for name, _ in heart.log] == ["wake", "beat"] * 3


async def test_a_clock_that_is_corrected_a_little_is_no_sleep(autojump_clock, heart: Heart):
    heart.asleep_s += JUMP_S - 1
    await trio.sleep(TICK_S)
    assert heart.log == []


def test_the_two_clocks_of_this_machine_go_together():
    assert abs(pulse._drift() - pulse._drift()) < JUMP_S
