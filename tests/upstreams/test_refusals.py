"""What a refusal means to the user."""

from typing import Any

import pytest

from fixtures.scripted import Exchange
from mcpctld.errors import Conflict, Denied, NotFound, PeerError, TimedOut, Unreachable
from upstreams.world import world

TEXT = ("Content-Type", "text/plain; charset=utf-8")
HTML = ("Content-Type", "text/html")
JSON = ("Content-Type", "application/json")

CASES: list[Any] = [
    (400, b"what?", TEXT, PeerError, ["refused the message", "(what?)"]),
    (401, b"", TEXT, Denied, ["credentials", "mcpctl add --replace --server somebody --url http"]),
    (401, b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}', JSON, Denied, ["credent"]),
    (403, b"", TEXT, Denied, ["token"]),
    (404, b"<html>secret page</html>", HTML, NotFound, ["404", "often /mcp or /sse"]),
    (405, b"", TEXT, NotFound, ["405"]),
    (407, b"", TEXT, Denied, ["proxy"]),
    (408, b"", TEXT, TimedOut, ["408"]),
    (409, b"busy", TEXT, Conflict, ["409", "busy"]),
    (410, b"<html>", HTML, NotFound, ["410"]),
    (413, b"", TEXT, PeerError, ["too long"]),
    (418, b'{"tea": "pot"}', JSON, PeerError, ['{"tea": "pot"}']),
    (429, b"slow down", TEXT, Unreachable, ["too many requests", "slow down", "later"]),
    (500, b"Traceback...\n  line", TEXT, Unreachable, ["failed", "Traceback... line"]),
    (502, b"<html>", HTML, Unreachable, ["502"]),
    (503, b"", TEXT, Unreachable, ["503", "later"]),
    (504, b"", TEXT, TimedOut, ["504"]),
    (599, b"\x1b[31mred\x00 \xff", TEXT, Unreachable, ["[31mred"]),
    (200, b"<html>", HTML, PeerError, ["web page"]),
    (200, b"", JSON, PeerError, ["without the response"]),
    (200, b"hello", TEXT, PeerError, ["text/plain"]),
    (200, b'{"jsonrpc":"2.0","id":99,"result":{}}', JSON, PeerError, ["something else"]),
    (202, b"", TEXT, PeerError, ["202"]),
    (204, b"", TEXT, PeerError, ["204"]),
    (301, b"", TEXT, PeerError, ["nowhere"]),
]


@pytest.mark.parametrize(("status", "body", "kind_of_body", "kind", "words"), CASES)
async def test_every_refusal_says_what_and_where_and_what_to_do(
    autojump_clock, status: int, body: bytes, kind_of_body: Any, kind: type, words: list[str]
):
    async with world() as w:

        @w.server.on("tools/call")
        async def refuse(exchange: Exchange) -> None:
            await exchange.answer(status, body, kind_of_body)

        w.send(id=1, method="tools/call")
        error = await w.failure(1)
        assert type(error) is kind
        for word in [*words, "http://127.0.0.1:80/mcp"]:
            assert word in str(error)
        assert str(error).isprintable()
        assert "secret page" not in str(error)


async def test_our_credentials_are_not_repeated_when_the_server_does(autojump_clock):
    headers = {"Authorization": "Bearer abcdef0123456789", "X-Key": "k3y-k3y-k3y"}
    async with world(headers=headers) as w:

        @w.server.on("tools/call")
        async def echo(exchange: Exchange) -> None:
            said = f"bad token abcdef0123456789, bad key {exchange.headers['x-key']}"
            await exchange.answer(500, said.encode(), TEXT)

        w.send(id=1, method="tools/call")
        error = str(await w.failure(1))
        assert "bad token ..., bad key ..." in error
        assert "abcdef" not in error
        assert "k3y" not in error
        assert "abcdef" not in w.log.text


async def test_a_long_refusal_is_quoted_in_short_and_not_read_on(autojump_clock):
    async with world() as w:

        @w.server.on("tools/call")
        async def endless(exchange: Exchange) -> None:
            await exchange.raw(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await exchange.chunk(b"blah " * 2000)

        w.send(id=1, method="tools/call")
        assert len(str(await w.failure(1))) < 400
