"""`mcpctld.protocols.http1`: requests that arrive as meant, responses however they come."""

from itertools import pairwise

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.http1 import (
    Broken,
    Data,
    End,
    Event,
    Head,
    Headers,
    ResponseReader,
    Switched,
    encode_head,
    end_head,
    keep_alive_timeout,
)

# ---------------------------------------------------------------- requests


def encode_request(method, target, headers, body):
    whole = encode_head(method, target, tuple(headers)) + end_head(body)
    return whole if body is None else whole + body


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (("GET", "/mcp?x=1", [], None), b"GET /mcp?x=1 HTTP/1.1\r\n\r\n"),
        (
            ("POST", "/", [("Host", "a:1"), ("X", "")], b"{}"),
            b"POST / HTTP/1.1\r\nHost: a:1\r\nX: \r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            ("DELETE", "http://a/", [("X", "\xe9\t ~")], b""),
            b"DELETE http://a/ HTTP/1.1\r\nX: \xe9\t ~\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
)
def test_a_request_is_written_as_given(request_, wire):
    assert encode_request(*request_) == wire


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("", "/", []),
        ("GET /", "/", []),
        ("GET\r\n", "/", []),
        ("GET", "", []),
        ("GET", "/a b", []),
        ("GET", "/a\r\nX: y", []),
        ("GET", "/\x7f", []),
        ("GET", "/é", []),
        ("GET", "/", [("X\n", "y")]),
        ("GET", "/", [("X ", "y")]),
        ("GET", "/", [("X:", "y")]),
        ("GET", "/", [("", "y")]),
        ("GET", "/", [("É", "y")]),
        ("GET", "/", [("X", "a\r\nY: b")]),
        ("GET", "/", [("X", "a\nb")]),
        ("GET", "/", [("X", "a\rb")]),
        ("GET", "/", [("X", "a\0b")]),
        ("GET", "/", [("X", "\u20ac")]),
    ],
)
def test_what_would_arrive_as_something_else_is_refused(method, target, headers):
    with pytest.raises(ValueError):
        encode_request(method, target, headers, None)


@pytest.mark.parametrize("value", ["hush\n", "hush\u20ac", "hush\x7f"])
def test_a_refusal_does_not_show_the_value(value):
    with pytest.raises(ValueError, match="'Authorization'") as caught:
        encode_request("GET", "/", [("Authorization", value)], None)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


class _Seen:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.url = b""
        self.complete = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1


@given(
    st.text(max_size=8),
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=3),
    st.none() | st.binary(max_size=50),
)
@settings(deadline=None)
def test_what_is_written_is_read_as_exactly_one_request(path, headers, body):
    try:
        wire = encode_request("POST", "/" + path, headers, body)
    except ValueError:
        return
    seen = _Seen()
    httptools.HttpRequestParser(seen).feed_data(wire)
    assert seen.complete == 1
    assert seen.body == (body or b"")
    assert seen.url == b"/" + path.encode()
    assert len(seen.headers) == len(headers) + (body is not None)


# ---------------------------------------------------------------- headers


def test_headers_are_found_in_any_case_and_joined():
    headers = Headers(
        [(b"Set-Cookie", b"a=1, x"), (b"VARY", b"a"), (b"set-cookie", b"b=2"), (b"Vary", b"\xe9")]
    )
    assert headers.get("vary") == headers.get("Vary") == "a, \xe9"
    assert headers.get_all("Set-Cookie") == ["a=1, x", "b=2"]
    assert headers.get("Host") is None
    assert headers.get_all("Host") == []


