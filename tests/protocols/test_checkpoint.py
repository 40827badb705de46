"""A daemon may die between any two stores: what the client said is neither lost nor answered twice."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols import checkpoint as checkpoint_module
from mcpctld.protocols import checkpoint_format
from mcpctld.protocols.checkpoint import LARGEST_KEPT, Checkpoint
from mcpctld.protocols.checkpoint_format import MAGIC, UNIT, Mark, Notes, read
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong

LIMIT = 1 << 20
Store = tuple[int, bytes]


class Bytes(bytearray):
    """Notes every store."""

    stores: list[Any]

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return bytes(found) if isinstance(key, slice) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            start, stop, _ = key.indices(len(self))
            assert stop - start == len(value)
            self.stores.append((start, bytes(value)))
        else:
            self.stores.append((key, bytes([value])))
        super().__setitem__(key, value)


class View:
    """Room is only looked at: what is read goes through `raw`."""

    def __getitem__(self, key: slice) -> tuple[int, int]:
        return key.start, key.stop


class Memory:
    view: Any = View()

    def __init__(self, image: bytes = bytes(3 * UNIT)) -> None:
        self.raw: Any = Bytes(image)
        self.raw.stores = []

    def grow(self, size: int) -> None:
        assert size > len(self.raw)
        old, self.raw = self.raw, Bytes(self.raw + bytes(size - len(self.raw)))
        self.raw.stores = old.stores
        self.raw.stores.append((len(old), bytes(size - len(old))))

    def clear(self, start: int, stop: int) -> None:
        self.raw[start:stop] = bytes(stop - start)

    def release(self, start: int, stop: int) -> None:
        assert start % checkpoint_module.UNIT == stop % checkpoint_module.UNIT == 0
        if start < stop:
            self.clear(start, stop)


def fresh(limit: int = LIMIT) -> tuple[Checkpoint, Memory]:
    memory = Memory()
    return Checkpoint(memory, limit, Notes()), memory


def again(memory: Memory, limit: int = LIMIT) -> tuple[Checkpoint, Memory]:
    """What the next daemon makes of it."""
    other = Memory(bytes(memory.raw))
    found = read(other.raw)
    return Checkpoint(other, limit, Notes(), found), other


def where(checkpoint: Checkpoint) -> tuple[int, int]:
    """The room."""
    room: Any = checkpoint.room()
    return room  # type: ignore[no-any-return]


def feed(checkpoint: Checkpoint, memory: Memory, data: bytes) -> None:
    """Read as much at a time as there is room for."""
    while data:
        start, stop = where(checkpoint)
        piece, data = data[: stop - start], data[stop - start :]
        memory.raw[start : start + len(piece)] = piece
        line = checkpoint.receive(len(piece))
        if line is not None:
            at_once.setdefault(checkpoint, []).append(line)


at_once: dict[Checkpoint, list[Any]] = {}
"""Lines that were no events."""


def events(checkpoint: Checkpoint) -> list[Any]:
    found = at_once.pop(checkpoint, [])
    while (event := checkpoint.next_event()) is not None:
        found.append(event)
    return found


def left(memory: Memory) -> list[tuple[int, bytes]]:
    found = read(bytes(memory.raw))  # type: ignore[arg-type]
    assert found is not None
    return [(line.mark, line.text) for line in found.lines]


# ---------------------------------------------------------------- framing


PIECES = st.sampled_from([b"a", b"\n", b"\r", b" ", b"{}\n", b"x" * 9, b"yy\r\n"])


@given(st.lists(PIECES, max_size=40), st.data())
@settings(deadline=None)
def test_lines_are_cut_as_everywhere_else(pieces: list[bytes], data: st.DataObject):
    stream = b"".join(pieces)
    reader = LineReader(8)
    checkpoint, memory = fresh(8)
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 12))
        reader.receive_data(stream[at : at + step])
        feed(checkpoint, memory, stream[at : at + step])
        if data.draw(st.integers(0, 9)) == 0:  # another daemon reads on
            unread = events(checkpoint)
            checkpoint, memory = again(memory, 8)
            assert events(checkpoint)[len(events_of(reader, unread)) :] == []
            for number in range(1, checkpoint.number + 1):
                checkpoint.finish(number)
        at += step
    assert repr(events(checkpoint)) == repr(rest_of(reader))
    reader.receive_eof()
    checkpoint.receive_eof()
    assert events(checkpoint) == rest_of(reader)


def rest_of(reader: LineReader) -> list[Any]:
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def events_of(reader: LineReader, expected: list[Any]) -> list[Any]:
    found = rest_of(reader)
    assert repr(found) == repr(expected)
    return found


def test_a_long_line_comes_through_extents_that_grow_and_shrink_again():
    checkpoint, memory = fresh(8 * LARGEST_KEPT)
    assert not checkpoint.big
    line = b'"' + b"x" * (LARGEST_KEPT + UNIT) + b'"'
    feed(checkpoint, memory, line + b"\n")
    assert events(checkpoint) == [line]
    assert checkpoint.big
    checkpoint.finish(1)
    start, stop = where(checkpoint)
    assert stop - start <= LARGEST_KEPT
    checkpoint.rest()
    assert not checkpoint.big
    start, stop = where(checkpoint)
    assert stop - start < UNIT
    assert len(memory.raw[UNIT:].strip(b"\0")) < 100


def test_small_lines_go_on_for_ever_in_two_extents():
    checkpoint, memory = fresh()
    for number in range(1, 2000):
        feed(checkpoint, memory, b'{"id":%d}' % number + b" " * 100 + b"\n")
        assert len(events(checkpoint)) == 1
        checkpoint.hand(number)
        checkpoint.finish(number)
    assert len(memory.raw) == 3 * UNIT
    assert left(memory) == []


def test_a_request_that_stays_open_does_not_hold_the_memory_of_others():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b'{"id":0}\n')
    checkpoint.hand(1)
    for number in range(2, 1000):
        feed(checkpoint, memory, b'{"id":%d}' % number + b" " * 200 + b"\n")
        checkpoint.finish(number)
    assert len(memory.raw) == 3 * UNIT
    assert left(memory) == [(Mark.HANDED, b'{"id":0}')]


def test_of_a_long_call_that_the_server_has_got_only_the_id_is_copied():
    checkpoint, memory = fresh()
    call = b'{"id":7,"method":"tools/call","params":{"x":"%b"}}' % (b"x" * 70_000)
    other = b'{"id":8,"method":"resources/read","params":{"x":"%b"}}' % (b"x" * 70_000)
    batch = b'[{"id":9,"method":"tools/call","params":{"x":"%b"}}]' % (b"x" * 70_000)
    broken = b"x" * 70_000
    lines = [call, other, batch, broken]
    feed(checkpoint, memory, b"\n".join(lines) + b"\n")
    for number in range(1, 5):
        checkpoint.hand(number)
    checkpoint.rest()
    short = b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}'
    handed = [(Mark.HANDED, line) for line in lines[1:]]
    assert left(memory) == [(Mark.LOST, short), *handed]


# ---------------------------------------------------------------- too long


def long_parts(count: int) -> bytes:
    return b'{"id":5,"x":"' + b"y" * count + b'","method":"m"}'


@pytest.mark.parametrize("handed_over_at", [None, 15_000, 30_000, 200_000])
def test_a_line_over_the_limit_is_told_with_its_ends_whichever_daemon_reads_it(handed_over_at):
    checkpoint, memory = fresh(20_000)
    line = long_parts(300_000)
    for at in range(0, len(line), 5000):
        if handed_over_at is not None and at >= handed_over_at:
            checkpoint, memory = again(memory, 20_000)
            handed_over_at = None
        feed(checkpoint, memory, line[at : at + 5000])
    feed(checkpoint, memory, b"\r\nnext\n")
    long, following = events(checkpoint)
    assert isinstance(long, TooLong)
    assert (long.length, long.head, long.tail) in (
        (len(line) + 1, line[:4096], line[-4095:]),
        (len(line) + 1, line[:4096], line[-4096:]),
    )
    assert following == b"next"
    checkpoint.finish(1)
    assert left(memory) == [(Mark.READ, b"next")]
    assert len(memory.raw) < 16 * UNIT


def test_a_line_over_the_limit_that_nobody_has_refused_yet_is_told_again():
    checkpoint, memory = fresh(20_000)
    feed(checkpoint, memory, long_parts(50_000))
    feed(checkpoint, memory, b"\n")
    (first,) = events(checkpoint)
    checkpoint, memory = again(memory, 20_000)
    assert events(checkpoint) == [first]


def test_a_line_over_the_limit_that_came_at_once():
    checkpoint, memory = fresh(10)
    feed(checkpoint, memory, b"x" * 11 + b"\n")
    assert events(checkpoint) == [TooLong(11, b"x" * 11, b"x" * 11)]


def test_an_end_within_a_line_over_the_limit():
    checkpoint, memory = fresh(20_000)
    feed(checkpoint, memory, long_parts(50_000))
    checkpoint.receive_eof()
    (long,) = events(checkpoint)
    assert isinstance(long, TooLong)
    checkpoint.finish(1)
    assert left(memory) == []


# ---------------------------------------------------------------- the end of the input


def test_the_end_within_a_line_is_told_and_is_a_line_for_the_next_daemon():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"{}\n{")
    checkpoint.receive_eof()
    checkpoint.receive_eof()
    assert events(checkpoint) == [b"{}", HalfLine(b"{")]
    checkpoint, memory = again(memory)
    assert events(checkpoint) == [b"{}", b"{"]


def test_an_end_when_the_extent_is_full():
    checkpoint, memory = fresh()
    start, stop = where(checkpoint)
    feed(checkpoint, memory, b"x" * (stop - start))
    checkpoint.receive_eof()
    assert events(checkpoint) == [HalfLine(b"x" * (stop - start))]


def test_an_end_after_blanks_is_no_line():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"  ")
    checkpoint.receive_eof()
    assert events(checkpoint) == []


# ---------------------------------------------------------------- what becomes of lines


def test_marks_say_what_became_of_each_line():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"one\ntwo\nthree\nfour\nfive\n")
    assert events(checkpoint) == [b"one", b"two", b"three", b"four", b"five"]
    assert checkpoint.number == 5
    checkpoint.hand(2)
    checkpoint.hand(3)
    checkpoint.hear(3)
    checkpoint.keep(4)
    checkpoint.hand(5)
    checkpoint.take_back(5)
    assert checkpoint.text(3) == b"three"
    checkpoint.finish(4)
    assert left(memory) == [
        (Mark.READ, b"one"),
        (Mark.HANDED, b"two"),
        (Mark.HEARD, b"three"),
        (Mark.KEPT, b"four"),
        (Mark.READ, b"five"),
    ]
    checkpoint, memory = again(memory)
    assert events(checkpoint) == [b"one", b"five"]
    assert checkpoint.number == 5
    checkpoint.finish(2)
    checkpoint.finish(3)
    checkpoint.finish(4)
    checkpoint.drop(4)
    assert left(memory) == [(Mark.READ, b"one"), (Mark.READ, b"five")]


def test_what_is_dropped_before_it_is_finished_is_not_kept():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"one\n")
    checkpoint.keep(1)
    checkpoint.drop(1)
    checkpoint.finish(1)
    assert left(memory) == []


def test_the_requests_of_a_batch_are_answered_one_by_one():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b'[{"id":1},{"id":2}]\n{"id":3}\n{"id"')
    assert len(events(checkpoint)) == 2
    first, second = checkpoint.divide(1, [b'{"id":1}', b'{"id":2}'])
    checkpoint.finish(first)
    assert left(memory) == [(Mark.READ, b'{"id":3}'), (Mark.HANDED, b'{"id":2}')]
    feed(checkpoint, memory, b":4}\n")
    assert events(checkpoint) == [b'{"id":4}']
    assert checkpoint.number not in (first, second)


def test_the_notes_are_replaced_as_a_whole():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"one\ntwo")
    checkpoint.note(Notes(revision="r", output=b"owed"))
    checkpoint.sent(2)
    found = read(memory.raw)
    assert found is not None
    assert (found.notes.output, found.sent, found.partial) == (b"owed", 2, b"two")
    checkpoint, memory = again(memory)
    assert checkpoint.notes == found.notes
    feed(checkpoint, memory, b"\n")
    assert events(checkpoint) == [b"one", b"two"]


def test_an_answer_is_either_owed_or_its_request_is_open():
    checkpoint, memory = fresh()
    feed(checkpoint, memory, b"one\ntwo\n")
    before = len(memory.raw.stores)
    checkpoint.hand(1)
    checkpoint.leave(Notes(output=b"answer to one"), [1])
    for image in cuts(bytes(3 * UNIT), memory.raw.stores, before):
        found = read(image)
        assert found is not None
        is_open = [line.text for line in found.lines] == [b"one", b"two"]
        assert is_open != (found.notes.output == b"answer to one")


def test_where_stdout_stands_is_stored_when_it_changes():
    checkpoint, memory = fresh()
    count = len(memory.raw.stores)
    checkpoint.stand(midline=False)
    assert len(memory.raw.stores) == count
    checkpoint.stand(midline=True)
    found = read(memory.raw)
    assert found is not None
    assert found.midline
    checkpoint, memory = again(memory)
    checkpoint.stand(midline=False)
    found = read(memory.raw)
    assert found is not None
    assert not found.midline


# ---------------------------------------------------------------- death at any instant


def cuts(image: bytes, stores: list[Any], first: int = 0) -> Iterator[Any]:
    """The memory at each instant: after each byte of a small store, and at some of a big one. Reads come whole."""
    memory = bytearray(image)
    for index, (start, data) in enumerate(stores):
        if len(memory) < start + len(data):
            memory += bytes(start + len(data) - len(memory))
        if index >= first:
            inside = {0, 1, len(data) // 2, len(data) - 1} if len(data) > 64 else range(len(data))
            for count in sorted(inside):
                yield bytes(memory[:start]) + data[:count] + bytes(memory[start + count :])
        memory[start : start + len(data)] = data
    yield bytes(memory)


@dataclass
class World:
    """A client, a daemon and a server, and what can be known of them at each store."""

    chance: random.Random
    limit: int
    memory: Memory = field(default_factory=lambda: Memory(bytes(3 * checkpoint_module.UNIT)))
    history: list[tuple[int, str, Any]] = field(default_factory=list)
    """(count of stores when it happened, what, details): bytes `read`, ids `written`."""

    def live(self, steps: int) -> None:
        checkpoint = Checkpoint(self.memory, self.limit, Notes())
        stream = b"".join(self.line(number) for number in range(steps))
        at = 0
        open_calls: dict[int, bytes] = {}
        while at < len(stream) or open_calls:
            if at < len(stream) and self.chance.random() < 0.6:
                count, line = self.read(checkpoint, stream[at : at + self.chance.randint(1, 90)])
                at += count
                while line is not None:
                    checkpoint.hand(checkpoint.number)
                    open_calls[checkpoint.number] = line
                    line = checkpoint.next_event()
            if open_calls and self.chance.random() < 0.7:
                number = self.chance.choice(list(open_calls))
                self.happened("written", ident(open_calls.pop(number)))
                checkpoint.finish(number)
            if self.chance.random() < 0.05:
                checkpoint.note(Notes(revision=str(at)))
            if self.chance.random() < 0.05:
                checkpoint.rest()

    def line(self, number: int) -> bytes:
        padding = b"x" * self.chance.choice((0, 3, 40, 300))
        blank = b"\n" if self.chance.random() < 0.1 else b""
        return b'%b{"id":%d,"pad":"%b"}\n' % (blank, number, padding)

    def read(self, checkpoint: Checkpoint, data: bytes) -> tuple[int, Any]:
        start, stop = where(checkpoint)
        data = data[: stop - start]
        self.happened("read", data)
        self.memory.raw[start : start + len(data)] = data
        line = checkpoint.receive(len(data))
        return len(data), checkpoint.next_event() if line is None else line

    def happened(self, what: str, details: Any) -> None:
        self.history.append((len(self.memory.raw.stores), what, details))


def ident(line: bytes) -> int:
    found = re.search(rb'"id":(\d+)', line)
    assert found
    return int(found[1])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extents so small that they are changed all the time."""
    for module in (checkpoint_module, checkpoint_format):
        monkeypatch.setattr(module, "UNIT", 512)
    monkeypatch.setattr(checkpoint_module, "LEAST_ROOM", 64)
    monkeypatch.setattr(checkpoint_module, "LARGEST_KEPT", 1024)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(6))
