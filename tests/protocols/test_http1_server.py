"""`mcpctld.protocols.http1_server`: requests however they come, responses that arrive as meant."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols import http1
from mcpctld.protocols.http1_server import (
    CONTINUE,
    LAST_CHUNK,
    PREFACE,
    Bounds,
    Broken,
    Data,
    End,
    Event,
    Head,
    Http2Preface,
    RequestReader,
    encode_chunk,
    encode_response,
    encode_start,
    has_content,
)

BOUNDS = Bounds(head=200, target=50, fields=5, body=100)


def drain(reader: RequestReader) -> list[Event]:
    """The events so far; each request is taken as answered at its end."""
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
        if isinstance(event, End):
            reader.next_request()
    return found


def told(events: list[Event]) -> list[object]:
    """Events in a form to compare: data joined."""
    shown: list[object] = []
    for event in events:
        match event:
            case Head():
                shown.append(f"{event.method} {event.target}")
            case Data(data=data) if shown and isinstance(shown[-1], bytes):
                shown[-1] += data
            case Data(data=data):
                shown.append(data)
            case End():
                shown.append("end")
            case Broken(status=status):
                shown.append(status)
            case Http2Preface():
                shown.append("h2")
    return shown


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def read(*pieces: bytes) -> list[object]:
    reader = RequestReader(BOUNDS)
    found = []
    for piece in pieces:
        reader.receive_data(piece)
        found += drain(reader)
    return told(found)


def head(*lines: bytes, start: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: h", *lines, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"
GET = head(start=b"GET / HTTP/1.1")
POST = head(b"Content-Length: 2") + b"{}"

STREAMS = {
    "no body": (GET, ["GET /", "end"]),
    "empty body": (head(b"Content-Length: 0"), ["POST /mcp", "end"]),
    "body": (POST, ["POST /mcp", b"{}", "end"]),
    "chunks": (head(CHUNKED) + b"1\r\n{\r\n1;x\r\n}\r\n0\r\nA: b\r\n\r\n", ["POST /mcp", b"{}", "end"]),
    "no chunk": (head(CHUNKED) + b"0\r\n\r\n", ["POST /mcp", "end"]),
    "pipeline": (
        POST + GET + head(CHUNKED) + b"1\r\nx\r\n0\r\n\r\n" + POST,
        ["POST /mcp", b"{}", "end", "GET /", "end", "POST /mcp", b"x", "end", "POST /mcp", b"{}", "end"],
    ),
    "empty line before": (b"\r\n" + GET + b"\r\n" + GET, ["GET /", "end"] * 2),
    "two empty lines before": (b"\r\n\r\n" + GET, [400]),
    "two empty lines between": (GET + b"\r\n\r\n" + GET, ["GET /", "end", 400]),
    "more than the length": (POST + b"}}" + GET, ["POST /mcp", b"{}", "end", 400]),
    "smuggled": (head(b"Content-Length: 6", CHUNKED) + b"0\r\n\r\nX", [400]),
    "bad head after a good one": (GET + head(b"A : b"), ["GET /", "end", 400]),
    "bad chunk": (head(CHUNKED) + b"1\r\nx\r\nz\r\n" + GET, ["POST /mcp", b"x", 400]),
    "bad first chunk": (head(CHUNKED) + b"z\r\n" + GET, ["POST /mcp", 400]),
    "long body": (head(b"Content-Length: 101") + bytes(101), [413]),
    "long body in chunks": (head(CHUNKED) + b"64\r\n" + bytes(100) + b"\r\n1\r\n", ["POST /mcp", bytes(100), 413]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    "bare LF": (b"GET / HTTP/1.1\nHost: h\n\n", [400]),
    "bare LF first": (b"\nGET / HTTP/1.1\r\n", [400]),
    "bare CR": (b"GET / HTTP/1.1\rHost: h", [400]),
    "bare CR first": (b"\rGET", [400]),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: h\r\n\n", [400]),
    "bare CR before the end": (b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", [400]),
    "head that just fits": (head(b"A: " + b"b" * 168, start=b"GET / HTTP/1.1"), ["GET /", "end"]),
    "head that does not": (head(b"A: " + b"b" * 169, start=b"GET / HTTP/1.1"), [431]),
    "head that just fits, after an empty line":
        (b"\r\n" + head(b"A: " + b"b" * 168, start=b"GET / HTTP/1.1"), ["GET /", "end"]),
    "head that does not, after an empty line":
        (b"\r\n" + head(b"A: " + b"b" * 169, start=b"GET / HTTP/1.1"), [431]),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100, [431]),
    "endless head with a bare LF": (b"GET / HTTP/1.1\r\nA: \n" + b"A: b\r\n" * 100, [400]),
    "endless line": (b"G" * 300, [431]),
    "HTTP/2": (PREFACE + b"SM\r\n\r\n\0\0\0\4", ["h2"]),
    "HTTP/2 later": (GET + PREFACE + b"SM\r\n\r\n", ["GET /", "end", 505]),
    "cut off": (POST[:-1], ["POST /mcp", b"{"]),
    "nothing": (b"", []),
}  # fmt: skip


@pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
def test_requests_are_read_however_they_are_cut(stream, expected):
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected
    for at in range(1, len(stream)):
        assert read(stream[:at], stream[at:]) == expected


def test_the_head_longest_by_default_is_64_kib():
    reader = RequestReader(Bounds())
    reader.receive_data(head(b"A: " + b"b" * 65_000))
    assert told(drain(reader)) == ["POST /mcp", "end"]
    reader.receive_data(head(b"A: " + b"b" * 65_536))
    assert told(drain(reader)) == [431]


def test_what_is_pipelined_waits_unread():
    reader = RequestReader(BOUNDS)
    reader.receive_data(POST + GET)
    assert [type(reader.next_event()) for _ in range(4)] == [Head, Data, End, type(None)]
    reader.receive_data(b"nonsense that is not looked at\0")
    assert reader.buffered == len(GET) + 31
    assert not reader.is_idle
    reader.next_request()
    assert told(drain(reader)) == ["GET /", "end"]
    assert read(GET + b"nonsense\0") == ["GET /", "end"]


def test_it_is_idle_until_the_first_byte_of_a_request():
    reader = RequestReader(BOUNDS)
    for byte in bytewise(GET):
        assert reader.is_idle is (byte == GET[:1])
        reader.receive_data(byte)
    assert isinstance(reader.next_event(), Head)
    assert not reader.is_idle
    assert isinstance(reader.next_event(), End)
    assert not reader.is_idle
    reader.next_request()
    assert reader.is_idle


@pytest.mark.parametrize("came", [b"", GET[:5], POST[:-1], b"\0"])
def test_another_request_is_not_read_before_the_end_of_this_one(came):
    reader = RequestReader(BOUNDS)
    reader.receive_data(came)
    drain(reader)
    with pytest.raises(RuntimeError, match="not complete"):
        reader.next_request()


@pytest.mark.parametrize("data", [b"\0", head(b"Content-Length: 999"), PREFACE])
def test_nothing_comes_after_the_end_of_all(data):
    reader = RequestReader(BOUNDS)
    reader.receive_data(data)
    assert reader.next_event() is not None
    reader.receive_data(GET)
    assert reader.next_event() is None
    assert reader.buffered == 0 or data == PREFACE


def test_the_preface_of_http_2_comes_with_what_followed_it():
    reader = RequestReader(BOUNDS)
    reader.receive_data(PREFACE + b"SM")
    event = reader.next_event()
    assert event == Http2Preface(PREFACE + b"SM")
    assert repr(event) == "<Http2Preface and 2 bytes>"
    assert repr(Data(b"hush")) == "<Data of 4 bytes>"


def test_a_head_that_comes_again_is_not_read_again():
    reader = RequestReader(Bounds())
    long = head(b"A: " + b"b" * 5000)
    reader.receive_data(GET + GET + POST + POST + GET + long + long)
    heads = [event for event in drain(reader) if isinstance(event, Head)]
    again = [one is other for one, other in pairwise(heads)]
    assert again == [True, False, True, False, False, False]  # the long one is not remembered
    assert [found.method for found in heads] == ["GET"] * 2 + ["POST"] * 2 + ["GET"] + ["POST"] * 2


PARTS = [
    GET, POST, PREFACE, b"GET / HTTP/1.1\r\n", b"Host: h\r\n", b"Content-Length: 3\r\n",
    CHUNKED + b"\r\n", b"3\r\n", b"0\r\n", b"1\r\n", b"abc", b"x", b" ", b":", b"\0", b"\r", b"\n", b"\r\n",
]  # fmt: skip


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(PARTS), max_size=14).map(b"".join))
def test_any_bytes_give_the_same_events_whole_and_in_pieces(stream):
    assert read(stream) == read(*bytewise(stream))


# ---------------------------------------------------------------- responses


def response(*args, **options):
    return b"".join(encode_response(*args, **options))


JSON = (("Content-Type", "application/json"), ("X", "\xe9"))
CLOSE = b"Connection: close"
KEEP = b"Connection: keep-alive"
EMPTY = b"Content-Length: 0"
DATE = b"Date: now"
OK = b"HTTP/1.1 200 OK"
V0 = {"minor": 0}
LAST = {"keep_alive": False}


def lines(*some: bytes) -> bytes:
    return b"\r\n".join([*some, b"", b""])


@pytest.mark.parametrize(
    ("args", "options", "wire"),
    [
        (
            (200, JSON, b"{}"),
            {},
            lines(OK, b"Content-Type: application/json", b"X: \xe9", b"Content-Length: 2") + b"{}",
        ),
        ((202, ()), {}, lines(b"HTTP/1.1 202 Accepted", EMPTY)),
        (
            (404, (), b"no"),
            {"head_only": True},
            lines(b"HTTP/1.1 404 Not Found", b"Content-Length: 2"),
        ),
        ((204, (), b"dropped"), {}, lines(b"HTTP/1.1 204 No Content")),
        ((304, (("ETag", "a"),)), {}, lines(b"HTTP/1.1 304 Not Modified", b"ETag: a")),
        ((299, ()), {}, lines(b"HTTP/1.1 299 ", EMPTY)),
        ((200, ()), LAST, lines(OK, CLOSE, EMPTY)),
        ((200, ()), V0, lines(OK, KEEP, EMPTY)),
        ((200, ()), V0 | LAST, lines(OK, CLOSE, EMPTY)),
        ((200, ()), {"extra": b"Date: now\r\n"}, lines(OK, DATE, EMPTY)),
    ],
)
def test_a_whole_response_is_written(args, options, wire):
    assert response(*args, **options) == wire


IN_CHUNKS = {"chunked": True}
TO_THE_END = {"chunked": False}


@pytest.mark.parametrize(
    ("status", "options", "wire"),
    [
        (200, {}, lines(OK, CHUNKED)),
        (200, IN_CHUNKS | LAST, lines(OK, CLOSE, CHUNKED)),
        (200, {"extra": b"Date: now\r\n"}, lines(OK, DATE, CHUNKED)),
        (200, TO_THE_END | LAST | V0, lines(OK, CLOSE)),
        (204, {}, lines(b"HTTP/1.1 204 No Content")),
        (204, TO_THE_END | V0, lines(b"HTTP/1.1 204 No Content", KEEP)),
    ],
)
def test_the_start_of_a_response_is_written(status, options, wire):
    assert encode_start(status, (), **options) == wire


@pytest.mark.parametrize(
    "options", [{"minor": 0}, {"chunked": False}, {"chunked": False, "minor": 0}]
)
def test_a_start_after_which_nobody_knows_the_end_is_refused(options):
    with pytest.raises(ValueError):
        encode_start(200, (), **options)


@pytest.mark.parametrize("status", [100, 101, 199, 600, 99, 1000, -1])
def test_what_is_no_status_of_a_response_is_refused(status):
    with pytest.raises(ValueError, match="status"):
        encode_response(status, ())


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\0"),
        ("X\r\nY", "b"),
        ("X:", "b"),
        ("", "b"),
        ("X", "\u20ac"),
        ("Content-Length", "1"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Keep-Alive", "timeout=5"),
    ],
)
@pytest.mark.parametrize("encode", [encode_response, encode_start])
def test_headers_that_say_something_else_than_was_meant_are_refused(encode, header):
    with pytest.raises(ValueError, match="header") as caught:
        encode(200, (("A", "b"), header))
    assert header[1] not in str(caught.value)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_our_own_client_reads_what_was_written(pieces, chunked):
    whole = b"".join(pieces)
    reader = http1.ResponseReader()
    reader.expect("POST")
    reader.receive_data(CONTINUE)
    if chunked:
        chunks = b"".join(b"".join(encode_chunk(piece)) for piece in pieces)
        reader.receive_data(encode_start(200, JSON) + chunks + LAST_CHUNK)
    else:
        reader.receive_data(response(200, JSON, whole))
    events = []
    while (event := reader.next_event()) is not None:
        events.append(event)
    assert events[0].headers.get("content-type") == "application/json"
    assert b"".join(event.data for event in events[1:-1]) == whole
    assert events[-1] == http1.End(keep_alive=True)
    assert reader.is_idle


def test_statuses_without_content():
    assert [status for status in range(200, 600) if not has_content(status)] == [204, 304]


# ---------------------------------------------------------------- another protocol


@pytest.mark.parametrize("rest", [b"", b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_follows_a_request_can_be_taken_as_another_protocol(rest):
    reader = RequestReader(BOUNDS)
    reader.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(reader.next_event(), Head)
    with pytest.raises(RuntimeError):
        reader.take_rest()
    assert isinstance(reader.next_event(), End)
    reader.receive_data(rest)
    assert reader.take_rest() == rest
    reader.receive_data(b"GET / HTTP/1.1\r\n\r\n")
    assert reader.next_event() is None
