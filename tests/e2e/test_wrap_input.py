"""What `mcpctl wrap` is sent and served that it should not be: it says so, and holds on to nothing."""

import contextlib
import random
import re
import socket
import sys

import pytest
import trio

from e2e import wrapped
from e2e.wrapped import Wrap, request
from harness import Home, wait_until

MiB = 1024 * 1024
TOKEN = "a-token-that-nobody-may-see"
SEED = 20260728
REQUESTS = 700

COMMON, RARE = (
    ("POST", "POST", "GET", "DELETE"),
    (*("PUT", "OPTIONS", "HEAD", "PATCH", "TRACE", "get", "M-SEARCH", "*", ""),),
)
PATHS = (
    *(
        "/",
        "/mcp",
        "/sse",
        "/message",
        "/message?sessionId=x",
        "/health",
        "/metrics",
        "//",
        "/../etc",
    ),
    *(
        "*",
        "/%00",
        "/%zz",
        "http://127.0.0.1/mcp",
        "/.well-known/oauth-protected-resource",
        "/\xff",
    ),
    "/" + "x" * 9000,
)
MILD = (
    *("Accept: */*", "Accept: text/html", "Accept: text/event-stream", f"Accept: {wrapped.BOTH}"),
    *(
        "Mcp-Session-Id: here.x.y",
        "Mcp-Session-Id: \xe9",
        "Mcp-Session-Id: a.b.c.d",
        "Mcp-Session-Id:",
    ),
    *(
        "MCP-Protocol-Version: 2026-07-28",
        "MCP-Protocol-Version: 2025-11-25",
        "MCP-Protocol-Version: x",
    ),
    *(
        "Mcp-Method: tools/list",
        "Mcp-Name: =?base64?!!?=",
        "Last-Event-ID: 0-1",
        "Last-Event-ID: 9-x",
    ),
    *("User-Agent: mcp-bridge-client", "Authorization: Basic !!", "Authorization: Bearer"),
    *("fly-replay-failed: x", "X-Forwarded-Host: ,,", "Content-Type: application/json; charset=x"),
)
HARSH = (
    *(
        "Origin: http://evil.example",
        "Origin: null",
        "Host: evil.example",
        "Accept: ;;q=,,",
        "Expect: x",
    ),
    *("Content-Encoding: gzip", "Upgrade: h2c", "Connection: close", "A b: c", "No colon"),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Content-Length: -1",
        "Content-Type: x",
    ),
)
BODIES = (
    *(
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"not json",
        b'{"jsonrpc":"2.0"',
        b"[" * 5000,
        b"5\r\nhello",
    ),
    *(b'{"jsonrpc":"2.0","id":{},"method":"x"}', b'{"jsonrpc":"2.0","id":1,"method":5}'),
    *(
        b'{"jsonrpc":"2.0","id":1,"method":"initialize"}',
        b'{"jsonrpc":"2.0","method":"initialize"}',
    ),
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":'
    b'"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}',
    b'{"jsonrpc":"2.0","id":"\\ud800","result":{}}',
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
    b'{"a":' * 2000,
)


@pytest.fixture
def wrap(home: Home) -> Wrap:
    return wrapped.start(home).wait_ready()