def test_cut_off_at_any_byte_of_any_store_every_request_is_open_or_answered(seed: int):
    """But for the one whose answer was just being written: that one may be open, too."""
    world = World(random.Random(seed), LIMIT)
    world.live(12)
    stores = world.memory.raw.stores
    checked = 0
    for done, image in instants(bytes(3 * 512), stores, reads_of(world)):
        if image[: len(MAGIC)] != MAGIC:
            continue
        found = read(image)
        assert found is not None
        seen = b"".join(data for at, what, data in world.history if what == "read" and at < done)
        written = [who for at, what, who in world.history if what == "written" and at <= done]
        *whole, partial = seen.split(b"\n")
        asked = [ident(line) for line in whole if line]
        still_open = [ident(line.text) for line in found.lines]
        assert len(set(still_open)) == len(still_open)
        assert set(asked) - set(still_open) <= set(written)
        assert set(still_open) <= set(asked) - set(written[:-1])
        assert found.partial == partial
        checked += 1
    assert checked > 300


def reads_of(world: World) -> set[int]:
    return {at for at, what, _ in world.history if what == "read"}


def instants(image: bytes, stores: list[Store], reads: set[int]) -> Iterator[tuple[int, Any]]:
    """The memory at each instant, and how many stores are done. A read comes whole: the kernel makes it."""
    memory = bytearray(image)
    for index, (start, data) in enumerate(stores):
        if len(memory) < start + len(data):
            memory += bytes(start + len(data) - len(memory))
        steps = (0,) if index in reads else range(0, len(data), 1 if len(data) < 64 else 13)
        for count in steps:
            yield index, bytes(memory[:start]) + data[:count] + bytes(memory[start + count :])
        memory[start : start + len(data)] = data
    yield len(stores), bytes(memory)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_a_daemon_that_is_cut_off_while_it_takes_over_has_lost_nothing(seed: int):
    world = World(random.Random(seed), LIMIT)
    world.live(8)
    images = [
        image for _, image in instants(bytes(3 * 512), world.memory.raw.stores, reads_of(world))
    ]
    for image in images[:: max(len(images) // 40, 1)]:
        if image[: len(MAGIC)] != MAGIC:
            continue
        before = read(image)
        assert before is not None
        memory = Memory(image)
        Checkpoint(memory, LIMIT, Notes(), before)
        for _, later in instants(image, memory.raw.stores, set()):
            after = read(later)
            assert after is not None
            assert (after.lines, after.partial) == (before.lines, before.partial)
        taken = memory.raw
        assert not any(taken[:512][208:])
        outside = [at for at in range(512, len(taken)) if taken[at]]
        assert not outside or outside[-1] - outside[0] < 2048
