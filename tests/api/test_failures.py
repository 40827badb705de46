"""What goes wrong is said in one form, and what a browser sends is not answered at all."""

import json

import httpx
import pytest
import trio

from mcpctl import wire
from mcpctld.api.app import BODY_TIMEOUT_S, MAX_BODY

SECRET = "/v1/secrets/time/TOKEN"


async def test_an_unknown_path_is_named(api):
    answer = await api.http.get("/v1/statsu")
    error = answer.json()["error"]
    assert (answer.status_code, error["kind"]) == (404, "not-found")
    assert "cannot find the path /v1/statsu; did you mean /v1/status" in error["message"]
    assert error["details"]["path"] == "/v1/statsu"


@pytest.mark.parametrize("path", ["/v1/status/", "/v1//status", "/v1", "/", "/v1/../metrics"])
async def test_nearly_a_path_is_not_found_and_not_redirected(api, tools, path):
    stream = await api.send(f"GET {path}", "Connection: close\r\n")
    answer = await tools.to_end(stream)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b'"kind":"not-found"' in answer


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/status", "GET, HEAD"),
        ("OPTIONS", "/v1/status", "GET, HEAD"),
        ("GET", "/v1/reload", "POST"),
        ("GET", SECRET, "DELETE, PUT"),
        ("BREW", "/v1/sessions/s1", "DELETE"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api, method, path, allowed):
    answer = await api.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert allowed in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"nonsense", "malformed"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"{}", "missing required field `value`"),
        (b'{"value": 1}', "Expected `str`, got `int` - at `$.value`"),
        (b'{"value": "\xff"}', "UTF-8"),
    ],
)
async def test_a_body_that_does_not_fit_is_explained(api, engine, body, words):
    answer = await api.http.put(SECRET, content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["kind"]) == (400, "bad-request")
    assert words.lower() in error["message"].lower()
    assert engine.secrets == {}


async def test_fields_that_are_not_known_yet_are_let_pass(api, engine):
    answer = await api.http.put(SECRET, json={"value": "v", "from_the_future": True})
    assert answer.status_code == 200


async def test_a_bug_is_answered_in_brief_and_logged_in_full(api, engine, caplog):
    engine.bug = RuntimeError("the very inside")
    answer = await api.http.get("/v1/status")
    error = answer.json()["error"]
    assert (answer.status_code, error["kind"]) == (500, "internal")
    assert "inside" not in answer.text
    assert "the very inside" in caplog.text
    engine.bug = None
    assert (await api.http.get("/v1/status")).status_code == 200


async def test_nothing_is_written_to_stdout_or_stderr(api, engine, capfd):
    engine.bug = RuntimeError("a bug")
    await api.http.get("/v1/status")
    await api.http.get("/nowhere")
    stream = await api.connect()
    await stream.send_all(b"not http at all\r\n\r\n")
    await stream.aclose()
    await api.stop()
    assert capfd.readouterr() == ("", "")


async def test_a_body_announced_too_long_is_refused_before_it_is_read(api, tools):
    for request in (f"PUT {SECRET}", "POST /v1/reload"):
        stream = await api.send(request, f"Content-Length: {MAX_BODY + 1}\r\n")
        with trio.fail_after(tools.bound_s):
            answer = await tools.to_end(stream)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"longer than 1048576 bytes" in answer


async def test_a_body_that_grows_too_long_is_refused(api, engine):
    async def pieces():
        for _ in range(MAX_BODY // 4096 + 1):
            yield b" " * 4096

    answer = await api.http.put(SECRET, content=pieces())
    assert answer.status_code == 413
    assert (await api.http.get("/v1/health")).status_code == 200


async def test_the_largest_body_is_taken(api, engine):
    value = "v" * (MAX_BODY - len('{"value":""}'))
    answer = await api.http.put(SECRET, content=json.dumps({"value": value}, separators=(",", ":")))
    assert answer.status_code == 200
    assert engine.secrets["time"]["TOKEN"] == value


async def test_broken_http_is_refused_with_our_version_and_the_daemon_lives_on(api, tools):
    stream = await api.connect()
    await stream.send_all(b"\x16\x03\x01 hello\r\n\r\n")
    with trio.fail_after(tools.bound_s):
        answer = await tools.to_end(stream)
    assert answer.startswith(b"HTTP/1.1 400")
    assert wire.VERSION_HEADER.encode() in answer
    assert (await api.http.get("/v1/health")).status_code == 200


@pytest.mark.parametrize("target", ["?query", "*", "http://localhost/v1/nowhere", "/%ff"])
async def test_an_odd_request_target_is_not_found(api, tools, target):
    stream = await api.send(f"GET {target}", "Connection: close\r\n")
    with trio.fail_after(tools.bound_s):
        answer = await tools.to_end(stream)
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "http://localhost"},
        {"Origin": "null"},
        {"Referer": "http://localhost/"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost:8080"},
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1"},
        {"Host": ""},
        {"Host": "local host"},
        {"Host": "localhost/@evil"},
        {"Host": "[::1"},
    ],
    ids=str,
)
async def test_a_browser_is_refused_on_every_path(api, engine, header):
    for method, path in (("POST", "/v1/shutdown"), ("GET", "/v1/status"), ("GET", "/nowhere")):
        answer = await api.http.request(method, path, headers=header)
        assert answer.status_code == 403
        assert answer.json()["error"]["kind"] == "denied"
    assert not engine.draining


@pytest.mark.parametrize("host", ["localhost", "mcpctld", "LocalHost"])
async def test_our_own_names_for_the_daemon_are_served(api, host):
    assert (await api.http.get("/v1/health", headers={"Host": host})).status_code == 200


async def test_a_request_without_a_host_is_refused(api, tools):
    stream = await api.connect()
    await stream.send_all(b"GET /v1/status HTTP/1.0\r\n\r\n")
    with trio.fail_after(tools.bound_s):
        assert (await tools.to_end(stream)).startswith(b"HTTP/1.1 403")


async def test_a_body_that_does_not_come_is_not_waited_for(api, tools, autojump_clock):
    stream = await api.send(f"PUT {SECRET}", "Content-Length: 10\r\n", b'{"val')
    begin = trio.current_time()
    with trio.fail_after(2 * BODY_TIMEOUT_S):
        answer = await tools.to_end(stream)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"kind":"timeout"' in answer
    assert trio.current_time() - begin == BODY_TIMEOUT_S


async def test_http_2_is_guarded_like_http_1(api):
    """hypercorn speaks it unasked, so what holds for the one must hold for the other."""
    transport = httpx.AsyncHTTPTransport(uds=api.path, http1=False, http2=True)
    async with httpx.AsyncClient(transport=transport) as http:
        for host, status in (("localhost", 200), ("rebound.example", 403)):
            answer = await http.get(f"http://{host}/v1/health")
            assert (answer.http_version, answer.status_code) == ("HTTP/2", status)


async def test_a_websocket_is_not_opened(api, tools):
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    stream = await api.send("GET /v1/events", upgrade)
    with trio.fail_after(tools.bound_s):
        answer = await tools.to_end(stream)
    assert not answer.startswith(b"HTTP/1.1 101")
    assert (await api.http.get("/v1/health")).status_code == 200