def nonsense(chance: random.Random) -> bytes:
    """A request that is wrong in some way, or in none."""
    body = chance.choice(BODIES)
    if chance.random() < 0.2:
        body = body[: chance.randrange(len(body) + 1)] + chance.randbytes(chance.randrange(20))
    fields = ["Host: localhost", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    fields = chance.sample(fields, 3 if chance.random() < 0.9 else 2)
    fields += chance.sample(MILD, chance.randrange(5))
    fields += chance.sample(HARSH, chance.choices((0, 1, 3), (8, 2, 1))[0])
    method = chance.choice(COMMON if chance.random() < 0.85 else RARE)
    version = chance.choices(("HTTP/1.1", "HTTP/1.0", "HTTP/9", "x"), (30, 2, 1, 1))[0]
    lines = [f"{method} {chance.choice(PATHS)} {version}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def status_of(wrap: Wrap, data: bytes) -> int:
    """The status that these bytes are answered with; 0 when nothing is."""
    with wrapped.connected(wrap) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        found = re.match(rb"HTTP/1\.[01] (\d{3})", sock.recv(4096))
        return int(found[1]) if found else 0
    return 0


def settle(wrap: Wrap) -> None:
    """Wait until no session needs a process; the warm one for modern clients may stay or go."""
    wait_until(lambda: wrap.descriptors() < 40, "the end of what was held", 30.0)


def test_whatever_is_sent_is_answered_and_nothing_stays(home: Home) -> None:
    wrap = wrapped.start(home, (), "--max-children", "4", "--idle-timeout", "0").wait_ready()
    chance = random.Random(SEED)
    for _ in range(50):
        status_of(wrap, nonsense(chance))
    before = wrap.memory()
    seen: dict[int, int] = {}
    for _ in range(REQUESTS):
        data = nonsense(chance)
        status = status_of(wrap, data)
        assert status < 500 or status in (501, 503, 505), data
        seen[status] = seen.get(status, 0) + 1
    assert wrap.is_ready()
    assert len(seen) > 8, seen  # it got past the parser
    assert wrap.figure("requests_total") >= 5
    assert wrap.memory() - before < 16 * MiB
    settle(wrap)
    assert not [line for line in wrap.log() if line["level"] == "error"]


async def test_slow_senders_and_a_thousand_idle_connections_keep_nobody_waiting(wrap: Wrap) -> None:
    session = await trio.to_thread.run_sync(wrap.begin)
    before = wrap.descriptors()
    slow = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    async with contextlib.AsyncExitStack() as stack:
        for number in range(1000):
            stream = await trio.open_tcp_stream("127.0.0.1", wrap.port)
            stack.push_async_callback(trio.aclose_forcefully, stream)
            if number % 10 == 0:
                await stream.send_all(slow[: number % len(slow)] or b"G")
        answer = await trio.to_thread.run_sync(wrap.post, request(1, "tools/list"), session)
        assert answer.json()["result"] == {}
        assert wrap.descriptors() - before > 900
    await trio.to_thread.run_sync(
        wait_until, lambda: wrap.descriptors() <= before + 2, "the end of the connections"
    )


@pytest.mark.slow
def test_a_sender_that_never_ends_its_head_is_cut_off(wrap: Wrap) -> None:
    with wrapped.connected(wrap, b"POST / HTTP/1.1\r\nHost: local") as sock:
        assert wrapped.read_until(sock, b"\r\n").startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_too_long_is_refused(wrap: Wrap) -> None:
    length = 65 * MiB
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Accept: {wrapped.BOTH}\r\n"
    )
    with wrapped.connected(wrap, f"{head}Content-Length: {length}\r\n\r\n".encode()) as sock:
        assert b" 413 " in wrapped.read_until(sock, b"\r\n")
    before = wrap.memory()
    with wrapped.connected(wrap, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()) as sock:
        with contextlib.suppress(ConnectionError):  # it may stop reading
            for _ in range(65):
                sock.sendall(b"100000\r\n" + b" " * MiB + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert b" 413 " in wrapped.read_until(sock, b"\r\n")
    assert wrap.is_ready()
    wait_until(lambda: wrap.memory() - before < 100 * MiB, "the memory of the body")


# ---------------------------------------------------------------- bad servers

GARBAGE = "import sys\nfor line in sys.stdin: print('\\x00 what? ' * 1000, flush=True)"
DEAF = "import time\nprint('hello', flush=True)\ntime.sleep(3600)"
BODY = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
INITIALIZE = (
    f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {wrapped.BOTH}\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY
BRIEF = "import sys; sys.exit('out of order')"


@pytest.mark.parametrize(
    ("source", "said"),
    [(GARBAGE, "server.garbage"), (DEAF, "server.garbage")],
    ids=["garbage", "deaf"],
)
def test_a_server_that_answers_nothing_is_seen_in_health_and_log(
    home: Home, source: str, said: str
) -> None:
    wrap = wrapped.start(home, (sys.executable, "-I", "-S", "-c", source), "--drain-timeout", "0.1")
    before = wrap.memory()
    health = wrap.ask("GET", "/health")
    assert health.status == 503
    assert health.json()["reason"] == "the server has not answered yet"
    with wrapped.connected(wrap, INITIALIZE):
        wait_until(lambda: [line for line in wrap.log() if line["event"] == said], said)
        assert wrap.ask("GET", "/health").status == 503
    assert wrap.memory() - before < 32 * MiB


def test_a_server_that_ends_at_once_makes_clear_errors(home: Home) -> None:
    wrap = wrapped.start(home, (sys.executable, "-I", "-S", "-c", BRIEF))
    with wrapped.connected(wrap, INITIALIZE) as sock:
        answer = wrapped.read_until(sock, b"}}}")
    assert b'"source":"mcpctl"' in answer
    assert b"out of order" in answer  # its last words
    wait_until(lambda: b"out of order" in wrap.ask("GET", "/health").body, "the reason in /health")
    wait_until(lambda: wrap.figure("children_failed_total") >= 2, "another try")


@pytest.mark.slow
def test_a_server_that_does_not_read_is_not_fed_for_ever(home: Home) -> None:
    source = (
        "import json, sys, time\n"
        "line = json.loads(sys.stdin.readline())\n"
        "while line['method'] != 'initialize': line = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': line['id'], 'result': {'capabilities': {},"
        " 'protocolVersion': '2025-11-25', 'serverInfo': {'name': 'x', 'version': '1'}}}), flush=True)\n"
        "time.sleep(3600)\n"
    )
    wrap = wrapped.start(home, (sys.executable, "-I", "-S", "-c", source), "--drain-timeout", "0.1")
    session = wrap.begin()
    before = wrap.memory()
    told = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"text": "x" * MiB}}
    statuses = [wrap.post(told, session).status for _ in range(40)]
    assert statuses[0] == 202
    assert statuses[-1] == 503
    assert wrap.memory() - before < 40 * MiB


# ---------------------------------------------------------------- secrets


def test_neither_the_server_nor_the_log_learns_the_credentials(home: Home) -> None:
    source = (
        "import os, sys\nfor line in sys.stdin: print(dict(os.environ), sys.argv, file=sys.stderr)"
    )
    command = (sys.executable, "-I", "-S", "-c", source)
    secrets = {
        "FLY_MCP_BEARER_TOKEN": TOKEN,
        "FLY_MCP_USER": "ada",
        "FLY_MCP_PASSWORD": "engine-1843",
    }
    wrap = wrapped.start(home, command, env=secrets | {"HARMLESS": "as-it-was", "COPY": TOKEN})
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    assert wrap.post(request(1, "ping")).status == 401
    assert wrap.ask("GET", "/metrics", headers=authorized).status == 200
    wait_until(lambda: b"as-it-was" in _out(home), "what the server sees")
    wrap.terminate()
    seen = _out(home)
    assert TOKEN.encode() not in seen
    assert b"engine-1843" not in seen


def _out(home: Home) -> bytes:
    return (home.path / "served.out").read_bytes()
