"""Answers over HTTP: what stands around MCP, and what is not MCP at all."""

import gzip
import json
from typing import Any

import pytest
import trio

from e2e.rawclient import RawClient
from e2e.stage import Stage, error_of
from fixtures import scripted
from fixtures.scripted import JSON, Exchange, Upstream

HTML = ("Content-Type", "text/html; charset=utf-8")
PAGE = b"<!doctype html><title>Welcome to our load balancer</title>"


# ---------------------------------------------------------------- HTTP around it


async def test_cookies_stick_to_the_session_and_to_nobody_else(
    stage: Stage, upstream: Upstream
) -> None:
    numbers = iter("ab")

    @upstream.on("initialize")
    async def balanced(exchange: Exchange) -> None:
        cookie = ("Set-Cookie", f"machine={next(numbers)}; Path=/; HttpOnly")
        await exchange.reply(scripted.initialized(exchange), cookie)

    stage.remote(upstream)
    for letter in "ab":
        async with stage.session("remote") as client:
            await client.call(1, "echo")
        assert upstream.calls("initialize")[-1].headers.get("cookie") is None
        assert upstream.calls("tools/call")[-1].headers["cookie"] == f"machine={letter}"


async def test_compressed_answers_are_understood(stage: Stage, upstream: Upstream) -> None:
    @upstream.on("tools/call")
    async def compressed(exchange: Exchange) -> None:
        body = {"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"text": "x" * 100_000}}
        packed = gzip.compress(json.dumps(body).encode())
        await exchange.answer(200, packed, JSON, ("Content-Encoding", "gzip"))

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert (await client.call(1, "x"))["result"]["text"] == "x" * 100_000


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_within_the_server_is_followed(
    stage: Stage, upstream: Upstream, status: int
) -> None:
    @upstream.on("POST")
    async def moved(exchange: Exchange) -> None:
        if exchange.target == "/mcp":
            await exchange.answer(status, b"", ("Location", "/v2/mcp"))
        else:
            await scripted.well_behaved(exchange)

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert "result" in await client.call(1, "echo")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_somebody_else_is_not_followed(
    stage: Stage, upstream: Upstream, status: int
) -> None:
    async with scripted.serve() as stranger:

        @upstream.on("tools/call")
        async def away(exchange: Exchange) -> None:
            await exchange.answer(status, b"", ("Location", stranger.url))

        stage.remote(upstream, headers={"Authorization": "Bearer not-yours"})
        async with stage.session("remote") as client:
            error = error_of(await client.call(1, "x"))
        assert stranger.url in error["message"]
        assert stranger.accepted == 0


# ---------------------------------------------------------------- answers that are none

REFUSALS = [
    pytest.param(200, PAGE, (HTML,), "peer", "web page", id="200 web page"),
    pytest.param(404, PAGE, (HTML,), "not-found", "404", id="404 web page"),
    pytest.param(405, b"", (), "not-found", "405", id="405"),
    pytest.param(400, b"what?", (("Content-Type", "text/plain"),), "peer", "what?", id="400"),
    pytest.param(401, b"", (), "denied", "credentials", id="401"),
    pytest.param(403, b"", (), "denied", "403", id="403"),
    pytest.param(409, b"", (), "conflict", "409", id="409"),
    pytest.param(500, b"", (), "unreachable", "500", id="500"),
    pytest.param(502, PAGE, (HTML,), "unreachable", "502", id="502 web page"),
    pytest.param(200, b"{", (JSON,), "peer", "JSON", id="half of a JSON object"),
    pytest.param(200, b"", (JSON,), "peer", "", id="nothing"),
    pytest.param(204, b"", (), "peer", "204", id="204"),
    pytest.param(200, b'{"jsonrpc":"2.0","id":99,"result":{}}', (JSON,), "peer", "", id="other id"),
    pytest.param(
        200, b"\x1f\x8bno", (JSON, ("Content-Encoding", "gzip")), "peer", "", id="no gzip"
    ),
    pytest.param(200, b"..", (JSON, ("Content-Encoding", "br")), "peer", "br", id="not asked for"),
]


@pytest.mark.parametrize("during", ["initialize", "tools/call"])
@pytest.mark.parametrize(("status", "body", "headers", "kind", "words"), REFUSALS)
async def test_an_answer_that_is_none_is_explained(
    stage: Stage,
    upstream: Upstream,
    during: str,
    status: int,
    body: bytes,
    headers: tuple[tuple[str, str], ...],
    kind: str,
    words: str,
) -> None:
    @upstream.on(during)
    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(status, body, *headers)

    stage.remote(upstream)
    async with stage.attached("remote") as client:
        answer = await client.initialize()
        if during == "tools/call":
            answer = await client.call(1, "x")
        error = error_of(answer)
        assert error["data"]["kind"] == kind
        assert words in error["message"]
        await session_goes_on(client, upstream, during)


async def session_goes_on(client: RawClient, upstream: Upstream, during: str) -> None:
    """One bad answer is the end of one call, not of the session."""
    del upstream.handlers[during]
    assert "result" in await client.initialize()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", "peer", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "unreachable", id="cut"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "peer", id="bad chunk"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "peer", id="endless head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "peer",
            id="two lengths",
        ),
    ],
)
async def test_an_answer_that_is_not_http_is_an_error_at_once(
    stage: Stage, upstream: Upstream, raw: bytes, kind: str
) -> None:
    @upstream.on("tools/call")
    async def garbage(exchange: Exchange) -> None:
        await exchange.raw(raw)
        await exchange.drop()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        with trio.fail_after(5):
            assert error_of(await client.call(1, "x"))["data"]["kind"] == kind
        assert (await client.ask(2, "ping"))["result"] == {}


ERRORS = [
    pytest.param({"id": None}, id="null"),
    pytest.param({}, id="none"),
    pytest.param({"id": "server-error"}, id="invented"),
]


@pytest.mark.parametrize("status", [200, 400, 404, 500])
@pytest.mark.parametrize("ident", ERRORS)
async def test_an_error_of_the_server_gets_the_id_of_the_request(
    stage: Stage, upstream: Upstream, status: int, ident: dict[str, Any]
) -> None:
    error = {"code": -32603, "message": "the server's own words", "data": {"x": 1.0}}

    @upstream.on("prompts/get")
    async def refuse(exchange: Exchange) -> None:
        await exchange.json({"jsonrpc": "2.0", **ident, "error": error}, status=status)

    stage.remote(upstream)
    async with stage.session("remote") as client:
        answer = await client.ask("mine", "prompts/get", {"name": "x"})
    assert answer == {"jsonrpc": "2.0", "id": "mine", "error": error}


async def test_an_answer_larger_than_the_limit_is_refused_by_name(
    stage: Stage, upstream: Upstream
) -> None:
    @upstream.on("tools/call")
    async def huge(exchange: Exchange) -> None:
        await exchange.reply({"text": "x" * 3_000_000})

    stage.home.settings(max_message_bytes=1_000_000)
    stage.remote(upstream)
    async with stage.session("remote") as client:
        error = error_of(await client.call(1, "x"))
        assert "1000000" in error["message"]
        assert "max_message_bytes" in error["message"]
        assert (await client.ask(2, "ping"))["result"] == {}
