"""The command line against the real daemon and real servers, as in the README."""

import re

from e2e import rawclient, real
from e2e.stage import Stage
from fixtures import scripted
from fixtures.scripted import Exchange, Upstream
from harness import Home

TOKEN = "s3cret-of-the-test"


async def test_a_local_server_from_add_to_remove(home: Home) -> None:
    assert (await home.ask("add", "--server", "clock", "--", "mcp-server-time")).code == 0
    listed = (await home.ask("list", "--json")).json()
    assert [server["name"] for server in listed["servers"]] == ["clock"]
    tools = (await home.ask("tools", "clock", "--json")).json()["tools"]
    assert {"get_current_time", "convert_time"} == {tool["name"] for tool in tools}
    told = await home.ask("call", "clock", "get_current_time", '{"timezone":"UTC"}')
    assert told.code == 0
    assert '"timezone": "UTC"' in told.out
    failed = await home.ask("call", "clock", "get_current_time", "{}")
    assert (failed.code, failed.out) == (1, "")
    assert (await home.ask("remove", "clock")).code == 0
    gone = await home.ask("tools", "clock")
    assert gone.code == 4
    assert "clock" in gone.err


async def test_a_remote_server_with_every_kind_of_client_in_status(home: Home) -> None:
    server = home.serve(*real.HOUSE, "http")
    url = f"{server.base}/mcp"
    assert (await home.ask("add", "--server", "house", "--url", url)).code == 0
    called = await home.ask("call", "house", "progress", '{"steps":3}', "--json")
    assert called.json()["content"][0]["text"] == "3 steps"
    async with Stage(home).session("house"):
        status = (await home.ask("status", "--json")).json()
        (session,) = status["sessions"]
        assert (session["client"], session["server"]) == ("raw", "house")
        assert session["transport"] == "streamable-http"
        assert session["protocol_version"] == "2025-11-25"
        assert (await home.ask("sessions", "end", session["id"])).code == 0
        assert (await home.ask("sessions", "--json")).json()["sessions"] == []
    assert "house" in (await home.ask("status")).out


async def test_a_token_is_sent_and_shown_nowhere(
    home: Home, stage: Stage, upstream: Upstream
) -> None:
    home.env["MCPCTL_BEARER_TOKEN"] = TOKEN
    added = await home.ask("add", "--server", "remote", "--url", upstream.url, "--bearer-token")
    assert added.code == 0
    del home.env["MCPCTL_BEARER_TOKEN"]
    async with stage.session("remote") as client:
        await client.call(1, "echo")
        shown = [(await home.ask(*words)).out for words in (["status", "--json"], ["list"])]
        command_lines = [word for process in home.processes() for word in process.argv]
    assert {seen.headers["authorization"] for seen in upstream.seen} == {f"Bearer {TOKEN}"}
    file = (home.config_dir / "servers" / "remote.toml").read_text()
    for place in (*shown, *command_lines, file, home.log_file.read_text(), added.out, added.err):
        assert TOKEN not in place


async def test_logs_tell_in_words_what_happened(home: Home, stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.ask(1, "test/leave", {"code": 7, "words": "no more crackers"})
    told = await home.ask("logs", "--daemon")
    assert told.code == 0
    assert re.search(r"\d\d:\d\d:\d\d .*server\.stderr.*no more crackers", told.out)
    assert "exited with code 7" in told.out


async def test_proxy_takes_a_url_as_flyctl_does(stage: Stage, upstream: Upstream) -> None:
    words = stage.home.attach("unused")[:1]
    words += ["proxy", "--url", upstream.url, "--bearer-token", TOKEN, "--instance", "148e21f"]
    async with rawclient.run(words, stage.home.env) as client:
        await client.initialize()
        assert "result" in await client.call(1, "echo")
    assert upstream.seen[-1].headers["fly-force-instance-id"] == "148e21f"
    assert upstream.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_attach_by_url_needs_no_configuration(stage: Stage, upstream: Upstream) -> None:
    @upstream.on("tools/call")
    async def slow(exchange: Exchange) -> None:
        await exchange.client_left()
        exchange.answered = True

    async with stage.session(None, "--timeout", "0.3", url=upstream.url) as client:
        assert (await client.ask(1, "tools/list"))["result"]["tools"][0]["name"] == "echo"
        answer = await client.call(2, "slow")
        assert answer["error"]["data"]["kind"] == "timeout"
    assert scripted.SESSION in {seen.headers.get("mcp-session-id") for seen in upstream.seen}
