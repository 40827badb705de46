"""`mcpctld.protocols.sse`: events out of a stream, after WHATWG HTML §9.2."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong


def drain(reader: SseReader) -> list[SseEvent | SseTooLong]:
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def read(*pieces: bytes, limit: int = 1000) -> list[SseEvent | SseTooLong]:
    reader = SseReader(limit)
    for piece in pieces:
        reader.receive_data(piece)
    reader.receive_eof()
    return drain(reader)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def message(data: bytes, type_: str = "message", id_: str | None = None) -> SseEvent:
    return SseEvent(type_, data, id_)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        # the examples of the standard
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [message(b"YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\n"
            b"data:second event\nid\n\ndata:  third event\n\n",
            [
                message(b"first event", id_="1"),
                message(b"second event", id_=""),
                message(b" third event"),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [message(b"\n")]),  # empty data is not handed on
        (b"data:test\n\ndata: test\n\n", [message(b"test"), message(b"test")]),
        # what MCP servers send
        (b'event: message\r\ndata: {"a":1}\r\n\r\n', [message(b'{"a":1}')]),
        (b"event: message\nid: 7\ndata: {}\n\n", [message(b"{}", id_="7")]),
        (b"event: endpoint\ndata: /m?s=1\n\n", [message(b"/m?s=1", "endpoint")]),
        (b": ping - 2026-07-28\r\n\r\n", []),
        (b"id: 3\nretry: 500\ndata:\n\n", []),
        # line ends
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [message(b"a"), message(b"b"), message(b"c")]),
        (b"data: a\r\n\rdata: b\n\r\n", [message(b"a"), message(b"b")]),
        (b"data: a\r\ndata: b\r\n\r\n", [message(b"a\nb")]),
        # fields
        (b"\xef\xbb\xbfdata: a\n\n", [message(b"a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"\xef\xbbdata: a\n\ndata: b\n\n", [message(b"b")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [message(b"a")]),
        (b"data:a:b\n\n", [message(b"a:b")]),
        (b"Data: a\ndata : b\n data: c\n\n", []),
        (b"unknown: a\n:data: b\ndata: c\n\n", [message(b"c")]),
        (b"event: x\n\ndata: a\n\n", [message(b"a")]),
        (b"event: x\nevent:\ndata: a\n\n", [message(b"a")]),
        (b"event: \xff\ndata: \xff\n\n", [message(b"\xff", "\ufffd")]),
        (b"id: a\0b\ndata: x\n\n", [message(b"x")]),
        (b"data: x\ndata:\n\n", [message(b"x\n")]),
        # no blank line, no event
        (b"data: a\n", []),
        (b"data: a", []),
    ],
)
def test_streams_are_read_as_the_standard_says(stream, expected):
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_comes_with_the_first_byte_that_ends_its_blank_line(end):
    reader = SseReader(1000)
    for byte in bytewise(b"data: a" + end):
        reader.receive_data(byte)
        assert reader.next_event() is None
    reader.receive_data(end[:1])
    assert reader.next_event() == message(b"a")
    reader.receive_data(end[1:] + b"data: b" + end + end)
    assert drain(reader) == [message(b"b")]


def test_the_last_id_is_that_of_the_last_finished_event():
    reader = SseReader(1000)
    assert reader.last_event_id is None
    reader.receive_data(b"id: 1\ndata: a\n\n")
    assert reader.last_event_id == "1"
    reader.receive_data(b"data: b\n\n")
    assert reader.last_event_id == "1"
    reader.receive_data(b"id: 2\n")
    assert reader.last_event_id == "1"
    reader.receive_data(b"\n")
    assert reader.last_event_id == "2"
    reader.receive_data(b"id: 3\ndata: x\n")
    reader.receive_eof()
    assert reader.last_event_id == "2"
    assert [event.id for event in drain(reader) if isinstance(event, SseEvent)] == ["1", None]


def test_an_empty_id_takes_the_last_one_back():
    reader = SseReader(1000)
    reader.receive_data(b"id: 1\n\nid:\n\n")
    assert reader.last_event_id is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"retry: 1500", 1500),
        (b"retry:0", 0),
        (b"retry: 1.5", None),
        (b"retry: -1", None),
        (b"retry:  1", None),
        (b"retry: " + "٣".encode(), None),
        (b"retry:", None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_retry_is_taken_at_once_if_it_is_digits_only(line, value):
    reader = SseReader(10_000)
    reader.receive_data(line + b"\n")
    assert reader.retry_ms == value


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data:" + b"x" * 15 + b"\n\n", [message(b"x" * 15)]),
        (b"data:" + b"x" * 16 + b"\n\n", [SseTooLong(16, b"x" * 16, b"x" * 16)]),
        (b"data: " + b"x" * 16 + b"\n\n", [SseTooLong(16, b"x" * 16, b"x" * 16)]),
        (b"data:abcdefghi\ndata:abcdefghij\n\n", [message(b"abcdefghi\nabcdefghij")]),
        (
            b"data:abcdefghij\ndata:abcdefghij\n\n",
            [SseTooLong(21, b"abcdefghij\nabcdefghij", b"abcdefghij\nabcdefghij")],
        ),
        (
            b"data:a\ndata:" + b"x" * 20 + b"\ndata:z\nid: 5\n\ndata:next\n\n",
            [
                SseTooLong(24, b"a\n" + b"x" * 20 + b"\nz", b"a\n" + b"x" * 20 + b"\nz"),
                message(b"next"),
            ],
        ),
        (
            b"data:" + b"x" * 20 + b"\ndata:" + b"y" * 20 + b"\n\n",
            [SseTooLong(41, b"x" * 20 + b"\n" + b"y" * 20, b"x" * 20 + b"\n" + b"y" * 20)],
        ),
        (b"data" + b"x" * 20 + b"\n\ndata:a\n\n", [message(b"a")]),
        (b":" + b"x" * 50 + b"\ndata:a\n\n", [message(b"a")]),
        (b"id:" + b"x" * 50 + b"\ndata:a\n\n", [message(b"a")]),
        (b"data:" + b"x" * 50, []),
    ],
)
def test_an_event_over_the_limit_is_told_not_kept(stream, expected):
    assert read(stream, limit=20) == expected
    assert read(*bytewise(stream), limit=20) == expected


def test_of_a_long_event_both_ends_of_its_data_are_told():
    numbers = b"".join(b"%06d" % n for n in range(5000))
    stream = b"event: message\ndata: " + numbers + b"\n\n"
    expected = [SseTooLong(30000, numbers[:4096], numbers[-4096:])]
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


def test_the_end_within_a_line_over_the_limit_leaves_nothing_behind():
    reader = SseReader(20)
    reader.receive_data(b"data:" + b"x" * 50)
    reader.receive_eof()
    assert reader.next_event() is None


def test_events_show_nothing_of_their_data():
    assert repr(message(b"secret", id_="4")) == "<SseEvent 'message' of 6 bytes, id '4'>"
    assert repr(SseTooLong(6, b"secret", b"secret")) == "<SseTooLong of 6 bytes>"


# ---------------------------------------------------------------- any bytes at all


def simple_reader(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The algorithm of the standard, said as plainly as possible: (type, data) of every event."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = []
    type_ = data = b""
    for line in stream.split(b"\n")[:-1]:
        if not line:
            if data.removesuffix(b"\n"):
                found.append((type_ or b"message", data.removesuffix(b"\n")))
            type_ = data = b""
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data += value.removeprefix(b" ") + b"\n"
        elif name == b"event":
            type_ = value.removeprefix(b" ")
    return found


fields = [b"data", b"event", b"id", b":", b" ", b"x", b"\0", b"\xff", b"retry: 5\n", b"data: y\n"]
pieces_of_streams = st.sampled_from(
    [*fields, b"\r", b"\n", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xef", b"data:" + b"z" * 30]
)


@given(st.lists(pieces_of_streams), st.lists(st.integers(0, 80)), st.sampled_from([20, 1000]))
@settings(deadline=None, max_examples=400)
def test_the_cuts_make_no_difference_and_the_standard_agrees(parts, cuts, limit):
    stream = b"".join(parts)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    whole = read(stream, limit=limit)
    assert read(*pieces, limit=limit) == whole
    assert read(*bytewise(stream), limit=limit) == whole
    if limit == 1000 and len(stream) < limit:
        shown = [(e.type, e.data) for e in whole if isinstance(e, SseEvent)]
        assert shown == [(t.decode(errors="replace"), d) for t, d in simple_reader(stream)]


def test_twelve_megabytes_of_data_in_small_pieces_are_linear_work():
    # Looking at everything again for each piece would take a minute: finishing is the proof.
    piece = b"x" * 65536
    [event] = read(b"data: ", *[piece] * 192, b"\r\n\r\n", limit=1 << 24)
    assert isinstance(event, SseEvent)
    assert len(event.data) == 192 * 65536