def test_headers_show_their_names_only():
    assert repr(Headers([(b"Set-Cookie", b"hush")])) == "<Headers set-cookie>"
    assert repr(Data(b"hush")) == "<Data of 4 bytes>"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=100,Timeout = 75", 75.0),
        (b'timeout="8"', 8.0),
        (b"timeout=0", 0.0),
        (b"max=100", None),
        (b"timeout=soon", None),
        (b"xtimeout=5", None),
        (b"", None),
    ],
)
def test_the_keep_alive_header_tells_seconds(value, seconds):
    assert keep_alive_timeout(Headers([(b"Keep-Alive", value)])) == seconds
    assert keep_alive_timeout(Headers([])) is None


# ---------------------------------------------------------------- responses


def drain(reader: ResponseReader) -> list[Event]:
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def told(events: list[Event]) -> list[object]:
    """Events in a form to compare: heads by status, data joined."""
    shown: list[object] = []
    for event in events:
        match event:
            case Head(status=status):
                shown.append(status)
            case Data(data=data) if shown and isinstance(shown[-1], bytes):
                shown[-1] += data
            case Data(data=data):
                shown.append(data)
            case End(keep_alive=keep_alive):
                shown.append("keep" if keep_alive else "close")
            case Broken(started=started, ended=ended):
                shown.append(("cut" if ended else "broken") + ("" if started else " before"))
    return shown


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def read(
    *pieces: bytes, method: str = "POST", eof: bool = False, limit: int = 1000
) -> list[object]:
    reader = ResponseReader(max_head_bytes=limit)
    reader.expect(method)
    for piece in pieces:
        reader.receive_data(piece)
    if eof:
        reader.receive_eof()
    return told(drain(reader))


def ok(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *lines, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"
COMPLETE = [
    (ok(b"Content-Length: 2") + b"hi", [200, b"hi", "keep"]),
    (ok(b"Content-Length: 0"), [200, "keep"]),
    (ok(b"Content-Length: 0", b"Connection: close"), [200, "close"]),
    (ok(b"Content-Length: 0", status=b"HTTP/1.0 200 OK"), [200, "close"]),
    (ok(b"Content-Length: 0", b"Connection: keep-alive", status=b"HTTP/1.0 200 OK"), [200, "keep"]),
    (ok(status=b"HTTP/1.1 204 No Content"), [204, "keep"]),
    (ok(status=b"HTTP/1.1 204"), [204, "keep"]),
    (ok(b"Content-Length: 9", status=b"HTTP/1.1 304 Not Modified"), [304, "keep"]),
    (ok(CHUNKED) + b"2\r\nhi\r\n3;x=y\r\n ho\r\n0\r\n\r\n", [200, b"hi ho", "keep"]),
    (ok(CHUNKED) + b"0\r\nA: b\r\n\r\n", [200, "keep"]),
    (ok(CHUNKED) + b"0\r\nTransfer-Encoding: x\r\n\r\n", [200, "close"]),
    (ok(CHUNKED) + b"0\r\nConnection: close\r\n\r\n", [200, "close"]),
    (ok(b"transfer-encoding: Chunked ") + b"0\r\n\r\n", [200, "keep"]),
    (ok(b"Upgrade: h2c", b"Connection: upgrade", b"Content-Length: 0"), [200, "keep"]),
    (ok(b"Empty:", b"Content-Length: 1") + b"x", [200, b"x", "keep"]),
    # interim responses
    (ok(status=b"HTTP/1.1 100 Continue") + ok(b"Content-Length: 0"), [200, "keep"]),
    (
        ok(b"Link: </a>", status=b"HTTP/1.1 103 Early Hints") * 3 + ok(b"Content-Length: 1") + b"x",
        [200, b"x", "keep"],
    ),
]


@pytest.mark.parametrize(("stream", "expected"), COMPLETE)
def test_a_response_is_read_however_it_is_cut(stream, expected):
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


@pytest.mark.parametrize(("stream", "expected"), COMPLETE)
def test_a_connection_serves_one_request_after_another(stream, expected):
    reader = ResponseReader()
    for _ in range(3 if "keep" in expected else 1):
        reader.expect("POST")
        reader.receive_data(stream)
        assert told(drain(reader)) == expected


def test_the_head_is_told_as_it_came():
    reader = ResponseReader()
    reader.expect("GET")
    for byte in bytewise(
        ok(b"X-A: 1", b"x-a:  2 ", b"Mcp-Session-Id: s", status=b"HTTP/1.1 404 N\xf6 Way")
    ):
        reader.receive_data(byte)
    head = reader.next_event()
    assert isinstance(head, Head)
    assert (head.status, head.reason) == (404, "N\xf6 Way")
    assert head.headers.get("X-A") == "1, 2"
    assert head.headers.get("mcp-session-id") == "s"


def test_each_response_has_its_own_head():
    reader = ResponseReader()
    for n in (b"1", b"2"):
        reader.expect("GET")
        reader.receive_data(ok(b"N: " + n, b"Content-Length: 0", status=b"HTTP/1.1 200 R" + n))
        head, _ = drain(reader)
        assert isinstance(head, Head)
        assert (head.reason, head.headers.get("n")) == ("R" + n.decode(), n.decode())


def test_pieces_of_a_body_come_at_once():
    reader = ResponseReader()
    reader.expect("GET")
    reader.receive_data(ok(CHUNKED) + b"5\r\nda")
    assert told(drain(reader)) == [200, b"da"]
    reader.receive_data(b"ta:\r\n")
    assert told(drain(reader)) == [b"ta:"]


def test_the_end_of_the_connection_ends_a_body_without_a_length():
    for pieces in ([ok() + b"all of it"], bytewise(ok() + b"all of it")):
        assert read(*pieces, eof=True) == [200, b"all of it", "close"]
    assert read(ok(), eof=True) == [200, "close"]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (ok(b"Content-Length: 50"), [200, "close"]),
        (ok(CHUNKED), [200, "close"]),
        (ok(), [200, "close"]),
        (ok(b"Content-Length: 2") + b"hi", [200, "close"]),
        (ok(CHUNKED) + b"2\r\nhi\r\n0\r\n\r\n", [200, "close"]),
    ],
)
def test_an_answer_to_head_has_no_body_and_its_connection_is_not_used_again(stream, expected):
    assert read(stream, method="HEAD", eof=True) == expected
    assert read(*bytewise(stream), method="HEAD") == expected


