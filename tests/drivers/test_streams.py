"""`mcpctld.drivers.streams`, `triostream` and `outbox`: nothing lost, nothing doubled, nobody blocked."""

import os
import random
import socket
import sys

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from leaks import open_fds
from mcpctld.drivers.outbox import ROOM, Outbox
from mcpctld.drivers.streams import BIG_CHUNK, CHUNK, DescriptorStream
from mcpctld.drivers.triostream import SMALL, TrioStream

# ---------------------------------------------------------------- what carries the bytes


def pipes():
    """Two pipes: ours (reading, writing) and theirs."""
    (a, b), (c, d) = os.pipe(), os.pipe()
    return (a, d), (c, b)


def unix_sockets():
    ours, theirs = (sock.detach() for sock in socket.socketpair())
    return (ours, ours), (theirs, theirs)


def tcp_sockets():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return (ours.fileno(), ours.detach()), (theirs.fileno(), theirs.detach())


carriers = pytest.mark.parametrize("carrier", [pipes, unix_sockets, tcp_sockets])


@pytest.fixture
async def pair(carrier, nursery):
    ours, theirs = carrier()
    a, b = DescriptorStream(nursery, *ours), DescriptorStream(nursery, *theirs)
    yield a, b
    a.close()
    b.close()


def descriptor_pair(carrier):
    def make(nursery):
        ours, theirs = carrier()
        return DescriptorStream(nursery, *ours), DescriptorStream(nursery, *theirs)

    return make


def trio_pair(make):
    return lambda nursery: tuple(TrioStream(nursery, stream) for stream in make())


BOUNDED = {
    "pipes": descriptor_pair(pipes),
    "unix": descriptor_pair(unix_sockets),
    "tcp": descriptor_pair(tcp_sockets),
    "lockstep": trio_pair(lockstep_stream_pair),
}
bounded_streams = pytest.mark.parametrize("make", BOUNDED.values(), ids=BOUNDED)
ALL = BOUNDED | {"memory": trio_pair(memory_stream_pair)}  # which takes whatever it is sent
all_streams = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


async def receive_exactly(stream, count):
    data = b""
    with trio.fail_after(5):
        while len(data) < count:
            more = await stream.receive()
            assert more
            data += more
    return data


def fill(stream):
    """Write until something is kept."""
    while not stream.buffered:
        stream.write(bytes(CHUNK))


# ---------------------------------------------------------------- both ways


@all_streams
async def test_what_is_written_is_received_in_order(make, nursery):
    a, b = make(nursery)
    a.write(b"one ")
    a.write(b"two ", b"", b"three")
    b.write(b"back")
    assert await receive_exactly(b, 13) == b"one two three"
    assert await receive_exactly(a, 4) == b"back"
    await a.aclose()
    with trio.fail_after(5):
        assert await b.receive() == b""
    await b.aclose()


@all_streams
@pytest.mark.parametrize("seed", range(4))
async def test_no_byte_is_lost_or_doubled_with_a_slow_reader(make, nursery, seed):
    random_ = random.Random(seed)
    a, b = make(nursery)
    sizes = [random_.choice([1, 10, 1000, CHUNK, 3 * CHUNK, BIG_CHUNK]) for _ in range(25)]
    messages = [random_.randbytes(size) for size in sizes]

    async def produce():
        for message in messages:
            cut = random_.randrange(len(message) + 1)
            a.write(message[:cut], message[cut:])
            if a.buffered > ROOM:
                await a.wait_room()
                assert a.buffered <= ROOM
        await a.wait_sent()
        assert a.buffered == 0

    nursery.start_soon(produce)
    expected = b"".join(messages)
    received = bytearray()
    with trio.fail_after(10):
        while len(received) < len(expected):
            received += await b.receive()
            for _ in range(random_.randrange(3)):  # slow: the producer runs ahead
                await trio.lowlevel.checkpoint()
    assert received == expected
    await a.aclose()
    with trio.fail_after(5):
        assert await b.receive() == b""
    await b.aclose()


@bounded_streams
async def test_a_write_without_a_reader_returns_and_room_is_awaited(make, nursery):
    a, b = make(nursery)
    total = 0
    while a.buffered <= ROOM:
        a.write(bytes(BIG_CHUNK))
        total += BIG_CHUNK
    waiting = trio.Event()
    roomy = trio.Event()

    async def wait():
        waiting.set()
        await a.wait_room()
        roomy.set()

    nursery.start_soon(wait)
    await waiting.wait()
    await wait_all_tasks_blocked()
    assert not roomy.is_set()
    await receive_exactly(b, total)
    with trio.fail_after(5):
        await roomy.wait()
        await a.wait_sent()
    assert a.buffered == 0
    await a.aclose()
    await b.aclose()


