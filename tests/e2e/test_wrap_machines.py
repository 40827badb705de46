"""Two machines of one app behind a proxy that knows `fly-replay`: every request finds the machine of its session."""

import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from e2e import wrapped
from e2e.rawclient import LATEST
from e2e.stage import Stage
from e2e.visitors import Visitor, attached_clients_recover, visit
from e2e.wrapped import BOTH, Wrap, request
from fixtures import flyproxy
from fixtures.flyproxy import FlyProxy
from harness import Home

TOKEN = "a-token-that-both-have"
MACHINES = ("148e21c4", "5683d20b")
FIELDS = {"Authorization": f"Bearer {TOKEN}", "Accept": BOTH, "MCP-Protocol-Version": LATEST}


def machine(home: Home, name: str) -> Wrap:
    """A wrap as it runs in a machine of Fly's."""
    env = {"FLY_MACHINE_ID": name, "FLY_MCP_BEARER_TOKEN": TOKEN}
    return wrapped.start(home, (), "--max-children", "256", env=env)


@pytest.fixture
def app(home: Home) -> dict[str, Wrap]:
    return {name: machine(home, name).wait_ready() for name in MACHINES}


@contextlib.asynccontextmanager
async def edge(app: dict[str, Wrap]) -> AsyncIterator[tuple[FlyProxy, httpx.AsyncClient]]:
    """The proxy, and a client of it."""
    ports = {name: wrap.port for name, wrap in app.items()}
    async with (
        flyproxy.serve(ports) as proxy,
        httpx.AsyncClient(base_url=proxy.base, headers=FIELDS, timeout=60) as client,
    ):
        yield proxy, client


@pytest.mark.parametrize("count", [16, pytest.param(200, marks=pytest.mark.slow)])
async def test_every_request_finds_its_session_and_a_dead_machine_s_are_gone(
    app: dict[str, Wrap], count: int
) -> None:
    async with edge(app) as (proxy, client):
        visitors = [Visitor(client) for _ in range(count)]
        await visit(visitors, Visitor.begin, at_once=8)
        homes = [visitor.machine for visitor in visitors]
        assert min(homes.count(name) for name in MACHINES) >= count // 4
        assert len({visitor.pid for visitor in visitors}) == count
        await visit(visitors, lambda visitor: visitor.stay(4), at_once=16)
        assert proxy.replays > count
        assert proxy.lost == 0
        dead, alive = MACHINES
        await trio.to_thread.run_sync(app[dead].kill)
        for visitor in visitors:
            if visitor.machine == alive:
                await visitor.stay(1)
            else:
                assert (await visitor.post(request(2, "test/pid"))).status_code == 404
        assert proxy.lost == homes.count(dead)


async def test_clients_of_mcpctl_attach_recover_when_their_machine_dies(
    stage: Stage, app: dict[str, Wrap]
) -> None:
    async def die(wrap: Wrap) -> None:
        await trio.to_thread.run_sync(wrap.kill)

    async with edge(app) as (proxy, _):
        await attached_clients_recover(stage, f"{proxy.base}/", TOKEN, list(app.values()), die)


async def test_ids_that_nobody_has_signed_are_replayed_nowhere(app: dict[str, Wrap]) -> None:
    async with edge(app) as (proxy, client):
        visitor = Visitor(client)
        await visitor.begin()
        before = proxy.replays
        name, random, signature = visitor.id.split(".")
        for other in (name, *MACHINES, "9" * 14):
            visitor.id = f"{other}.{random}.{signature[::-1]}"
            assert (await visitor.post(request(1, "ping"))).status_code == 404
        assert proxy.replays == before


async def test_a_body_that_the_proxy_cannot_keep_is_refused_clearly(app: dict[str, Wrap]) -> None:
    async with edge(app) as (_, client):
        visitor = Visitor(client)
        await visitor.begin()
        message = request(1, "test/pid", text="x" * 1_100_000)
        answers = [await visitor.post(message) for _ in MACHINES]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 413]
        refused = next(answer for answer in answers if answer.status_code == 413)
        assert "another machine" in refused.json()["error"]["message"]
