"""`mcpctld.tunnels.wireguard` against our own gateway, over real sockets: by UDP, by WebSocket, and by either."""

import functools

import pytest
import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.request import Origin
from mcpctld.model import Settings, TunnelSpec
from mcpctld.tunnels.choice import Tunnels
from mcpctld.tunnels.origin import open_origin
from peers import Server, Told, post
from tunnels.private import Network

BOUND_S = 30


@pytest.fixture
async def network(nursery):
    made = Network()
    await nursery.start(made.gateway.run)
    return made


@pytest.fixture
async def server(nursery, network):
    made = Server()
    await nursery.start(made.run)
    network.inside.listen(made.origin.port)
    return made


class Client:
    """HTTP through a tunnel."""

    def __init__(self, nursery, network, folder, *, known: bool = True, **spec) -> None:
        self.folder, self.raw = folder, network.admit(known=known)
        conf = network.conf(folder, self.raw, network.gateway.udp_port)
        websocket = f"ws://127.0.0.1:{network.gateway.websocket_port}/"
        made = TunnelSpec(kind="wireguard", conf=conf, websocket=websocket, **spec)
        self.settings = Settings(tunnels={"fly": made})
        self.tunnels = Tunnels(nursery, lambda: self.settings, str(folder))
        self.connect_to(nursery)

    def connect_to(self, nursery) -> None:
        """Make the HTTP client."""
        connect = functools.partial(open_origin, ways=self.tunnels)
        self.http = HttpClient(nursery, connect, lambda: 100)

    async def ask(self, host: str, body: bytes = b"{}", port: int = 8080) -> bytes:
        told = Told()
        self.http.submit(Origin("http", host, port), post(body), told, patience_s=20)
        with trio.fail_after(BOUND_S):
            await told.done.wait()
        assert told.error is None, told.error
        return told.body

    @property
    def info(self):
        [info] = self.tunnels.infos()
        return info


@pytest.mark.parametrize("carrier", ["udp", "websocket", "auto"])
@pytest.mark.parametrize(
    "host", ["my-app.internal", "my-app.flycast", "fdaa:0:18:a7b:7d:f066:b83b:2"]
)
async def test_http_through_the_tunnel(nursery, network, server, tmp_path, carrier, host):
    client = Client(nursery, network, tmp_path, carrier=carrier)
    big = b"x" * 300_000
    assert await client.ask(host, big) == big
    [peer] = client.info["peers"]
    assert (client.info["state"], peer["handshakes"]) == ("up", 1)
    assert peer["carrier"] == ("websocket" if carrier == "websocket" else "udp")
    nursery.cancel_scope.cancel()