@bounded_streams
async def test_a_reader_that_goes_away_breaks_the_stream_and_wakes_who_waits(make, nursery):
    a, b = make(nursery)
    while a.buffered <= ROOM:
        a.write(bytes(BIG_CHUNK))
    nursery.start_soon(b.aclose)
    with trio.fail_after(5):
        await a.wait_room()
        await a.wait_sent()
    assert a.broken
    assert a.buffered == 0
    a.write(b"into the void")
    assert a.buffered == 0
    await a.aclose()


@bounded_streams
async def test_closing_wakes_reader_and_writer(make, nursery):
    a, b = make(nursery)
    seen = []

    async def read():
        seen.append(await a.receive())

    while a.buffered <= ROOM:
        a.write(bytes(BIG_CHUNK))
    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    await a.aclose()
    with trio.fail_after(5):
        await a.wait_room()
        await a.wait_sent()
        await wait_all_tasks_blocked()
    assert seen == [b""]
    assert await a.receive() == b""
    a.write(b"late")
    assert (a.broken, a.buffered) == (True, 0)
    await a.aclose()  # again: nothing happens
    await b.aclose()


@bounded_streams
async def test_cancelling_the_nursery_breaks_the_stream_instead_of_leaving_it_half_sent(make):
    async with trio.open_nursery() as inner:
        a, b = make(inner)
        while a.buffered <= ROOM:
            a.write(bytes(BIG_CHUNK))
        await wait_all_tasks_blocked()
        inner.cancel_scope.cancel()
    assert a.broken
    with trio.fail_after(5):
        await a.wait_sent()
    await a.aclose()
    await b.aclose()


@all_streams
async def test_receiving_can_be_cancelled_without_losing_anything(make, nursery):
    a, b = make(nursery)
    with trio.CancelScope() as scope:
        scope.cancel()
        await b.receive()
    assert scope.cancelled_caught
    a.write(b"still here")
    assert await receive_exactly(b, 10) == b"still here"
    await a.aclose()
    await b.aclose()


@all_streams
async def test_every_wait_is_a_checkpoint(make, nursery):
    a, b = make(nursery)
    with trio.testing.assert_checkpoints():
        await a.wait_room()
    with trio.testing.assert_checkpoints():
        await a.wait_sent()
    a.write(b"x")
    with trio.testing.assert_checkpoints(), trio.fail_after(5):
        await b.receive()
    await a.aclose()
    with trio.testing.assert_checkpoints(), trio.fail_after(5):
        await b.receive()
    await b.aclose()


# ---------------------------------------------------------------- descriptors


@carriers
async def test_a_fast_producer_does_not_starve_the_other_tasks(pair, nursery):
    a, b = pair
    turns = 0

    async def tick():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    a.write(bytes(16 * BIG_CHUNK))
    nursery.start_soon(tick)
    received = reads = 0
    with trio.fail_after(10):
        while received < 16 * BIG_CHUNK:
            received += len(await b.receive())
            reads += 1
    nursery.cancel_scope.cancel()
    assert turns >= reads - 1


@carriers
async def test_after_a_short_read_the_next_one_waits_first(pair, nursery, monkeypatch):
    a, b = pair
    a.write(b"x")
    assert await receive_exactly(b, 1) == b"x"
    reads = []
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: reads.append(size) or real_read(fd, size))
    nursery.start_soon(b.receive)
    await wait_all_tasks_blocked()
    assert reads == []
    a.write(b"y")
    await wait_all_tasks_blocked()
    assert reads == [CHUNK]


