"""`mcpctld.localfly.edge.headers`: what goes through, what is added, what is taken away."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.headers import (
    Visit,
    encode_answer,
    encode_request,
    frame,
    wants_upgrade,
)
from mcpctld.localfly.edge.replay import Transform
from mcpctld.localfly.edge.settings import Service
from mcpctld.protocols import http1
from mcpctld.protocols.http1_head import Bounds, Head, parse_head

VISIT = Visit("01ABC-iad", "203.0.113.1", "iad", private=False)
SERVICE = Service(8080, 443)


def request(*lines: str, line: str = "POST /mcp?x HTTP/1.1") -> Head:
    head = parse_head(
        "\r\n".join([line, "Host: a", *lines]).encode("latin-1") + b"\r\n\r\n", Bounds()
    )
    assert isinstance(head, Head)
    return head


def sent(head: Head, *more: tuple[str, str], transform: Transform | None = None) -> Head:
    """The request as the machine reads it."""
    data = encode_request(head, VISIT, SERVICE, transform or Transform(), more)
    read = parse_head(data, Bounds())
    assert isinstance(read, Head)
    return read


def answer(*pairs: tuple[str, str], status: int = 200) -> http1.Head:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    return http1.Head(status, "Well", http1.Headers(fields))


def got(
    told: http1.Head,
    head: Head | None = None,
    service: Service = SERVICE,
    *,
    keep_alive: bool = True,
):
    """The answer's head as the client reads it."""
    head = head or request(line="GET / HTTP/1.1")
    framing = frame(head, told)
    data = encode_answer(head, told, framing, VISIT, service, keep_alive=keep_alive)
    reader = http1.ResponseReader()
    reader.expect(head.method, upgrade=True)
    reader.receive_data(data)
    read = reader.next_event()
    assert isinstance(read, http1.Head)
    return read


def test_a_request_is_told_where_it_comes_from():
    headers = sent(request()).headers
    assert dict(headers.items()) == {
        "host": "a",
        "fly-client-ip": "203.0.113.1",
        "fly-forwarded-port": "443",
        "fly-region": "iad",
        "fly-request-id": "01ABC-iad",
        "x-forwarded-for": "203.0.113.1",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "443",
        "x-forwarded-ssl": "on",
        "via": "1.1 fly.io",
        "connection": "close",
    }


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close, X-Own", "Keep-Alive: 5", "Trailer: X-Sum",
        "Proxy-Authorization: x", "Fly-Client-IP: 1.1.1.1",
        "fly-replay-src: x", "Fly-Replay-Failed: x", "Expect: 100-continue", "X-Forwarded-Proto: http",
        "Fly-Request-Id: mine",
    ],
)  # fmt: skip
def test_what_must_not_go_on_does_not(line):
    name, _, value = line.partition(": ")
    headers = sent(request(line, "X-Own: y")).headers
    assert value not in headers.get_all(name.lower())
    assert (headers.get("x-own") is None) is ("X-Own" in line)


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer t",
        "Cookie: a=b",
        "Fly-Force-Instance-Id: m1",
        "Content-Type: x",
        "X: \xe9",
    ],
)
def test_the_rest_goes_through(line):
    name, _, value = line.partition(": ")
    assert sent(request(line)).headers.get_all(name.lower()) == [value]


def test_what_others_have_added_is_continued():
    headers = sent(request("X-Forwarded-For: 1.2.3.4", "Via: 1.1 mine")).headers
    assert headers.get_all("x-forwarded-for") == ["1.2.3.4, 203.0.113.1"]
    assert headers.get_all("via") == ["1.1 mine, 1.1 fly.io"]


@pytest.mark.parametrize(
    ("line", "length", "chunked"),
    [
        ("Content-Length: 5", 5, False),
        ("Transfer-Encoding: chunked", None, True),
        ("X: y", None, False),
    ],
)
def test_the_end_of_a_body_is_told_as_it_was(line, length, chunked):
    head = sent(request(line))
    assert (head.content_length, head.chunked) == (length, chunked)


def test_a_transform_changes_the_request():
    transform = Transform("/new", frozenset({"x-gone"}), (("X-Set", "2"),))
    head = sent(request("X-Gone: 1", "X-Set: 1", "X-Kept: 1"), ("a", "b"), transform=transform)
    assert (head.method, head.target) == ("POST", "/new")
    assert head.headers.get_all("x-set") == ["2"]
    assert head.headers.get("x-gone") is None
    assert (head.headers.get("x-kept"), head.headers.get("a")) == ("1", "b")


