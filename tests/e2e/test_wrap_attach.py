"""`mcpctl attach` on a `mcpctl wrap`: sessions outlive the server's process, the wrap, and its end under load."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest
import trio

from e2e import wrapped
from e2e.rawclient import RawClient
from e2e.stage import Stage
from e2e.wrapped import Wrap
from harness import steady_port, until

TOKEN = "a-token"
CLIENTS = 4
CALLS = 25


def start(stage: Stage, port: int) -> Wrap:
    """A wrap that asks for a token."""
    return wrapped.start(stage.home, port=port, env={"FLY_MCP_BEARER_TOKEN": TOKEN})


@contextlib.asynccontextmanager
async def attached(stage: Stage, wrap: Wrap) -> AsyncIterator[RawClient]:
    """A client that has shaken hands, with the token."""
    async with stage.session(None, "--bearer-token", TOKEN, url=f"{wrap.base}/mcp") as client:
        yield client


async def pid_of(client: RawClient, id: int) -> int:
    """The process that answers a call."""
    answer = await client.ask(id, "test/pid")
    return int(answer["result"]["pid"])


async def restart(stage: Stage, wrap: Wrap, how: signal.Signals) -> Wrap:
    """End a wrap and start another one in its place."""
    wrap.served.process.send_signal(how)
    await trio.to_thread.run_sync(wrap.served.process.wait, 15)
    return await trio.to_thread.run_sync(start, stage, wrap.port)


async def test_a_client_without_the_token_is_refused(stage: Stage) -> None:
    wrap = start(stage, 0)
    async with stage.attached(None, url=f"{wrap.base}/mcp") as client:
        answer = await client.initialize()
        assert answer["error"]["data"]["kind"] == "denied"


async def test_a_session_outlives_the_server_s_process(stage: Stage) -> None:
    wrap = start(stage, 0)
    async with attached(stage, wrap) as client:
        first = await pid_of(client, 1)
        os.kill(first, signal.SIGKILL)
        log = stage.home.path / "served.out"
        await until(lambda: "upstream.ended" in log.read_text(), "wrap to notice the end")
        assert await pid_of(client, 2) not in (0, first)
        assert await client.finish() == 0


async def test_an_open_session_goes_on_with_a_token_that_was_set_anew(stage: Stage) -> None:
    """By a command, and by another process of the user's that then has the daemon read again."""
    home, port, reference = stage.home, steady_port(), "Bearer ${secret:bearer-token}"
    wrap = start(stage, port)
    home.add("kept", url=f"{wrap.base}/mcp", headers={"Authorization": reference})
    assert (await home.ask("secret", "set", "kept", f"bearer-token={TOKEN}")).code == 0
    async with stage.session("kept") as client:
        await pid_of(client, 1)
        for id, how in ((2, "command"), (3, "behind the daemon")):
            token = f"token-{id}"
            if how == "command":
                await home.ask("secret", "set", "kept", f"bearer-token={token}")
            else:
                vault = home.state_dir / "secrets.json"
                vault.write_text(vault.read_text().replace("token-2", token))
                assert home.api("POST", "/v1/reload")[0] == 200
            wrap.served.process.kill()
            await trio.to_thread.run_sync(wrap.served.process.wait, 15)
            wrap = wrapped.start(home, port=port, env={"FLY_MCP_BEARER_TOKEN": token})
            assert await pid_of(client, id) in wrap.below()
        assert await client.finish() == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_session_outlives_the_wrap(stage: Stage, how: signal.Signals) -> None:
    wrap = start(stage, steady_port())
    async with attached(stage, wrap) as client:
        first = await pid_of(client, 1)
        again = await restart(stage, wrap, how)
        second = await pid_of(client, 2)
        assert second != first
        assert second in again.below()
        assert await client.finish() == 0


async def test_under_load_no_call_is_lost_when_the_wrap_is_told_to_go(stage: Stage) -> None:
    wrap = start(stage, steady_port())
    answered = trio.Event()
    done: list[dict[str, object]] = []

    async def call(client: RawClient) -> None:
        for number in range(CALLS):
            done.append(await client.ask(number, "test/slow", {"seconds": 0.02}))
            if len(done) > CALLS:
                answered.set()

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(attached(stage, wrap)) for _ in range(CLIENTS)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(call, client)
            await answered.wait()
            await restart(stage, wrap, signal.SIGTERM)
        for client in clients:
            assert await client.finish() == 0
    assert len(done) == CLIENTS * CALLS
    assert [answer for answer in done if "result" not in answer] == []