@carriers
async def test_big_reads_come_after_full_ones_and_small_ones_after_short_ones(pair, monkeypatch):
    a, b = pair
    sizes = []
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: sizes.append(size) or real_read(fd, size))
    a.write(bytes(4 * BIG_CHUNK))
    await receive_exactly(b, 4 * BIG_CHUNK)
    assert sizes[0] == CHUNK
    assert BIG_CHUNK in sizes
    a.write(bytes(CHUNK // 2))
    await receive_exactly(b, CHUNK // 2)
    assert sizes[-1] == BIG_CHUNK  # much still comes
    sizes.clear()
    for _ in range(2):
        a.write(b"little")
        await receive_exactly(b, 6)
    assert sizes[-1] == CHUNK


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
async def test_a_pipe_that_carries_much_is_widened_at_once(nursery):
    reading, writing = os.pipe()
    stream = DescriptorStream(nursery, None, writing)
    stream.write(bytes(BIG_CHUNK))
    assert stream.buffered == 0  # 64 KiB fit before
    stream.close()
    os.close(reading)


@carriers
async def test_a_closed_descriptor_is_not_read_even_if_its_number_is_in_use_again(pair, nursery):
    a, b = pair
    seen = []

    async def read():
        seen.append(await b.receive())

    number = b._reading
    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    a.write(b"for b")  # makes it readable: the reader is about to be woken
    await trio.lowlevel.checkpoint()
    b.close()
    other_end, writing = os.pipe()
    os.write(writing, b"somebody else's")
    os.dup2(other_end, number)
    await wait_all_tasks_blocked()
    assert seen in ([b""], [b"for b"])
    assert os.read(number, 100) == b"somebody else's"
    for fd in {number, other_end, writing}:
        os.close(fd)


@carriers
async def test_blocking_mode_is_restored(carrier, nursery):
    ours, theirs = carrier()
    keep = [os.dup(fd) for fd in ours]  # what another process would hold
    stream = DescriptorStream(nursery, *ours)
    assert not any(os.get_blocking(fd) for fd in keep)
    stream.close()
    assert all(os.get_blocking(fd) for fd in keep)
    for fd in {*keep, *theirs}:
        os.close(fd)


async def test_a_descriptor_that_was_not_blocking_stays_so(nursery):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    kept = os.dup(reading)
    DescriptorStream(nursery, reading, writing).close()
    assert not os.get_blocking(kept)
    os.close(kept)


async def test_closing_one_of_two_names_of_a_socket_leaves_the_other_nonblocking(nursery):
    """A client may give its server the same socket as stdin and stdout."""
    ours, theirs = socket.socketpair()
    kept = ours.dup()
    reading, writing = os.dup(ours.fileno()), ours.detach()
    stream = DescriptorStream(nursery, reading, writing)
    stream.close_writing()
    assert not os.get_blocking(kept.fileno())
    nursery.start_soon(stream.receive)
    await wait_all_tasks_blocked()  # would hang here
    stream.close()
    assert os.get_blocking(kept.fileno())
    kept.close()
    theirs.close()


@carriers
async def test_borrowed_descriptors_stay_open_and_are_set_back(carrier, nursery):
    ours, theirs = carrier()
    stream = DescriptorStream(nursery, *ours, borrowed=True)
    ended = trio.Event()

    async def read():
        assert await stream.receive() == b""
        ended.set()

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    stream.close()
    with trio.fail_after(5):
        await ended.wait()
    for fd in ours:
        assert os.get_blocking(fd)
    for fd in {*ours, *theirs}:
        os.close(fd)


async def test_closing_the_writing_half_is_seen_as_the_end_and_reading_goes_on(nursery):
    ours, theirs = pipes()
    a, b = DescriptorStream(nursery, *ours), DescriptorStream(nursery, *theirs)
    b.write(b"answer")
    a.close_writing()
    with trio.fail_after(5):
        assert await b.receive() == b""
        assert await a.receive() == b"answer"
    a.write(b"too late")
    a.close_writing()
    assert a.buffered == 0
    a.close()
    b.close()


async def test_a_socket_cannot_be_closed_by_half(nursery):
    ours, theirs = unix_sockets()
    a, b = DescriptorStream(nursery, *ours), DescriptorStream(nursery, *theirs)
    a.close_writing()
    a.write(b"goes on")
    assert await receive_exactly(b, 7) == b"goes on"
    a.close()
    b.close()


async def test_half_a_stream_reads_or_writes_only(nursery):
    reading, writing = os.pipe()
    a, b = DescriptorStream(nursery, reading, None), DescriptorStream(nursery, None, writing)
    a.write(b"nowhere")
    assert await b.receive() == b""
    b.write(b"there")
    assert await receive_exactly(a, 5) == b"there"
    a.close()
    b.close()


async def test_a_reset_is_an_end_like_any_other(nursery):
    ours, theirs = tcp_sockets()
    a = DescriptorStream(nursery, *ours)
    peer = socket.socket(fileno=theirs[0])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    with trio.fail_after(5):
        assert await a.receive() == b""
        while not a.broken:
            a.write(b"x")
            await trio.lowlevel.checkpoint()
    a.close()


@all_streams
async def test_no_descriptor_is_left(make, nursery):
    before = open_fds()
    a, b = make(nursery)
    fill(a)
    await a.aclose()
    await b.aclose()
    assert open_fds() == before


# ---------------------------------------------------------------- trio streams


async def test_small_parts_go_out_in_one_piece(nursery):
    pieces = []
    left, _right = memory_stream_pair()
    real_send = left.send_all

    async def send_all(data):
        pieces.append(bytes(data))
        await real_send(data)

    left.send_all = send_all
    stream = TrioStream(nursery, left)
    stream.write(b"head", b"body")
    stream.write(b"next")
    stream.write(bytes(SMALL))
    stream.write(b"a", bytes(SMALL - 1), b"b")
    with trio.fail_after(5):
        await stream.wait_sent()
    assert list(map(len, pieces)) == [12, SMALL, SMALL, 1]


async def test_what_a_trio_stream_did_not_send_breaks_it(nursery):
    left, _right = memory_stream_pair()

    async def fail():
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    left.send_stream.send_all_hook = fail
    stream = TrioStream(nursery, left)
    stream.write(b"x")
    with trio.fail_after(5):
        await stream.wait_sent()
    assert stream.broken


# ---------------------------------------------------------------- the outbox


def test_the_outbox_counts_bytes_across_parts():
    outbox = Outbox()
    outbox.add((b"abc", b"", b"de"))
    outbox.add((b"f",))
    assert (outbox.size, [bytes(part) for part in outbox.first()]) == (6, [b"abc", b"de", b"f"])
    outbox.took(1)
    assert [bytes(part) for part in outbox.first()] == [b"bc", b"de", b"f"]
    outbox.took(4)
    assert [bytes(part) for part in outbox.first()] == [b"f"]
    assert outbox
    outbox.took(1)
    assert (outbox.size, bool(outbox), outbox.first()) == (0, False, [])
    outbox.took(0)


def test_one_call_sends_a_bounded_number_of_parts():
    outbox = Outbox()
    outbox.add((b"x",) * 1000)
    assert 1 < len(outbox.first()) < 1000


# ---------------------------------------------------------------- into memory, and out of it


async def test_input_is_read_into_the_room_that_there_is_when_it_comes():
    reading, writing = os.pipe()
    memory = bytearray(16)
    asked: list[int] = []

    def room() -> memoryview:
        asked.append(len(asked))
        return memoryview(memory)[2:6]

    async with trio.open_nursery() as nursery:
        stream = DescriptorStream(nursery, reading, None)
        counts: list[int] = []

        async def read() -> None:
            counts.append(await stream.receive_into(room))

        async with trio.open_nursery() as inner:
            inner.start_soon(read)
            await wait_all_tasks_blocked()
            assert asked == []
            os.write(writing, b"abcdef")
        assert counts == [4]
        assert bytes(memory[:8]) == b"\0\0abcd\0\0"
        assert await stream.receive_into(room) == 2
        assert bytes(memory[2:6]) == b"efcd"
        os.close(writing)
        assert await stream.receive_into(room) == 0
        await stream.aclose()
        assert await stream.receive_into(room) == 0


async def test_a_full_room_is_no_sign_that_there_is_more():
    reading, writing = os.pipe()
    async with trio.open_nursery() as nursery:
        stream = DescriptorStream(nursery, reading, None)
        os.write(writing, b"ab")
        assert await stream.receive_into(lambda: memoryview(bytearray(2))) == 2
        async with trio.open_nursery() as inner:
            inner.start_soon(stream.receive_into, lambda: memoryview(bytearray(2)))
            await wait_all_tasks_blocked()
            os.write(writing, b"c")
        os.close(writing)
        await stream.aclose()


async def test_an_error_ends_reading_into_memory_and_so_does_closing():
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        stream = DescriptorStream(nursery, ours.detach(), None)
        async with trio.open_nursery() as inner:
            inner.start_soon(stream.receive_into, lambda: memoryview(bytearray(2)))
            await wait_all_tasks_blocked()
            stream.close()
        theirs.close()
        file = os.open("/", os.O_RDONLY)
        reading, writing = os.pipe()
        broken = DescriptorStream(nursery, reading, None)
        os.write(writing, b"x")
        os.dup2(file, reading)
        broken._drained = False
        assert await broken.receive_into(lambda: memoryview(bytearray(2))) == 0
        assert broken.failed
        broken.close()
        os.close(writing)
        os.close(file)


async def test_what_was_kept_can_be_left_to_somebody_else_even_after_a_cancellation():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    data = os.urandom(3_000_000)
    progress: list[int] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            stream = DescriptorStream(nursery, None, writing)
            stream.surrenders = True
            stream.progress = lambda: progress.append(stream.kept - stream.buffered)
            stream.write(data)
            assert stream.kept == len(data)
            got = os.read(reading, 100_000)
            await wait_all_tasks_blocked(0.01)
            scope.cancel()
    rest = stream.surrender()
    assert stream.broken
    while len(got) + len(rest) < len(data):
        got += os.read(reading, 1 << 20)
    assert got + rest == data
    assert progress == sorted(progress)
    assert progress[-1] == len(data) - len(rest)
    stream.close()
    os.close(reading)
