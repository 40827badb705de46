"""The dialect of `fly mcp wrap`, spoken to `mcpctl wrap` by Fly's guide, by `fly mcp proxy`, and by mcpctl."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from e2e import real, wrapped
from e2e.stage import Stage
from e2e.wrapped import Wrap
from harness import Home, unavailable, wait_until

# The last part of Fly's guide to the Machines API, to the letter but for the URL and the folder.
GUIDE = """
curl -N URL &
process_id=$!
sleep 1
curl -i -X POST -H "Content-Type: application/json" URL -d '
{"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"claude-ai","version":"0.1.0"}},"jsonrpc":"2.0","id":0}
{"jsonrpc":"2.0","method":"tools/list","id":1}
{"jsonrpc":"2.0","method":"tools/call","params":{"name":"list_directory","arguments":{"path":"/data"}},"id":2}
'
sleep 1
kill $process_id
"""
LAST = b'"id":2,"result":{}}\n'
"""The end of the parrot's last answer."""
LINES = GUIDE.partition("-d '\n")[2].partition("'\n")[0].encode()
PROXY = {
    "Content-Type": "application/json",
    "User-Agent": "mcp-bridge-client",
    "Accept": "application/json, text/event-stream",
}
"""What `fly mcp proxy` sends with a POST (flyctl 0.3, `passthru.go`)."""
LISTEN = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: mcp-bridge-client\r\nAccept: application/json\r\n\r\n"


@pytest.fixture
def wrap(home: Home) -> Wrap:
    return wrapped.start(home)


def post(body: bytes, *more: str) -> bytes:
    """A POST as curl sends it."""
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n"
    fields = "".join(f"{field}\r\n" for field in ("Content-Type: application/json", *more))
    return f"{head}{fields}\r\n".encode() + body


def answers(text: bytes) -> dict[Any, dict[str, Any]]:
    """The messages in it, by id."""
    found = [json.loads(line) for line in text.split(b"\n") if line.startswith(b"{")]
    return {message.get("id"): message for message in found}


def test_three_lines_in_one_post_are_answered_on_the_get(wrap: Wrap) -> None:
    with wrapped.connected(wrap, LISTEN) as listening, wrapped.connected(wrap) as posting:
        assert b" 200 " in wrapped.read_until(listening, b"\r\n\r\n")
        posting.sendall(post(LINES))
        assert b" 202 " in wrapped.read_until(posting, b"\r\n\r\n")
        said = wrapped.read_until(listening, LAST)
    assert set(answers(said)) == {0, 1, 2}
    assert answers(said)[0]["result"]["serverInfo"]["name"] == "parrot"


def test_what_is_answered_before_anybody_listens_is_kept(wrap: Wrap) -> None:
    with wrapped.connected(wrap, post(LINES)) as posting:
        assert b" 202 " in wrapped.read_until(posting, b"\r\n\r\n")
    heard = wrap.home.path / "parrot" / "heard"
    wait_until(lambda: heard.exists() and b"list_directory" in heard.read_bytes(), "a call")
    with wrapped.connected(wrap, LISTEN) as listening:
        said = wrapped.read_until(listening, LAST)
    assert set(answers(said)) == {0, 1, 2}


def test_the_ways_of_fly_mcp_proxy(wrap: Wrap) -> None:
    assert wrap.ask("POST", body=b"", headers=PROXY).status == 202  # is it awake?
    with wrapped.connected(wrap, LISTEN) as listening:
        assert b" 200 " in wrapped.read_until(listening, b"\r\n\r\n")
        second = wrap.ask("GET", headers={"Accept": "application/json"})
        assert (second.status, second.body) == (409, b"Another client is already connected\n")
        for line in LINES.splitlines():
            assert wrap.ask("POST", body=line + b"\n", headers=PROXY).status == 202
        said = wrapped.read_until(listening, LAST)
    assert set(answers(said)) == {0, 1, 2}
    wait_until(lambda: _may_listen(wrap), "the place that the first one has left")


def _may_listen(wrap: Wrap) -> bool:
    with wrapped.connected(wrap, LISTEN) as listening:
        return b" 200 " in wrapped.read_until(listening, b"\r\n\r\n")


def test_a_browser_gets_a_page_and_other_methods_are_refused(wrap: Wrap) -> None:
    page = wrap.ask("GET", headers={"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert page.status == 200
    assert b"MCP" in page.body
    assert wrap.ask("PUT").status == 405


def test_what_is_no_json_is_refused_and_hurts_nobody(wrap: Wrap) -> None:
    assert wrap.ask("POST", body=b"not json\n", headers=PROXY).status == 400
    with wrapped.connected(wrap, LISTEN) as listening:
        assert wrap.ask("POST", body=LINES, headers=PROXY).status == 202
        assert LAST in wrapped.read_until(listening, LAST)


@pytest.mark.slow
def test_the_script_of_the_guide_works_as_it_stands(home: Home) -> None:
    if shutil.which("curl") is None:
        unavailable("curl", "curl is not installed")
    folder = home.path / "data"
    folder.mkdir()
    (folder / "poem.txt").write_text("the sea\n")
    wrap = wrapped.start(home, (real.node(), str(real.FILESYSTEM), str(folder))).wait_ready()
    script = GUIDE.replace("URL", f"{wrap.base}/").replace("/data", str(folder))
    seen: dict[Any, dict[str, Any]] = {}
    for _ in range(8):  # "Simply run the script again if this happens"
        done = subprocess.run(
            ["sh", "-c", script], env=os.environ, capture_output=True, timeout=60, check=False
        )
        assert b" 202 " in done.stdout, done
        seen = answers(done.stdout)
        if set(seen) == {0, 1, 2}:
            break
    assert set(seen) == {0, 1, 2}
    assert "[FILE] poem.txt" in seen[2]["result"]["content"][0]["text"]


async def test_the_transport_fly_wrap_of_mcpctl_speaks_it(stage: Stage) -> None:
    wrap = wrapped.start(stage.home)
    stage.remote(f"{wrap.base}/", transport="fly-wrap")
    async with stage.session("remote") as one, stage.session("remote") as two:
        first = await one.ask(1, "test/pid")
        assert first["result"] == (await two.ask(1, "test/pid"))["result"]  # they share it
        assert await one.finish() == 0
        assert (await two.ask(2, "tools/list"))["result"] == {}
        assert await two.finish() == 0
    ways = wrap.ask("GET", "/metrics").body.decode()
    assert 'requests_total{way="fly-wrap"}' in ways
    assert 'requests_total{way="streamable-http"}' not in ways
