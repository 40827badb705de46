"""MCP through a tunnel: a client of the Python SDK, `mcpctl attach`, our own WireGuard, a gateway, `mcpctl wrap`."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from e2e import real, wrapped
from e2e.stage import Stage
from e2e.test_matrix import fill_in, wrong
from fixtures.sdk_clients import Target, run_sdk
from harness import until
from mcpctld.protocols.wireguard.keys import encode_key
from tunnels.private import Network

pytestmark = [
    # Logging, sampling and roots are on their way out of MCP, and the clients say so.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
HOUSE = real.house("house", command=wrapped.HOUSE)


class Tunnelled:
    """A home whose daemon knows a tunnel, and the network behind it."""

    def __init__(self, stage: Stage, network: Network) -> None:
        self.stage = stage
        self.home = stage.home
        self.network = network
        self.raw = network.admit()

    def configure(self, carrier: str, port: int | None = None) -> None:
        gateway = self.network.gateway
        table = {
            "kind": "wireguard",
            "conf": self.network.conf(self.home.path, self.raw, port or gateway.udp_port),
            "carrier": carrier,
            "websocket": f"ws://127.0.0.1:{gateway.websocket_port}/",
        }
        self.home.settings(tunnels={"fly": table})

    async def wrap(self, command: tuple[str, ...] = ()) -> None:
        """A wrap behind every address."""
        start = trio.to_thread.run_sync
        names = [f"--allowed-host=my-app.{suffix}" for suffix in ("internal", "flycast")]
        wrap = await start(lambda: wrapped.start(self.home, command, *names).wait_ready())
        self.network.inside.listen(wrap.port)


@pytest.fixture
async def tunnelled(stage: Stage, nursery: trio.Nursery) -> AsyncIterator[Tunnelled]:
    network = Network()
    await nursery.start(network.gateway.run)
    yield Tunnelled(stage, network)
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(stage.home.stop_daemon)
    nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("carrier", ["udp", "websocket"])
@pytest.mark.parametrize("host", ["my-app.internal", "my-app.flycast"])
async def test_every_feature_of_a_server_behind_the_gateway(
    tunnelled: Tunnelled, carrier: str, host: str
) -> None:
    tunnelled.configure(carrier)
    await tunnelled.wrap(wrapped.HOUSE)
    home = tunnelled.home
    home.add("private", url=f"http://{host}:8080/mcp")
    target = Target(argv=home.attach("private"), env=home.env)
    report = await run_sdk(target, "legacy", fill_in(HOUSE.plan, LABEL="LABEL-tunnel", FOLDER="/"))
    assert wrong(HOUSE, report) == {}
    shown = await home.ask("tunnels", "--json")
    [tunnel] = shown.json()["tunnels"]
    [peer] = tunnel["peers"]
    assert (tunnel["state"], peer["carrier"]) == ("up", carrier)
    table = await home.ask("tunnels")
    probe = await home.ask("tunnels", "probe", "fly")
    assert "fdaa:0:18::3: 5 of 5 echoes" in probe.out
    said = table.out + shown.out + probe.out + home.transcript()
    assert encode_key(tunnelled.raw) not in said


async def test_a_daemon_with_the_same_keys_goes_on_where_the_last_one_was(
    tunnelled: Tunnelled,
) -> None:
    tunnelled.configure("udp")
    await tunnelled.wrap()
    home = tunnelled.home
    home.add("private", url="http://my-app.internal:8080/mcp")
    stamps = home.state_dir / "tunnels" / "fly.json"
    seen = []
    for _ in range(2):
        async with tunnelled.stage.session("private") as client:
            assert (await client.ask(1, "test/pid"))["result"]["pid"]
            await until(
                lambda: stamps.exists() and stamps.read_text() not in seen,
                "a timestamp that is kept",
            )
            seen.append(stamps.read_text())
            assert await client.finish() == 0
        await trio.to_thread.run_sync(home.stop_daemon)
    first, second = (list(json.loads(text).values()) for text in seen)
    assert first < second
    assert stamps.stat().st_mode & 0o777 == 0o600


async def test_what_is_wrong_is_said(tunnelled: Tunnelled) -> None:
    tunnelled.configure("udp")
    await tunnelled.wrap()
    home = tunnelled.home
    home.add("nobody", url="http://no-app.internal:8080/mcp")
    async with tunnelled.stage.attached("nobody") as client:
        error = (await client.initialize())["error"]
        assert "no such host behind the tunnel: no-app.internal" in error["message"]
    path = home.path / "fly.conf"
    path.write_text(path.read_text().replace("PrivateKey", "PrivatKey"))
    home.settings(tunnels={"other": {"kind": "wireguard", "conf": str(path)}})
    await trio.to_thread.run_sync(home.api, "POST", "/v1/reload")
    async with tunnelled.stage.attached("nobody") as client:
        error = (await client.initialize())["error"]
        assert "did you mean PrivateKey?" in error["message"]
        assert error["data"]["kind"] == "bad-request"
