"""`mcpctld.protocols.inet.tcp.reassembly`: pieces that came early."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.tcp import reassembly
from mcpctld.protocols.inet.tcp.reassembly import MAX_PIECES, MAX_RANGES, Reassembly

STREAM = bytes(range(256)) * 4


def add(early: Reassembly, *ranges: tuple[int, int]) -> list[bool]:
    return [early.add(start, STREAM[start:end]) for start, end in ranges]


def test_ranges_grow_together():
    early = Reassembly()
    assert not early
    assert add(early, (10, 20), (30, 40)) == [True, True]
    assert early
    assert sorted(early.blocks(9)) == [(10, 20), (30, 40)]
    assert add(early, (20, 30)) == [True]
    assert early.blocks(9) == [(10, 40)]
    assert early.take(5) == []
    assert b"".join(early.take(10)) == STREAM[10:40]
    assert not early


@pytest.mark.parametrize(
    ("ranges", "is_new"),
    [
        ([(10, 20), (10, 20)], False),
        ([(10, 20), (12, 18)], False),
        ([(10, 20), (20, 30), (15, 25)], False),
        ([(10, 20), (15, 25)], True),
        ([(10, 20), (5, 12)], True),
        ([(10, 20), (5, 25)], True),
        ([(10, 20), (30, 40), (12, 38)], True),
        ([(10, 20), (30, 40), (5, 50)], True),
    ],
)
def test_what_is_here_already_is_told(ranges, is_new):
    early = Reassembly()
    assert add(early, *ranges)[-1] is is_new
    start, end = min(ranges)[0], max(end for _, end in ranges)
    assert b"".join(early.take(start)) == STREAM[start:end]


def test_the_range_that_grew_last_is_told_first():
    early = Reassembly()
    add(early, (10, 20), (30, 40), (50, 60))
    assert early.blocks(2) == [(50, 60), (30, 40)]
    add(early, (20, 22))
    assert early.blocks(4) == [(10, 22), (50, 60), (30, 40)]
    add(early, (32, 34))  # nothing new, but it came last
    assert early.blocks(4)[0] == (30, 40)


@pytest.mark.parametrize("until", [10, 12, 19, 20, 25, 29, 30])
def test_what_is_taken_begins_where_it_is_wanted(until):
    early = Reassembly()
    add(early, (10, 20), (20, 30), (40, 50))
    assert b"".join(early.take(until)) == STREAM[until:30]
    assert early.blocks(9) == [(40, 50)]


def test_ranges_that_are_old_are_dropped_on_the_way():
    early = Reassembly()
    add(early, (10, 20), (30, 40))
    assert b"".join(early.take(35)) == STREAM[35:40]
    assert not early


def test_everything_can_be_forgotten():
    early = Reassembly()
    add(early, (10, 20))
    early.clear()
    assert not early
    assert early.take(10) == []


def test_single_bytes_with_gaps_are_kept_up_to_a_limit():
    early = Reassembly()
    for start in range(0, 4 * MAX_RANGES, 2):
        assert early.add(start, b"x")
    assert len(early.blocks(10**6)) == MAX_RANGES
    assert early.blocks(1) == [(2 * MAX_RANGES - 2, 2 * MAX_RANGES - 1)]


def test_adjacent_single_bytes_are_kept_up_to_a_limit():
    early = Reassembly()
    for start in range(MAX_PIECES + 100):
        early.add(start, b"x")
    assert early.blocks(9) == [(0, MAX_PIECES)]
    early.take(0)
    assert early.add(7, b"x")


def test_pieces_make_room_when_they_are_taken(monkeypatch):
    monkeypatch.setattr(reassembly, "MAX_PIECES", 2)
    early = Reassembly()
    add(early, (10, 20), (30, 40), (50, 60))
    assert sorted(early.blocks(9)) == [(10, 20), (30, 40)]
    early.take(10)
    add(early, (50, 60))
    assert sorted(early.blocks(9)) == [(30, 40), (50, 60)]


parts = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=40)


@given(parts, st.integers(0, 300))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_it_agrees_with_a_set_of_bytes(ranges, until):
    early, present = Reassembly(), set()
    for start, length in ranges:
        wanted = set(range(start, start + length))
        assert early.add(start, STREAM[start : start + length]) is bool(wanted - present)
        present |= wanted
    blocks = sorted(early.blocks(10**6))
    assert {at for start, end in blocks for at in range(start, end)} == present
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(blocks))
    end = until
    while end in present:
        end += 1
    assert b"".join(early.take(until)) == STREAM[until:end]
    assert all(start > until for start, _ in early.blocks(10**6))


def test_a_shuffled_stream_comes_out_in_order():
    draw = random.Random(1)
    data = draw.randbytes(100_000)
    pieces = [(at, data[at : at + 997]) for at in range(0, len(data), 997)]
    draw.shuffle(pieces)
    early, out = Reassembly(), b""
    for start, piece in pieces:
        early.add(start, piece)
        out += b"".join(early.take(len(out)))
    assert out == data