# ---------------------------------------------------------------- what breaks a connection


@pytest.mark.parametrize(
    "stream",
    [
        b"<html>",
        b"\x16\x03\x01",
        b"SSH-2.0-OpenSSH\r\n",
        ok(b"Content-Length: 2", CHUNKED),
        ok(CHUNKED, b"Content-Length: 2"),
        ok(b"Content-Length: 2", b"Content-Length: 3"),
        ok(b"Content-Length: 2, 2"),
        ok(b"Content-Length: +2"),
        ok(b"Content-Length: -2"),
        ok(b"Content-Length: 99999999999999999999999"),
        ok(b"Transfer-Encoding: gzip"),
        ok(b"Transfer-Encoding: gzip, chunked"),
        ok(b"Transfer-Encoding: chunked, gzip"),
        ok(CHUNKED, CHUNKED),
        ok(b"Transfer-Encoding:\x0bchunked"),
        ok(b"Transfer-Encoding : chunked"),
        ok(b"X: a", b" folded: b"),
        ok(b"X: a\0b"),
        ok(b"X: a\x01b"),
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        ok(status=b"HTTP/1.1 99 Low"),
        ok(status=b"HTTP/1.1 abc"),
        ok(status=b"HTTP/1.1 101 Switching Protocols"),
        ok(b"Upgrade: x", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching Protocols")
        + b"x",
        ok(b"X: " + b"x" * 1000),
        ok(*[b"X: y"] * 200),
        ok(status=b"HTTP/1.1 200 " + b"x" * 1000),
        ok(status=b"HTTP/1.1 103 Early Hints") * 50,
    ],
)
def test_what_is_no_response_breaks_the_connection(stream):
    assert read(stream) == ["broken"]
    assert read(*bytewise(stream)) == ["broken"]


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"2\r\nhi2\r\nho",
        b"2\nhi\n0\n\n",
        b"fffffffffffffffff\r\n",
        b"2 \r\nhi\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nX: " + b"x" * 1100,
        b"0\r\n" + b"X: y\r\n" * 300,
        b"2;" + b"x" * 1100,
    ],
)
def test_bad_chunks_and_endless_framing_break_the_connection(body):
    for pieces in ([ok(CHUNKED), body], bytewise(ok(CHUNKED) + body)):
        events = read(*pieces)
        assert events[0] == 200
        assert events[-1] == "broken"
        assert "keep" not in events


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", ["cut before"]),
        (b"HTTP/1.1 2", ["cut"]),
        (ok(status=b"HTTP/1.1 100 Continue"), ["cut"]),
        (ok(b"Content-Length: 5"), [200, "cut"]),
        (ok(b"Content-Length: 5") + b"hi", [200, b"hi", "cut"]),
        (ok(CHUNKED) + b"2\r\nhi\r\n", [200, b"hi", "cut"]),
        (ok(CHUNKED) + b"2\r\nhi\r\n0\r\n", [200, b"hi", "cut"]),
        (ok(b"Content-Length: 0"), [200, "keep", "cut before"]),
        (ok(b"Content-Length: 0", b"Connection: close"), [200, "close"]),
    ],
)
def test_the_end_of_the_connection_is_told_unless_it_was_announced(stream, expected):
    assert read(stream, eof=True) == expected
    assert read(*bytewise(stream), eof=True) == expected


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\n", ok(b"Content-Length: 0")])
def test_bytes_that_nobody_asked_for_break_the_connection(extra):
    first = ok(b"Content-Length: 0")
    assert read(first + extra) == [200, "keep", "broken before"]
    assert read(*bytewise(first + extra)) == [200, "keep", "broken before"]
    assert read(ok(b"Content-Length: 0", b"Connection: close") + extra) == [200, "close"]


