"""`mcpctld.protocols.inet.tcp.send_buffer`: text by its numbers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.tcp.send_buffer import SendBuffer

START = 2**32 - 3


def test_text_is_found_by_its_numbers_until_it_is_released():
    buffer = SendBuffer(START, 10)
    assert buffer.write(b"abcdef") == 6
    assert (buffer.base, buffer.end, buffer.room) == (START, START + 6, 4)
    assert buffer.text(START + 1, START + 3) == b"bc"
    buffer.release(START + 2)
    assert buffer.text(START + 2, START + 6) == b"cdef"
    assert buffer.room == 6


def test_no_more_is_taken_than_there_is_room_for():
    buffer = SendBuffer(START, 4)
    assert buffer.write(memoryview(b"abcdef")) == 4
    assert buffer.write(b"x") == 0
    assert buffer.text(START, buffer.end) == b"abcd"


def test_the_number_of_a_fin_is_beyond_all_text():
    buffer = SendBuffer(START, 4)
    buffer.write(b"ab")
    buffer.release(START + 3)
    assert (buffer.base, buffer.end, buffer.room) == (START + 2, START + 2, 4)


def test_everything_can_be_dropped():
    buffer = SendBuffer(START, 4)
    buffer.write(b"ab")
    buffer.clear()
    assert (buffer.room, buffer.base) == (4, buffer.end)


@given(st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 9)), max_size=50))
@settings(deadline=None, derandomize=True)
def test_it_is_a_window_on_all_that_was_written(steps):
    buffer, written, base = SendBuffer(0, 20), b"", 0
    for data, released in steps:
        written += data[: buffer.write(data)]
        base = min(base + released, len(written))
        buffer.release(base)
        assert buffer.text(base, buffer.end) == written[base:]
        assert buffer.end == len(written)
        assert buffer.room == 20 - (len(written) - base)
