"""Answers before the server is up: a client that starts while nothing listens gets what was known, and clear errors."""

from typing import Any

from e2e import rawclient
from e2e.stage import Stage, error_of
from fixtures import scripted
from fixtures.scripted import Exchange

PROMPTS = {"prompts": [{"name": "greet"}]}


async def warm(stage: Stage, **spec: Any) -> int:
    """Let a client meet the server once, and stop everything: the port of the server."""
    async with stage.upstream() as upstream:

        @upstream.on("prompts/list")
        async def prompts(exchange: Exchange) -> None:
            await exchange.reply(PROMPTS)

        stage.remote(upstream, **spec)
        async with stage.session("remote") as client:
            assert "result" in await client.ask(1, "tools/list")
            assert "result" in await client.ask(2, "prompts/list")
            await client.finish()
    return upstream.port


async def test_with_the_server_gone_lists_come_from_the_cache_and_calls_fail_clearly(stage: Stage):
    port = await warm(stage, connect_timeout_s=1.0)
    async with stage.attached("remote") as client:
        answer = await client.initialize()
        assert answer["result"]["serverInfo"]["name"] == "scripted"
        listed = (await client.ask(1, "tools/list"))["result"]
        assert [tool["name"] for tool in listed["tools"]] == ["echo"]
        assert (await client.ask(2, "prompts/list"))["result"] == PROMPTS
        error = error_of(await client.call(3, "echo"))
        assert error["data"]["kind"] == "unreachable"
        assert f"127.0.0.1:{port}" in error["message"]
        assert (await client.ask(4, "tools/list"))["result"] == listed
        await client.finish()


async def test_a_server_that_comes_up_later_is_used_and_what_has_changed_is_told(stage: Stage):
    port = await warm(stage)
    async with stage.attached("remote") as client:
        await client.initialize()
        await client.ask(1, "tools/list")
        params = {"name": "echo", "_meta": {"progressToken": "t"}}
        await client.request(2, "tools/call", params)
        told = await client.notified("notifications/progress")
        assert told["params"]["progress"] == -1
        assert told["params"]["message"].startswith("waiting for remote")
        async with scripted.serve(port) as upstream:

            @upstream.on("tools/list")
            async def others(exchange: Exchange) -> None:
                await exchange.reply({"tools": []})

            assert "result" in await client.answer(2)
            await upstream.wait_for("tools/list")
            await client.notified("notifications/tools/list_changed")
            assert (await client.ask(3, "tools/list"))["result"] == {"tools": []}
            await client.finish()


async def test_the_cache_shows_neither_the_server_nor_its_credentials(stage: Stage):
    await warm(stage, headers={"Authorization": "Bearer s3cret-of-mine"})
    files = list((stage.home.state_dir / "cache").iterdir())
    assert len(files) >= 4
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        assert "remote" not in path.name
        assert b"s3cret" not in path.read_bytes()


async def test_other_credentials_get_nothing_of_it(stage: Stage):
    port = await warm(stage, headers={"Authorization": "Bearer one"}, connect_timeout_s=0.5)
    url = f"http://127.0.0.1:{port}/mcp"
    other = {"Authorization": "Bearer two"}
    stage.remote(url, name="other", headers=other, connect_timeout_s=0.5)
    async with stage.attached("other") as client:
        params = {
            "protocolVersion": rawclient.LATEST,
            "capabilities": {},
            "clientInfo": rawclient.CLIENT,
        }
        assert error_of(await client.ask(1, "initialize", params))["data"]["kind"] == "unreachable"
        await client.finish()