@pytest.mark.parametrize(
    ("lines", "line", "expected"),
    [
        (("Connection: Upgrade", "Upgrade: websocket"), "GET / HTTP/1.1", True),
        (("Connection: keep-alive, upgrade", "Upgrade: x"), "GET / HTTP/1.1", True),
        (("Upgrade: websocket",), "GET / HTTP/1.1", False),
        (("Connection: Upgrade",), "GET / HTTP/1.1", False),
        (("Connection: Upgrade", "Upgrade: websocket"), "GET / HTTP/1.0", False),
    ],
)
def test_an_offer_to_switch_is_seen_and_passed_on(lines, line, expected):
    head = request(*lines, line=line)
    assert wants_upgrade(head) is expected
    passed = sent(head).headers
    assert (passed.get("upgrade") is not None) is expected
    assert passed.get("connection") == ("upgrade" if expected else "close")


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("pairs", "line", "status", "chunked", "length", "by_close"),
    [
        ([("Content-Length", "5")], "GET / HTTP/1.1", 200, False, 5, False),
        ([], "GET / HTTP/1.1", 200, True, None, False),
        ([("Transfer-Encoding", "chunked")], "GET / HTTP/1.1", 200, True, None, False),
        ([], "GET / HTTP/1.0", 200, False, None, True),
        ([], "GET / HTTP/1.1", 204, False, None, False),
        ([("Content-Length", "5")], "HEAD / HTTP/1.1", 200, False, 5, False),
        ([], "HEAD / HTTP/1.1", 200, False, None, False),
    ],
)
def test_the_end_of_an_answer_is_told_as_the_client_can_tell(
    pairs, line, status, chunked, length, by_close
):
    head = request(line=line)
    told = answer(*pairs, status=status)
    framing = frame(head, told)
    assert (framing.chunked, framing.length, framing.by_close) == (chunked, length, by_close)
    read = got(told, head)
    assert read.headers.get("transfer-encoding") == ("chunked" if chunked else None)
    assert read.headers.get("content-length") == (None if length is None else str(length))


def test_an_answer_is_ours_but_for_the_machine_s_own():
    pairs = (
        ("Server", "uvicorn"), ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("fly-replay-cache", "/"),
        ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Keep-Alive", "timeout=5"), ("Via", "1.1 mine"),
    )  # fmt: skip
    read = got(answer(*pairs))
    assert sorted(read.headers.items()) == [
        ("fly-request-id", "01ABC-iad"),
        ("server", "Fly/localfly"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("transfer-encoding", "chunked"),
        ("via", "1.1 mine, 1.1 fly.io"),
    ]
    assert (read.status, read.reason) == (200, "Well")


@pytest.mark.parametrize(
    ("line", "keep_alive", "expected"),
    [
        ("GET / HTTP/1.1", True, None),
        ("GET / HTTP/1.1", False, "close"),
        ("GET / HTTP/1.0", True, "keep-alive"),
    ],
)
def test_whether_the_connection_is_kept_is_told(line, keep_alive, expected):
    told = answer(("Content-Length", "0"))
    assert (
        got(told, request(line=line), keep_alive=keep_alive).headers.get("connection") == expected
    )


def test_a_switch_is_told_as_it_was():
    told = answer(("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-X", "1"), status=101)
    read = got(told)
    assert read.status == 101
    assert (read.headers.get("upgrade"), read.headers.get("sec-x")) == ("websocket", "1")
    assert read.headers.get("transfer-encoding") is None


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
        max_size=6,
    )
)
@settings(deadline=None, derandomize=True, max_examples=80)  # fmt: skip
def test_any_request_that_is_one_stays_one(fields):
    lines = [f"{name}: {value}" for name, value in fields.items()]
    data = "\r\n".join(["POST / HTTP/1.1", "Host: a", *lines]).encode() + b"\r\n\r\n"
    head = parse_head(data, Bounds())
    if isinstance(head, Head):
        passed = sent(head)
        assert (passed.method, passed.chunked) == (head.method, head.chunked)
        assert passed.content_length == head.content_length