def test_a_few_line_ends_between_responses_are_ignored_but_not_a_flood():
    reader = ResponseReader(max_head_bytes=1000)
    for _ in range(2):
        reader.expect("POST")
        reader.receive_data(b"\r\n" + ok(b"Content-Length: 0") + b"\r\n")
        assert told(drain(reader)) == [200, "keep"]
    for _ in range(101):
        reader.receive_data(b"\r\n" * 5)
    assert told(drain(reader)) == ["broken before"]


def test_a_request_after_a_break_is_told_of_it_not_a_mistake():
    reader = ResponseReader()
    reader.expect("POST")
    reader.receive_data(ok(b"Content-Length: 0") + b"HTTP/1.1 200 injected")
    assert isinstance(reader.next_event(), Head)
    assert reader.next_event() == End(keep_alive=True)
    reader.expect("POST")  # the driver has not seen the break yet
    assert isinstance(reader.next_event(), Broken)
    drain(reader)
    reader.expect("POST")
    assert told(drain(reader)) == ["cut before"]


def test_two_requests_at_once_are_a_mistake():
    reader = ResponseReader()
    reader.expect("POST")
    with pytest.raises(RuntimeError, match="another one is out"):
        reader.expect("POST")


def test_empty_data_is_nothing():
    reader = ResponseReader()
    reader.expect("POST")
    reader.receive_data(b"")
    reader.receive_eof()
    assert told(drain(reader)) == ["cut before"]


def test_a_connection_is_idle_between_requests_until_something_unasked_comes():
    reader = ResponseReader()
    assert reader.is_idle
    reader.expect("POST")
    assert not reader.is_idle
    reader.receive_data(ok(b"Content-Length: 0"))
    assert reader.is_idle
    reader.expect("POST")
    reader.receive_data(ok(b"Content-Length: 0") + b"HTTP/1.1 200 injected")
    assert not reader.is_idle


