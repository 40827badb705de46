"""`mcpctl wrap --oauth-issuer`: a real issuer on loopback, a real front, tokens of several people."""

import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from harness import FIXTURES, Home, program
from wrap import issuers
from wrap.issuers import Issuer

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    },
}  # fmt: skip
PING = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuers.serve() as made:
        yield made


@pytest.fixture
async def client(home: Home, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a front that takes the issuer's tokens."""
    argv = [program("mcpctl"), "wrap", "--port", "0", "--oauth-issuer", issuer.url]
    argv += ["--public-url", issuers.AUDIENCE, "--oauth-scope", "tools:call"]
    folder = home.path / "parrot"
    folder.mkdir()
    child = [sys.executable, "-I", "-S", str(FIXTURES / "parrot.py"), str(folder)]
    served = await trio.to_thread.run_sync(lambda: home.serve(*argv, "--", *child))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", timeout=30) as made:
        yield made


def now(issuer: Issuer, **changed: Any) -> str:
    """A token that is good now."""
    usual = {"exp": time.time() + 300, "iat": time.time()}
    return issuer.token(**(usual | changed))


def bearer(token: str, **more: str) -> dict[str, str]:
    return {**ACCEPT, "Authorization": f"Bearer {token}", **more}


async def test_who_has_no_token_is_told_where_to_get_one(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    refused = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
    assert refused.status_code == 401
    challenge = refused.headers["WWW-Authenticate"]
    assert (
        'resource_metadata="https://p.example/.well-known/oauth-protected-resource/mcp"'
        in challenge
    )
    document = await client.get("/.well-known/oauth-protected-resource/mcp")
    assert document.json() == {
        "resource": issuers.AUDIENCE,
        "authorization_servers": [issuer.url],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["tools:call"],
    }
    assert (await client.get("/.well-known/oauth-protected-resource/other")).status_code == 404


async def test_a_good_token_opens_a_session_that_is_nobody_elses(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    alice, bob = now(issuer), now(issuer, sub="bob")
    opened = await client.post("/mcp", json=INITIALIZE, headers=bearer(alice))
    assert opened.status_code == 200, opened.text
    session = {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"]}
    theirs = await client.post("/mcp", json=PING, headers=bearer(bob, **session))
    assert theirs.status_code == 404
    ours = await client.post("/mcp", json=PING, headers=bearer(alice, **session))
    assert ours.status_code == 200
    assert issuer.asked() == 1
    assert (await client.delete("/mcp", headers=bearer(bob, **session))).status_code == 404
    assert (await client.delete("/mcp", headers=bearer(alice, **session))).status_code == 204


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"aud": "https://other.example"}, 401),
        ({"exp": 1.0}, 401),
        ({"scope": "tools:read"}, 403),
        ({"iss": "https://evil.example"}, 401),
    ],
)
async def test_a_token_that_is_not_for_us_opens_nothing(
    client: httpx.AsyncClient, issuer: Issuer, changed: dict[str, Any], status: int
) -> None:
    answer = await client.post("/mcp", json=INITIALIZE, headers=bearer(now(issuer, **changed)))
    assert answer.status_code == status
    assert "error" in answer.json()
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_tokens_do_not_stand_in_the_log(
    client: httpx.AsyncClient, issuer: Issuer, home: Home
) -> None:
    token = now(issuer)
    await client.post("/mcp", json=INITIALIZE, headers=bearer(token))
    assert token.rpartition(".")[2] not in (home.path / "served.out").read_text()
