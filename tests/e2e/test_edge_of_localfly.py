"""The local Fly whole: machines are processes that its edge starts for requests, and puts to rest."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import trio

from e2e import wrapped
from e2e.rawclient import LATEST
from e2e.visitors import Visitor
from e2e.wrapped import BOTH, request
from harness import Home, until, wait_until

pytestmark = pytest.mark.slow

APP = "time"
TOKEN = "a-token-of-the-app"
FIELDS = {
    "Host": f"{APP}.localhost",
    "Authorization": f"Bearer {TOKEN}",
    "Accept": BOTH,
    "MCP-Protocol-Version": LATEST,
}
BOUND_S = 60.0
COLD_START_S = 1


class Fly:
    """A local Fly with one app, and that with one machine: our wrap around a parrot."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.id = ""
        folder = home.path / "fly"
        flags = ("--cold-start", str(COLD_START_S), "--autostop-period", "2")
        argv = (sys.executable, "-P", "-m", "mcpctld.localfly", "--state", str(folder), *flags)
        home.serve(*argv, polite=True)
        wait_until((folder / "localfly.json").exists, "a local Fly", BOUND_S)
        self.place = json.loads((folder / "localfly.json").read_text())
        self.api = httpx.Client(
            base_url=f"{self.place['api']}/v1",
            headers={"Authorization": f"Bearer {self.place['token']}"},
            timeout=BOUND_S,
            trust_env=False,
        )

    def do(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def launch(self, **settings: Any) -> None:
        """Make the app and its machine, which is left asleep."""
        self.do("POST", "/apps", {"name": APP, "org_slug": "personal"})
        self.do("POST", f"/apps/{APP}/ip_assignments", {"type": "shared_v4"})
        self.do("POST", f"/apps/{APP}/secrets/FLY_MCP_BEARER_TOKEN", {"value": TOKEN})
        wrap = ["uvx", "--from", "mcpctl==0.1.0", "mcpctl", "wrap", "--"]
        service = {
            "protocol": "tcp",
            "internal_port": 8080,
            "autostop": "suspend",
            "ports": [{"port": 443, "handlers": ["http", "tls"]}],
        }
        config = {
            "image": "flyio/mcp",
            "init": {"entrypoint": wrap, "cmd": list(wrapped.parrot(self.home))},
            "services": [service | settings],
        }
        made = self.do(
            "POST",
            f"/apps/{APP}/machines",
            {"region": "iad", "config": config, "skip_launch": True},
        )
        self.id = made["id"]
        self.do("POST", f"/apps/{APP}/machines/{self.id}/start")
        self.do("GET", f"/apps/{APP}/machines/{self.id}/wait?state=started&timeout=60")
        self.stop()

    def stop(self) -> None:
        self.do("POST", f"/apps/{APP}/machines/{self.id}/stop", {})
        wait_until(lambda: self.state == "stopped", "a machine that has stopped", BOUND_S)

    @property
    def machine(self) -> dict[str, Any]:
        found: dict[str, Any] = self.do("GET", f"/apps/{APP}/machines/{self.id}")
        return found

    @property
    def state(self) -> str:
        return str(self.machine["state"])

    @property
    def starts(self) -> int:
        """How often its process was started."""
        return sum(
            event["type"] == "start" and event["status"] == "started"
            for event in self.machine["events"]
        )


@pytest.fixture
def fly(home: Home) -> Iterator[Fly]:
    made = Fly(home)
    with made.api:
        yield made


@contextlib.asynccontextmanager
async def edge(fly: Fly) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app."""
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(
        base_url=fly.place["edge"], headers=FIELDS, timeout=BOUND_S, limits=limits, trust_env=False
    ) as client:
        yield client


async def test_a_machine_sleeps_and_wakes_and_its_session_lives_on(fly: Fly) -> None:
    await trio.to_thread.run_sync(fly.launch)
    async with edge(fly) as client:
        visitor = Visitor(client)
        await visitor.begin()  # held until the machine has started
        for _ in range(2):
            await until(lambda: fly.state == "suspended", "a machine that sleeps", BOUND_S)
            await visitor.stay(2)
            assert fly.state == "started"


async def test_forty_requests_at_once_start_it_once(fly: Fly) -> None:
    await trio.to_thread.run_sync(lambda: fly.launch(concurrency={"soft_limit": 100}))
    before = await trio.to_thread.run_sync(lambda: fly.starts)
    statuses: list[int] = []

    async def ask(client: httpx.AsyncClient) -> None:
        statuses.append((await client.get("/metrics")).status_code)

    async with edge(fly) as client, trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(ask, client)
    assert statuses == [200] * 40
    assert fly.starts == before + 1


async def test_never_while_a_stream_is_open(fly: Fly) -> None:
    await trio.to_thread.run_sync(fly.launch)
    async with edge(fly) as client:
        visitor = Visitor(client)
        await visitor.begin()
        starts = fly.starts
        stream = client.stream("GET", "/", headers={"Mcp-Session-Id": visitor.id})
        async with stream as answer:
            assert answer.status_code == 200
            await trio.sleep(7)  # three looks of the edge
            assert fly.state == "started"
        await until(lambda: fly.state == "suspended", "a machine that sleeps", BOUND_S)
        assert fly.starts == starts


async def test_a_machine_that_was_stopped_knows_no_session_any_more(fly: Fly) -> None:
    await trio.to_thread.run_sync(fly.launch)
    async with edge(fly) as client:
        visitor = Visitor(client)
        await visitor.begin()
        await trio.to_thread.run_sync(fly.stop)
        answer = await visitor.post(request(1, "test/pid"))
        assert answer.status_code == 404
        assert fly.state == "started"


async def test_a_machine_that_fails_to_start_is_told_and_not_waited_for(fly: Fly) -> None:
    await trio.to_thread.run_sync(fly.launch)
    fault = [{"kind": "fails_to_start", "app": APP}]
    headers = {"Authorization": f"Bearer {fly.place['token']}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=BOUND_S) as api:
        answer = await api.put(f"{fly.place['api']}/_localfly/faults", json=fault)
        assert answer.is_success, answer.text
        async with edge(fly) as client:
            answer = await client.get("/health")
        assert answer.status_code == 503
        assert "cannot be reached: the machine is failed" in answer.text
        logs = await api.get(f"{fly.place['api']}/api/v1/apps/{APP}/logs")
        assert "[PM08] the machine is failed" in logs.text