def test_a_head_of_exactly_the_limit_is_read():
    head = ok(b"Content-Length: 5")
    assert read(head + b"hello", limit=len(head)) == [200, b"hello", "keep"]
    assert read(head + b"hello", limit=len(head) - 1) == ["broken"]


def test_a_large_body_is_no_long_head():
    body = b"x" * 5000
    assert read(ok(b"Content-Length: 5000") + body) == [200, body, "keep"]
    chunks = b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"
    assert read(ok(CHUNKED), chunks) == [200, body, "keep"]


# ---------------------------------------------------------------- any bytes at all


heads = [ok(b"Content-Length: 2"), ok(CHUNKED), ok(), ok(status=b"HTTP/1.1 100 Continue")]
bits = [
    b"hi",
    b"2\r\nhi\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"HTTP/1.1 ",
    b"204 No\r\n\r\n",
    b"X: y\r\n",
    b"\0",
]


@given(
    st.lists(st.sampled_from(heads + bits) | st.binary(max_size=5), max_size=8),
    st.lists(st.integers(0, 300)),
    st.sampled_from(["POST", "HEAD"]),
)
@settings(deadline=None, max_examples=300)
def test_the_cuts_make_no_difference(parts, cuts, method):
    stream = b"".join(parts)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    whole = read(stream, method=method, eof=True)
    assert read(*pieces, method=method, eof=True) == whole
    assert read(*bytewise(stream), method=method, eof=True) == whole
    assert whole[-1] in ("close", "cut", "cut before", "broken", "broken before")


# ---------------------------------------------------------------- switching protocols

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def switched(wire, size, *, upgrade=True, bound=65536):
    """The events of `wire` that comes in pieces of `size`; the other protocol's bytes joined."""
    reader = ResponseReader(bound)
    reader.expect("GET", upgrade=upgrade)
    for start in range(0, len(wire), size):
        reader.receive_data(wire[start : start + size])
    found = []
    while (event := reader.next_event()) is not None:
        if isinstance(event, Switched) and found and isinstance(found[-1], bytes):
            found[-1] += event.data
        else:
            found.append(event.data if isinstance(event, Switched) else event)
    return found


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
@pytest.mark.parametrize("rest", [b"", b"\x81\x05hello", b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" * 9])
def test_a_switch_that_was_asked_for_leads_to_another_protocol(size, rest):
    head, data = switched(SWITCH + rest, size)
    assert (head.status, head.headers.get("upgrade"), data) == (101, "websocket", rest)


def test_what_follows_a_switch_is_not_counted_against_the_bound_of_heads():
    rest = b"x" * 500
    head, data = switched(SWITCH + rest, 10_000, bound=len(SWITCH) + 10)
    assert (head.status, data) == (101, rest)


@pytest.mark.parametrize(
    ("wire", "upgrade"),
    [(SWITCH, False), (SWITCH.replace(b"Upgrade: websocket", b"X: y"), True)],
)
def test_a_switch_that_nobody_asked_for_or_that_names_nothing_breaks(wire, upgrade):
    assert isinstance(switched(wire, 10_000, upgrade=upgrade)[-1], Broken)


def test_an_offer_to_switch_may_be_passed_over():
    head, data, end = switched(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 10_000)
    assert (head.status, data, end) == (200, Data(b"hi"), End(keep_alive=True))


def test_what_a_switch_brought_is_not_shown():
    assert "secret" not in repr(Switched(b"secret"))


# ---------------------------------------------------------------- headers, line by line


def test_field_lines_are_told_one_by_one_in_lower_case():
    headers = Headers([(b"Set-Cookie", b"a=1"), (b"X", b" y "), (b"set-cookie", b"b=2")])
    assert list(headers.items()) == [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", "y")]
