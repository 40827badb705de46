"""Many clients at once."""

import collections

import pytest
import trio

from e2e.rawclient import RawClient
from e2e.stage import Stage
from fixtures import scripted
from harness import Form


@pytest.mark.parametrize("form", ["script", "entry"])
async def test_of_50_stubs_started_at_once_with_no_daemon_one_starts_it_and_all_work(
    stage: Stage, upstream: scripted.Upstream, form: Form
) -> None:
    stage.remote(upstream)
    everybody_works = trio.Event()
    working = 0

    async def live(number: int) -> None:
        nonlocal working
        async with stage.session("remote", form=form) as client:
            answer = await client.call(number, "echo", number=number)
            assert f'"number": {number}' in answer["result"]["content"][0]["text"]
            working += 1
            if working == 50:
                everybody_works.set()
            await everybody_works.wait()

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(live, number)
        await everybody_works.wait()
        assert len(stage.home.daemons()) == 1
        assert len(stage.home.api("GET", "/v1/status")[1]["sessions"]) == 50
    assert len(stage.logged("daemon.started")) == 1
    assert len(upstream.calls("initialize")) == 50


async def test_100_sessions_at_once_are_100_sessions(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    numbers = iter(range(1, 101))

    @upstream.on("initialize")
    async def own_session(exchange: scripted.Exchange) -> None:
        header = ("Mcp-Session-Id", f"session-{next(numbers)}")
        await exchange.reply(scripted.initialized(exchange), header)

    @upstream.on("tools/call")
    async def whose(exchange: scripted.Exchange) -> None:
        name = exchange.message["params"]["name"]
        await exchange.reply({"session": exchange.headers["mcp-session-id"], "client": name})

    stage.remote(upstream)
    stage.home.start_daemon()
    belongs: dict[str, set[str]] = collections.defaultdict(set)

    async def live(name: str, ready: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        async with stage.session("remote") as client:
            task_status.started()
            await ready.wait()
            for call in range(5):
                result = (await client.call(call, name))["result"]
                assert result["client"] == name
                belongs[name].add(result["session"])

    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(100):
            await nursery.start(live, f"client-{number}", ready)
        sessions = stage.home.api("GET", "/v1/status")[1]["sessions"]
        assert {session["state"] for session in sessions} == {"ready"}
        assert len(sessions) == 100
        ready.set()
    assert len(belongs) == 100
    assert all(len(ids) == 1 for ids in belongs.values())
    assert len(set.union(*belongs.values())) == 100


async def test_one_client_may_be_attached_to_two_servers_through_one_daemon(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    stage.remote(upstream)
    stage.parrot()
    async with stage.session("remote") as far, stage.session("parrot") as near:
        answers: dict[str, object] = {}

        async def call(client: RawClient, name: str) -> None:
            answers[name] = await client.call(1, "echo", where=name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, far, "far")
            nursery.start_soon(call, near, "near")
        assert len(stage.home.daemons()) == 1
    assert "far" in str(answers["far"])
    assert answers["near"] == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_a_client_that_does_not_read_slows_only_itself_down(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    @upstream.on("tools/call")
    async def much(exchange: scripted.Exchange) -> None:
        await exchange.reply({"text": "x" * 1_000_000})

    stage.remote(upstream)
    async with stage.session("remote") as lazy, stage.session("remote") as eager:
        for number in range(40):
            await lazy.request(number, "tools/call", {"name": "much"})
        await upstream.wait_for("tools/call", 3)
        for number in range(5):
            assert len((await eager.call(number, "much"))["result"]["text"]) == 1_000_000
        seen = {(await lazy.message())["id"] for _ in range(40)}
    assert seen == set(range(40))


def test_the_two_forms_of_the_stub_are_what_a_client_file_and_a_shell_would_start(
    stage: Stage,
) -> None:
    script, entry = (stage.home.attach("x", form=form) for form in ("script", "entry"))
    assert script[1:] == ["attach", "x"]
    assert entry[1:3] == ["-I", "-S"]
    assert entry[3].endswith("/mcpctl/entry.py")
