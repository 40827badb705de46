"""`mcpctld.protocols.http1_head`: heads are taken as every program on the way would take them, or not at all."""

import pytest

from mcpctld.protocols.http1_head import Bounds, Broken, Head, parse_head

BOUNDS = Bounds(head=1000, target=40, fields=5, body=100)


def head(
    *lines: bytes, start: bytes = b"POST /mcp?a=b HTTP/1.1", host: bytes = b"Host: h"
) -> bytes:
    first = [start, host] if host else [start]
    return b"\r\n".join([*first, *lines, b"", b""])


def parse(data: bytes) -> Head | Broken:
    return parse_head(data, BOUNDS)


def test_a_head_is_told_as_it_came():
    found = parse(head(b"X-A: 1", b"x-a:  2 ", b"Content-Length: 7"))
    assert isinstance(found, Head)
    assert (found.method, found.target, found.minor) == ("POST", "/mcp?a=b", 1)
    assert found.headers.get("X-A") == "1, 2"
    assert (found.content_length, found.chunked) == (7, False)
    assert (found.keep_alive, found.expects_continue) == (True, False)


def test_a_head_does_not_show_what_may_be_secret():
    found = parse(head(b"Authorization: hush", start=b"GET /a?token=hush HTTP/1.1"))
    assert repr(found) == "<Head GET /a <Headers host authorization>>"


V0 = b"POST / HTTP/1.0"


@pytest.mark.parametrize(
    ("data", "keep_alive"),
    [
        (head(), True),
        (head(b"Connection: close"), False),
        (head(b"Connection: foo , CLOSE"), False),
        (head(b"Connection: closed"), True),
        (head(b"Connection: a", b"Connection: close"), False),
        (head(start=V0), False),
        (head(start=V0, host=b""), False),
        (head(b"Connection: Keep-Alive", start=V0), True),
        (head(b"Connection: keep-alive, close", start=V0), False),
        (head(b"Connection: upgrade", b"Upgrade: h2c"), True),
        (head(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 3"), True),
    ],
)
def test_it_says_whether_the_connection_is_kept(data, keep_alive):
    found = parse(data)
    assert isinstance(found, Head)
    assert found.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        ([], None, False),
        ([b"Content-Length: 0"], 0, False),
        ([b"Content-Length: 0100 "], 100, False),
        ([b"Transfer-Encoding: chunked"], None, True),
        ([b"transfer-encoding:  Chunked "], None, True),
    ],
)
def test_it_says_what_body_follows(lines, length, chunked):
    found = parse(head(*lines))
    assert isinstance(found, Head)
    assert (found.content_length, found.chunked) == (length, chunked)


@pytest.mark.parametrize(
    ("data", "expects"),
    [
        (head(b"Expect: 100-continue", b"Content-Length: 2"), True),
        (head(b"Expect: 100-Continue", b"Transfer-Encoding: chunked"), True),
        (head(b"Expect: 100-continue"), False),
        (head(b"Expect: 100-continue", b"Content-Length: 0"), False),
        (head(b"Expect: 100-continue", b"Content-Length: 2", start=V0), False),
        (head(b"Expect: more", b"Content-Length: 2"), False),
    ],
)
def test_it_says_whether_the_client_waits_to_be_asked_for_the_body(data, expects):
    found = parse(data)
    assert isinstance(found, Head)
    assert found.expects_continue is expects


@pytest.mark.parametrize(
    ("start", "target"),
    [
        (b"GET / HTTP/1.1", "/"),
        (b"GET //h/a?b?c HTTP/1.1", "//h/a?b?c"),
        (b"GET http://h/a?b HTTP/1.1", "/a?b"),
        (b"GET HTTPS://H HTTP/1.1", "/"),
        (b"GET http://h?b HTTP/1.1", "/?b"),
        (b"OPTIONS * HTTP/1.1", "*"),
        (b"QUERY / HTTP/1.1", "/"),
    ],
)
def test_a_target_is_told_as_path_and_query(start, target):
    found = parse(head(start=start))
    assert isinstance(found, Head)
    assert found.target == target


def test_a_url_without_a_host_field_is_taken_from_http_1_0():
    found = parse(head(start=b"GET http://h/a HTTP/1.0", host=b""))
    assert isinstance(found, Head)
    assert found.target == "/a"


