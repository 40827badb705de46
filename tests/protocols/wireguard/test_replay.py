"""`mcpctld.protocols.wireguard.replay`: the table of the Linux kernel's self-test, and a set that forgets nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.limits import REJECT_AFTER_MESSAGES as REJECT
from mcpctld.protocols.wireguard.replay import WINDOW, ReplayWindow

T = WINDOW + 1

# What drivers/net/wireguard/selftest/counter.c tries, in its order.
TABLE = [
    *((0, True), (1, True), (1, False), (9, True), (8, True), (7, True), (7, False)),
    *((T, True), (T - 1, True), (T - 1, False), (T - 2, True), (2, True), (2, False)),
    *((T + 16, True), (3, False), (T + 16, False), (T * 4, True), (T * 4 - (T - 1), True)),
    *((10, False), (T * 4 - T, False), (T * 4 - (T + 1), False), (T * 4 - (T - 2), True)),
    *((T * 4 + 1 - T, False), (0, False), (REJECT, False), (REJECT - 1, True), (REJECT, False)),
    *((REJECT - 1, False), (REJECT - 2, True), (REJECT + 1, False), (REJECT + 2, False)),
    *((REJECT - 2, False), (REJECT - 3, True), (0, False)),
]


def test_the_window_is_as_large_as_the_kernels():
    assert WINDOW == 8128


def test_the_table_of_the_kernel():
    window = ReplayWindow()
    assert [(counter, window.accept(counter)) for counter, _ in TABLE] == TABLE


@pytest.mark.parametrize("order", ["up", "down"])
@pytest.mark.parametrize("first", [0, 1, 63, 64, 12345])
def test_a_whole_window_in_order_and_in_the_other(first, order):
    counters = list(range(first, first + T))
    window = ReplayWindow()
    for counter in counters if order == "up" else counters[::-1]:
        assert window.accept(counter)
        assert not window.accept(counter)
    assert not any(window.accept(counter) for counter in counters)


def test_what_falls_behind_the_window_is_not_accepted():
    window = ReplayWindow()
    assert window.accept(WINDOW + 1)
    assert not window.accept(0)
    assert window.accept(1)


@pytest.mark.parametrize(
    "jump", [63, 64, 65, WINDOW - 1, WINDOW, WINDOW + 64, WINDOW + 65, 10**6, 2**40]
)
def test_a_jump_leaves_nothing_of_before(jump):
    window = ReplayWindow()
    for counter in range(200):
        assert window.accept(counter)
    assert window.accept(199 + jump)
    for counter in range(max(200, 199 + jump - WINDOW), 199 + jump):
        assert window.accept(counter)


class Remembering:
    """What the window is to do, with a set."""

    def __init__(self):
        self.seen = set()
        self.greatest = -1

    def accept(self, counter):
        fresh = counter < REJECT and counter >= self.greatest - WINDOW and counter not in self.seen
        if fresh:
            self.seen.add(counter)
            self.greatest = max(self.greatest, counter)
        return fresh


COUNTERS = st.one_of(
    st.integers(0, 300), st.integers(WINDOW - 200, WINDOW + 200), st.integers(0, 3 * WINDOW)
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(COUNTERS, max_size=80))
def test_it_is_a_set_that_forgets_what_is_old(counters):
    window, expected = ReplayWindow(), Remembering()
    for counter in counters:
        assert window.accept(counter) == expected.accept(counter)
