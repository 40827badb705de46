"""The life of a `mcpctl wrap`: what it needs, what it leaves, what it says."""

import os
import signal
import sys

import httpx
import pytest
import trio

from e2e import wrapped
from e2e.rawclient import LATEST
from e2e.wrapped import BOTH, Wrap, request
from harness import Home, wait_until

MiB = 1024 * 1024
MOST_MEMORY = 90 * MiB
"""It is to live on 256 MB beside its server; about a third of this was seen."""
FAMILY = (
    "import os, subprocess, sys\n"
    "subprocess.Popen(['sleep', '600'])\n"
    "print('a word of', 'warning', file=sys.stderr, flush=True)\n"
    f"os.execv(sys.executable, [sys.executable, *{list(wrapped.PARROT[1:])!r}, sys.argv[1]])\n"
)


@pytest.fixture
def wrap(home: Home) -> Wrap:
    *_, folder = wrapped.parrot(home)
    command = (sys.executable, "-I", "-S", "-c", FAMILY, folder)
    return wrapped.start(home, command, "--spare", "0")  # nothing begins behind the test's back


def pids(home: Home) -> list[int]:
    """The processes of this home that are not the test's own."""
    return [process.pid for process in home.processes()]


def test_one_session_needs_little_memory(wrap: Wrap) -> None:
    session = wrap.wait_ready().begin()
    assert wrap.post(request(1, "tools/list"), session).json()["result"] == {}
    assert wrap.memory() < MOST_MEMORY


def test_what_the_server_says_on_the_side_is_logged_with_the_session_s_name(wrap: Wrap) -> None:
    session = wrap.begin()

    def said() -> list[str]:
        lines = [line for line in wrap.log() if line.get("line") == "a word of warning"]
        return [line["session"] for line in lines]

    wait_until(lambda: any(name in session for name in said()), "the words in the log")
    assert (
        session not in (wrap.home.path / "served.out").read_text()
    )  # who reads it must not use it


def test_whole_process_groups_end_with_their_session(wrap: Wrap) -> None:
    session = wrap.wait_ready().begin()
    asked = wrap.post(request(1, "test/grandchild"), session).json()
    child = asked["result"]["pid"]
    wait_until(
        lambda: child in pids(wrap.home), "the server's own child"
    )  # it may not be itself yet
    assert wrap.ask("DELETE", headers={"Mcp-Session-Id": session}).status == 204
    assert wrap.post(request(2, "test/pid"), session).status == 404
    wait_until(lambda: child not in pids(wrap.home), "the end of the server's own child")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(wrap: Wrap, how: signal.Signals) -> None:
    wrap.wait_ready().begin()
    os.kill(wrap.pid, how)
    code = wrap.served.process.wait(15)
    assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    wait_until(lambda: not pids(wrap.home), "the end of its processes")


def test_a_call_under_way_is_answered_before_the_end(home: Home) -> None:
    wrap = wrapped.start(home)
    session = wrap.begin()
    body = b'{"jsonrpc":"2.0","id":7,"method":"test/slow","params":{"seconds":0.5}}'
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Accept: {BOTH}\r\nMcp-Session-Id: {session}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with wrapped.connected(wrap, head.encode() + body) as sock:
        heard = home.path / "parrot" / "heard"
        wait_until(lambda: b"test/slow" in heard.read_bytes(), "the call")
        os.kill(wrap.pid, signal.SIGTERM)
        assert b'"id":7,"result":{' in wrapped.read_until(sock, b'"seconds"')
    assert wrap.served.process.wait(15) == 0


@pytest.mark.slow
def test_past_the_bound_on_processes_clients_are_told_to_come_back(home: Home) -> None:
    wrap = wrapped.start(home, (), "--max-children", "1").wait_ready()
    first = wrap.begin()
    params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {}}
    refused = wrap.post(request(0, "initialize", **params))
    assert refused.json()["error"]["message"].startswith("mcpctl: all 1 processes")
    assert wrap.post(request(1, "tools/list"), first).status == 200


async def test_http2_with_prior_knowledge_is_served(home: Home) -> None:
    wrap = wrapped.start(home)
    async with httpx.AsyncClient(http1=False, http2=True, base_url=wrap.base, timeout=30) as client:
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {}}
        fields = {"Accept": BOTH}
        made = await client.post("/", json=request(0, "initialize", **params), headers=fields)
        assert (made.status_code, made.http_version) == (200, "HTTP/2")
        fields["Mcp-Session-Id"] = made.headers["mcp-session-id"]
        answers = []

        async def call(number: int) -> None:
            answer = await client.post("/", json=request(number, "tools/list"), headers=fields)
            answers.append(answer.json()["id"])

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(call, number)
        assert sorted(answers) == list(range(20))