REFUSED = {
    # what a body is, told in two ways
    "length and coding": (400, head(b"Content-Length: 1", b"Transfer-Encoding: chunked")),
    "coding and length": (400, head(b"Transfer-Encoding: chunked", b"Content-Length: 1")),
    "differing lengths": (400, head(b"Content-Length: 1", b"Content-Length: 2")),
    "equal lengths": (400, head(b"Content-Length: 1", b"Content-Length: 1")),
    "list of lengths": (400, head(b"Content-Length: 1, 1")),
    "signed length": (400, head(b"Content-Length: +1")),
    "negative length": (400, head(b"Content-Length: -1")),
    "hexadecimal length": (400, head(b"Content-Length: 0x1")),
    "broken length": (400, head(b"Content-Length: 1 1")),
    "no length": (400, head(b"Content-Length:")),
    "length past 64 bits": (400, head(b"Content-Length: 99999999999999999999999")),
    "length near 64 bits": (400, head(b"Content-Length: 9999999999999999999")),
    "other coding": (400, head(b"Transfer-Encoding: gzip")),
    "other coding before": (400, head(b"Transfer-Encoding: gzip, chunked")),
    "other coding after": (400, head(b"Transfer-Encoding: chunked, gzip")),
    "identity": (400, head(b"Transfer-Encoding: identity")),
    "coding twice": (400, head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "coding in a list twice": (400, head(b"Transfer-Encoding: chunked, chunked")),
    "coding with a vertical tab": (400, head(b"Transfer-Encoding: \x0bchunked")),
    "quoted coding": (400, head(b'Transfer-Encoding: "chunked"')),
    "no coding": (400, head(b"Transfer-Encoding:")),
    "coding in HTTP/1.0": (400, head(b"Transfer-Encoding: chunked", start=V0)),
    # fields
    "folded line": (400, head(b"A: b\r\n c")),
    "folded first line": (400, head(host=b" Host: h")),
    "space before the colon": (400, head(b"Content-Length : 1")),
    "tab before the colon": (400, head(b"Content-Length\t: 1")),
    "no name": (400, head(b": b")),
    "no colon": (400, head(b"A")),
    "NUL in a name": (400, head(b"A\0: b")),
    "NUL in a value": (400, head(b"A: b\0")),
    "DEL in a value": (400, head(b"A: b\x7f")),
    "escape in a value": (400, head(b"A: \x1b")),
    "letter outside ASCII in a name": (400, head(b"\xc4: b")),
    "bare LF": (400, head(b"A: b\nC: d")),
    "bare CR": (400, head(b"A: b\rC: d")),
    "bare LF after the start": (400, b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    "too many": (431, head(*[b"A: b"] * 5)),
    # hosts and targets
    "no Host": (400, head(host=b"")),
    "two Hosts": (400, head(b"Host: h")),
    "two Hosts in HTTP/1.0": (400, head(b"Host: h", start=V0)),
    "list of Hosts": (400, head(host=b"Host: h, i")),
    "Host with a user": (400, head(host=b"Host: u@h")),
    "Host with a path": (400, head(host=b"Host: h/a")),
    "other host": (400, head(start=b"GET http://i/ HTTP/1.1")),
    "other port": (400, head(start=b"GET http://h:80/ HTTP/1.1")),
    "user before the host": (400, head(start=b"GET http://u@h/ HTTP/1.1")),
    "no host in the URL": (400, head(start=b"GET http:/// HTTP/1.1")),
    "other scheme": (400, head(start=b"GET ftp://h/ HTTP/1.1")),
    "star for what is not OPTIONS": (400, head(start=b"GET * HTTP/1.1")),
    "no path": (400, head(start=b"GET mcp HTTP/1.1")),
    "fragment": (400, head(start=b"GET /a#b HTTP/1.1")),
    "target outside ASCII": (400, head(start=b"GET /\xc3\xa9 HTTP/1.1")),
    "long target": (414, head(start=b"GET /" + b"a" * 40 + b" HTTP/1.1")),
    # the request line
    "two spaces": (400, head(start=b"GET  / HTTP/1.1")),
    "tab": (400, head(start=b"GET\t/ HTTP/1.1")),
    "space at the end": (400, head(start=b"GET / HTTP/1.1 ")),
    "space at the start": (400, head(start=b" GET / HTTP/1.1")),
    "HTTP/0.9": (400, head(start=b"GET /")),
    "HTTP/0.9 by name": (505, head(start=b"GET / HTTP/0.9")),
    "HTTP/1.2": (505, head(start=b"GET / HTTP/1.2")),
    "HTTP/2.0": (505, head(start=b"GET / HTTP/2.0")),
    "HTTP/11": (400, head(start=b"GET / HTTP/11")),
    "http/1.1": (400, head(start=b"GET / http/1.1")),
    "RTSP": (400, head(start=b"GET / RTSP/1.0")),
    "unknown method": (501, head(start=b"BREW / HTTP/1.1")),
    "method in lower case": (501, head(start=b"get / HTTP/1.1")),
    "CONNECT": (501, head(start=b"CONNECT h HTTP/1.1")),
    "no method": (400, head(start=b"/ HTTP/1.1")),
    # size
    "long body": (413, head(b"Content-Length: 101")),
}  # fmt: skip


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_what_could_be_read_in_two_ways_or_is_too_much_is_refused(status, data):
    found = parse(data)
    assert isinstance(found, Broken), found
    assert found.status == status
    assert found.reason
