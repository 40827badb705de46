"""`mcpctld.protocols.ndjson`: lines out of a stream, however it is cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong


def events(reader: LineReader) -> list[bytes | TooLong | HalfLine]:
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def read(*pieces: bytes, limit: int = 100, eof: bool = True) -> list[bytes | TooLong | HalfLine]:
    reader = LineReader(limit)
    for piece in pieces:
        reader.receive_data(piece)
    if eof:
        reader.receive_eof()
    return events(reader)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"a\n", [b"a"]),
        (b"a\r\n", [b"a"]),
        (b"a\nbc\n", [b"a", b"bc"]),
        (b"\n\r\n \t\n  \r\na\n\n", [b"a"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\r\r\n", [b"a\r"]),
        (b" a \n", [b" a "]),
        ("\u2028\n\u2029\x85\n".encode(), ["\u2028".encode(), "\u2029\x85".encode()]),
        (b"a\0b\xff\n", [b"a\0b\xff"]),
        (b"a\nhalf", [b"a", HalfLine(b"half")]),
        (b"half\r", [HalfLine(b"half\r")]),
        (b"a\n \r", [b"a"]),
    ],
)
def test_lines_end_with_lf_or_crlf_and_blank_ones_are_skipped(stream, expected):
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


def test_a_line_comes_as_soon_as_it_is_complete():
    reader = LineReader(100)
    reader.receive_data(b"a")
    assert reader.next_event() is None
    assert reader.buffered == 1
    reader.receive_data(b"b\nc")
    assert events(reader) == [b"ab"]
    assert reader.buffered == 1
    reader.receive_data(b"")
    assert reader.next_event() is None


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_of_exactly_the_limit_is_kept_and_one_byte_more_is_not(end):
    kept = b"x" * 100 if end else HalfLine(b"x" * 100)
    assert read(b"x" * 100 + end) == [kept]
    [event] = read(b"x" * 101 + end)
    assert event == TooLong(101, b"x" * 101, b"x" * 101)


def test_of_a_line_over_the_limit_length_and_ends_are_told_and_the_next_line_is_read():
    numbers = b"".join(b"%06d" % n for n in range(5000))
    stream = b"before\n" + numbers + b"\r\nafter\n"
    expected = [
        b"before",
        TooLong(30001, numbers[:4096], numbers[-4095:]),
        b"after",
    ]
    assert read(stream, limit=1000) == expected
    assert read(*bytewise(stream), limit=1000) == expected


def test_nothing_of_a_line_over_the_limit_is_held():
    reader = LineReader(1000)
    for _ in range(100):
        reader.receive_data(b"x" * 999)
        assert reader.buffered <= 1000


def test_events_show_nothing_of_their_contents():
    assert repr(HalfLine(b"secret")) == "<HalfLine of 6 bytes>"
    assert repr(TooLong(6, b"secret", b"secret")) == "<TooLong of 6 bytes>"


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b" ", b"a", b"\xff", b"x" * 7, b"y" * 30])),
    st.lists(st.integers(0, 60)),
)
@settings(deadline=None, max_examples=300)
def test_the_cuts_make_no_difference(parts, cuts):
    stream = b"".join(parts)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    whole = read(stream, limit=20)
    assert read(*pieces, limit=20) == whole
    assert read(*bytewise(stream), limit=20) == whole
    before_eof = read(*pieces, limit=20, eof=False)
    assert before_eof == whole[: len(before_eof)]
    assert len(whole) - len(before_eof) <= (not stream.endswith(b"\n"))


def test_sixty_four_mebibytes_in_small_pieces_are_linear_work():
    # Looking at everything again for each piece would take many minutes: finishing is the proof.
    reader = LineReader(64 * 1024 * 1024)
    piece = b"x" * 65536
    for _ in range(1024):
        reader.receive_data(piece)
    reader.receive_data(b"\n")
    line = reader.next_event()
    assert isinstance(line, bytes)
    assert len(line) == 64 * 1024 * 1024
    assert reader.buffered == 0
