"""`mcpctld.protocols.inet.tcp.receiver`: order, window, what an ACK tells."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.tcp.receiver import Receiver

MSS = 100
STREAM = bytes(range(256)) * 8


def receiver(capacity: int = 1000, start: int = 0) -> Receiver:
    made = Receiver(capacity, MSS)
    made.open(start)
    return made


def give(it: Receiver, start: int, end: int, *, fin: bool = False) -> bool:
    return it.receive(start, STREAM[start:end], fin=fin)


def test_what_comes_in_order_is_read_in_order():
    it = receiver()
    assert give(it, 0, 100)
    assert give(it, 100, 150)
    assert (it.nxt, it.buffered, it.blocks()) == (150, 150, [])
    assert it.read(120) == STREAM[:120]
    assert it.read(10**6) == STREAM[120:150]
    assert it.read(10) == b""
    assert it.buffered == 0


def test_the_next_text_needs_no_look():
    it = receiver(start=2**32 - 50)
    assert it.is_next(2**32 - 50, 100)
    it.append(STREAM[:100])
    assert it.is_next(50, 1)  # the number on the wire has wrapped
    assert it.is_next(50, 900)
    assert not it.is_next(50, 901)  # does not fit
    assert not it.is_next(50, 0)
    assert not it.is_next(51, 1)
    it.receive(it.nxt + 10, b"x", fin=False)
    assert not it.is_next(50, 1)  # may fill the gap
    other = receiver()
    other.receive(10, b"x", fin=True)
    other.receive(0, STREAM[:10], fin=False)
    assert not other.is_next(other.nxt, 1)


def test_a_gap_is_told_and_filled():
    it = receiver()
    assert not it.has_blocks
    assert not give(it, 200, 300)
    assert it.has_blocks
    assert it.blocks() == [(200, 300)]
    assert not give(it, 400, 500)
    assert it.blocks() == [(400, 500), (200, 300)]
    assert not give(it, 0, 200)
    assert it.nxt == 300
    assert it.blocks() == [(400, 500)]
    assert it.read(999) == STREAM[:300]


def test_a_duplicate_is_told_once_and_first():
    it = receiver()
    give(it, 0, 100)
    assert not give(it, 0, 100)
    assert it.has_duplicate
    assert it.duplicates == 1
    assert it.blocks() == [(0, 100)]
    assert it.blocks() == []
    assert not it.has_duplicate


def test_a_partial_duplicate_is_told_up_to_where_the_new_begins():
    it = receiver()
    give(it, 0, 100)
    give(it, 50, 150)
    assert it.nxt == 150
    assert it.blocks() == [(50, 100)]


def test_a_duplicate_of_what_came_early_is_followed_by_its_range():
    it = receiver()
    give(it, 200, 300)
    give(it, 300, 400)
    give(it, 600, 700)
    give(it, 200, 300)
    assert it.blocks() == [(200, 300), (200, 400), (600, 700)]


def test_the_window_is_what_there_is_room_for():
    it = receiver(1000)
    assert it.window() == 1000
    give(it, 0, 300)
    assert it.window() == 700
    it.read(300)
    assert it.window() == 1000


def test_the_window_opens_by_steps_worth_a_segment():
    it = receiver(1000)
    give(it, 0, 1000)
    assert it.window() == 0
    it.read(99)
    assert it.window() == 0
    it.read(1)
    assert it.window() == 100


def test_of_a_small_buffer_half_is_a_step():
    it = receiver(100)
    give(it, 0, 100)
    it.read(49)
    assert it.window() == 0
    it.read(1)
    assert it.window() == 50


@pytest.mark.parametrize(("read", "wants"), [(200, False), (249, False), (250, True), (1000, True)])
def test_an_update_is_wanted_before_the_peer_has_to_wait(read, wants):
    it = receiver(1000)
    give(it, 0, 1000)
    it.window()
    it.read(read)
    assert it.wants_update() is wants
    if wants:
        it.window()
        assert not it.wants_update()


def test_after_the_end_no_update_is_wanted():
    it = receiver(1000)
    give(it, 0, 1000, fin=True)
    it.read(1000)
    assert not it.wants_update()


def test_what_is_beyond_the_window_is_cut_off():
    it = receiver(100)
    give(it, 50, 150)
    assert it.blocks() == [(50, 100)]
    give(it, 0, 50)
    assert it.read(999) == STREAM[:100]
    give(it, 250, 300)
    assert it.blocks() == []


def test_text_that_does_not_fit_is_cut_off():
    it = receiver(100)
    give(it, 0, 150)
    assert it.nxt == 100


@pytest.mark.parametrize(
    ("seq", "length", "accepts"),
    [
        (1000, 0, True),
        (999, 0, False),
        (999, 1, True),
        (999, 2, True),
        (900, 50, False),
        (2000, 0, True),
        (2000, 10, True),
        (2001, 0, False),
        (1500, 100, True),
    ],
)
def test_what_may_be_looked_at(seq, length, accepts):
    assert receiver(1000, start=1000).accepts(seq, length) is accepts


def test_the_end_comes_in_order():
    it = receiver()
    assert give(it, 0, 100, fin=True)
    assert it.eof
    assert it.nxt == 101
    assert it.read(999) == STREAM[:100]


def test_the_end_alone():
    it = receiver()
    assert it.receive(0, b"", fin=True)
    assert it.eof
    assert it.nxt == 1


def test_the_end_may_come_early():
    it = receiver()
    give(it, 100, 200, fin=True)
    assert not it.eof
    give(it, 0, 100)
    assert it.eof
    assert it.nxt == 201


def test_nothing_counts_behind_the_end():
    it = receiver()
    give(it, 100, 200, fin=True)
    give(it, 150, 300)
    give(it, 0, 100)
    assert it.eof
    assert it.read(999) == STREAM[:200]
    give(it, 201, 300)
    give(it, 0, 300, fin=True)
    assert (it.nxt, it.buffered) == (201, 0)


def test_text_beyond_a_known_end_is_not_taken_in_order_either():
    it = receiver()
    it.receive(50, b"", fin=True)
    give(it, 0, 100)
    assert it.eof
    assert it.read(999) == STREAM[:50]


def test_a_second_end_does_not_move_the_first():
    it = receiver()
    it.receive(100, b"", fin=True)
    it.receive(200, b"", fin=True)
    give(it, 0, 100)
    assert it.eof


def test_an_end_beyond_the_window_is_not_known():
    it = receiver(100)
    it.receive(101, b"", fin=True)
    give(it, 0, 100)
    assert not it.eof


def test_what_nobody_reads_can_be_forgotten():
    it = receiver()
    give(it, 0, 100)
    give(it, 200, 300)
    it.clear()
    assert it.buffered == 0
    assert it.read(10) == b""
    assert it.blocks() == []


segments = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 80), st.booleans()), max_size=60)


@given(segments, st.integers(0, 400), st.sampled_from([64, 300, 1000]))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_segments_give_the_stream_and_no_more_than_fits(pieces, end, capacity):
    """The peer's stream is `end` bytes long; it may be cut, repeated and mixed in any way."""
    it, out, edge = receiver(capacity), b"", capacity
    for start, length, reads in pieces:
        stop = min(start + length, end)
        if start <= stop:
            it.receive(start, STREAM[start:stop], fin=stop == end)
        assert it.buffered + sum(b - a for a, b in it.blocks()) <= 2 * capacity
        if reads:
            out += it.read(33)
        assert it.nxt + it.window() >= edge or it.eof
        edge = max(edge, it.nxt + it.window())
        assert it.nxt - it.eof <= edge
    out += it.read(10**6)
    assert out == STREAM[: len(out)]
    assert len(out) == it.nxt - it.eof
    assert it.eof is (it.nxt == end + 1)
