"""Real sessions through the local Fly's edge: `mcpctl wrap` is the machines, `mcpctl attach` the clients."""

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
from harness import Home
from localfly.edge.town import App, open_town

TOKEN = "a-token-that-both-have"
MACHINES = ("148e21c4", "5683d20b")
FIELDS = {"Authorization": f"Bearer {TOKEN}", "Accept": BOTH, "MCP-Protocol-Version": LATEST}


@pytest.fixture
def wraps(home: Home) -> dict[str, Wrap]:
    """Two, as they run in machines."""
    made = {}
    for name in MACHINES:
        env = {"FLY_MACHINE_ID": name, "FLY_MCP_BEARER_TOKEN": TOKEN}
        flags = ("--max-children", "256", "--allowed-host", "time.localhost")
        made[name] = wrapped.start(home, (), *flags, env=env)
    return {name: wrap.wait_ready() for name, wrap in made.items()}


@contextlib.asynccontextmanager
async def edge(wraps: dict[str, Wrap]) -> AsyncIterator[tuple[App, str]]:
    """The app in front of them, and its URL."""
    async with open_town() as fleet:
        app = fleet.add_app()
        for name, wrap in wraps.items():
            await app.add(name, port=wrap.port)
        yield app, f"http://time.localhost:{fleet.edge_port}"


async def die(app: App, wrap: Wrap, name: str) -> None:
    """A machine's process ends."""
    await trio.to_thread.run_sync(wrap.kill)
    machine = app.machines[name]
    machine.state, machine.port = "failed", 0


@pytest.mark.parametrize("count", [16, pytest.param(200, marks=pytest.mark.slow)])
async def test_every_request_finds_its_session_and_a_dead_machine_s_are_gone(
    wraps: dict[str, Wrap], count: int
) -> None:
    async with edge(wraps) as (app, url):
        port = url.rpartition(":")[2]
        fields = {**FIELDS, "Host": "time.localhost"}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=fields, timeout=60
        ) as client:
            visitors = [Visitor(client) for _ in range(count)]
            await visit(visitors, Visitor.begin, at_once=8)
            homes = [visitor.machine for visitor in visitors]
            assert min(homes.count(name) for name in MACHINES) >= count // 4
            assert len({visitor.pid for visitor in visitors}) == count
            await visit(visitors, lambda visitor: visitor.stay(4), at_once=16)
            dead, alive = MACHINES
            await die(app, wraps[dead], dead)
            for visitor in visitors:
                if visitor.machine == alive:
                    await visitor.stay(1)
                else:
                    assert (await visitor.post(request(2, "test/pid"))).status_code == 404


async def test_clients_of_mcpctl_attach_use_it_by_name_and_recover(
    stage: Stage, wraps: dict[str, Wrap]
) -> None:
    async with edge(wraps) as (app, url):
        ports = {wrap.port: name for name, wrap in wraps.items()}

        async def end(wrap: Wrap) -> None:
            await die(app, wrap, ports[wrap.port])

        await attached_clients_recover(stage, f"{url}/", TOKEN, list(wraps.values()), end)
