"""Every real client through the shim to every real server: all features of MCP, whatever eras they speak.

A cell without the shim shows whether a failure is the shim's or the fixture's; those are `slow`, and only where
both sides speak the same era.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import real
from fixtures.exercise import Plan
from fixtures.sdk_clients import Target
from harness import Home, Served, program

pytestmark = [
    # Logging, sampling and roots are on their way out of MCP, and the clients say so.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    # FastMCP's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

# The SDK's own HTTP transport leaves generators to the garbage collector.
DIRECT = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
CELLS = [
    pytest.param(
        client,
        server,
        via,
        id=f"{client.name}-{server.name}-{via}",
        marks=DIRECT if via == "direct" else (),
    )
    for client in real.CLIENTS
    for server in real.SERVERS
    for via in ("shim", "direct")
    if via == "shim" or client.meets(server)
]
GATE = str(Path(__file__).parents[1] / "conformance" / "eragate.py")


class House:
    """One home for the whole matrix: a daemon that many clients come to, as in life."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.repository = real.make_repository(home.path / "repository")
        self.running: dict[str, Served] = {}

    def target(self, server: real.Server, via: str) -> Target:
        """Where a client has to go."""
        url = self._served(server).base + server.path if server.serve else ""
        if via == "direct":
            argv = (program(server.command[0]), *server.command[1:]) if server.command else ()
            return Target(argv=argv, env=self.home.env, url=url, sse=server.path == "/sse")
        spec = {"url": url} if url else {"command": server.command}
        self.home.add(server.name, **spec)
        return Target(argv=self.home.attach(server.name), env=self.home.env)

    def _served(self, server: real.Server) -> Served:
        if server.name not in self.running:
            served = self.home.serve(*server.serve, env={"PORT": "0"})
            if server.gate:
                where = served.base.removeprefix("http://")
                served = self.home.serve(sys.executable, GATE, server.eras[0], where)
            self.running[server.name] = served
        return self.running[server.name]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with Home() as home:
        yield House(home)


def fill_in(plan: Plan, **values: str) -> Plan:
    """The plan with names in capitals replaced by what this run has."""
    text = json.dumps(dataclasses.asdict(plan))
    for name, value in values.items():
        text = text.replace(name, value)
    return Plan(**json.loads(text))


def wrong(server: real.Server, report: dict[str, Any]) -> dict[str, Any]:
    """The features whose part of the report is not as it must be."""
    return {
        feature: report.get(feature, "not tried")
        for feature, check in server.checks.items()
        if feature not in report or not check(report[feature])
    }


@pytest.mark.usefixtures("what_it_needs")
@pytest.mark.parametrize(("client", "server", "via"), CELLS)
async def test_every_feature_works(
    house: House, client: real.Client, server: real.Server, via: str
) -> None:
    label = f"LABEL-{client.name}-{via}"
    plan = fill_in(server.plan, LABEL=label, REPOSITORY=str(house.repository))
    report = await client.run(house.target(server, via), plan)
    assert report["version"] == client.expected_version(server, via)
    assert wrong(server, report) == {}


@pytest.mark.parametrize("server", real.SERVERS, ids=lambda server: server.name)
def test_each_feature_is_either_checked_or_impossible_for_a_stated_reason(
    server: real.Server,
) -> None:
    features = {field.name for field in dataclasses.fields(Plan)} - {"changes_list_at_start"}
    assert server.checks.keys() | server.not_here.keys() == features
    assert not server.checks.keys() & server.not_here.keys()
