"""What becomes of a tunnel when something breaks: the gateway goes, forgets us, or cannot be reached by UDP any more.

Sockets are what breaks, so time is real. How long it takes is bounded by the test's patience only, for a machine may be
busy; that it takes no longer than what is promised is shown in virtual time (`drivers/carriers/test_link.py`).
"""

import socket

import pytest
import trio

from harness import until
from mcpctld.localfly.gateway import Gateway
from mcpctld.model import Settings
from mcpctld.protocols.wireguard.keys import PrivateKey
from mcpctld.tunnels import wireguard
from peers import Server
from tunnels.private import Network
from tunnels.test_wireguard import Client

HOST = "my-app.internal"


class Place:
    """A network whose gateway can be restarted, with a server behind it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.network = Network()
        self._scope = trio.CancelScope()
        self._over = trio.Event()

    async def start(self) -> None:
        server = Server()
        await self.nursery.start(server.run)
        self.network.inside.listen(server.origin.port)
        await self.nursery.start(self._run, self.network.gateway, 0, 0)

    async def stop(self) -> None:
        self._scope.cancel()
        await self._over.wait()

    async def restart(self) -> None:
        """Another gateway in the same place, with the same key and without a memory."""
        ports = self.network.gateway.udp_port, self.network.gateway.websocket_port
        await self.stop()
        gateway = self.network.make()
        for spec in self.network.clients.values():
            gateway.device.add_peer(spec, gateway._clock())
        await self.nursery.start(self._run, gateway, *ports)

    async def _run(self, gateway: Gateway, *ports: int, task_status) -> None:
        self._scope, self._over = trio.CancelScope(), trio.Event()
        with self._scope:
            await gateway.run(*ports, task_status=task_status)
        self._over.set()


@pytest.fixture
async def place(nursery):
    made = Place(nursery)
    await made.start()
    yield made
    nursery.cancel_scope.cancel()


class Relay:
    """Carries UDP to a port, unless told not to; knows from which ports it was spoken to."""

    def __init__(self, target: int) -> None:
        self.target = ("127.0.0.1", target)
        self.port = 0
        self.is_closed = False
        self.sources: list[int] = []
        self._back: dict[int, trio.socket.SocketType] = {}

    async def run(self, *, task_status) -> None:
        front = trio.socket.socket(type=socket.SOCK_DGRAM)
        await front.bind(("127.0.0.1", 0))
        self.port = front.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started()
            with front:
                while True:
                    data, source = await front.recvfrom(65535)
                    if self.is_closed:
                        continue
                    if source[1] not in self._back:
                        self.sources.append(source[1])
                        back = self._back[source[1]] = trio.socket.socket(type=socket.SOCK_DGRAM)
                        await back.connect(self.target)
                        nursery.start_soon(self._return, front, back, source)
                    await self._back[source[1]].send(data)

    async def _return(self, front, back, source) -> None:
        with back:
            while True:
                data = await back.recv(65535)
                if not self.is_closed:
                    await front.sendto(data, source)


async def relayed(place: Place, client: Client) -> Relay:
    """From now on the client's file names a relay."""
    relay = Relay(place.network.gateway.udp_port)
    await place.nursery.start(relay.run)
    place.network.conf(client.folder, client.raw, relay.port)
    return relay


@pytest.mark.slow
@pytest.mark.parametrize("carrier", ["udp", "websocket"])
async def test_a_gateway_that_is_restarted(place, nursery, tmp_path, carrier):
    client = Client(nursery, place.network, tmp_path, carrier=carrier)
    assert await client.ask(HOST) == b"{}"
    await place.restart()
    client.http.close_idle()  # what was connected has ended with it
    assert await client.ask(HOST, b"again") == b"again"
    assert client.info["peers"][0]["handshakes"] == 2


@pytest.mark.slow
async def test_a_gateway_that_is_away_for_a_while(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="udp")
    assert await client.ask(HOST) == b"{}"
    client.http.close_idle()
    async with trio.open_nursery() as asking:
        await place.stop()

        async def ask() -> None:
            assert await client.ask(HOST, b"while it was away") == b"while it was away"

        asking.start_soon(ask)
        await trio.sleep(1)
        await place.restart()


@pytest.mark.slow
async def test_a_gateway_that_has_forgotten_us_and_comes_back_by_itself(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="udp")
    assert await client.ask(HOST) == b"{}"
    network = place.network
    network.gateway.evict(PrivateKey(client.raw).public)
    assert await client.ask(HOST, b"again") == b"again"  # on the same connection
    assert client.info["peers"][0]["handshakes"] == 2
    assert client.info["connections"] == 1


async def test_a_gateway_that_learns_of_us_by_our_knocking(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, known=False, carrier="udp")
    assert await client.ask(HOST) == b"{}"
    assert client.info["peers"][0]["handshakes"] >= 1


@pytest.mark.slow
async def test_udp_that_dies_without_a_word(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="auto")
    relay = await relayed(place, client)
    assert await client.ask(HOST) == b"{}"
    assert client.info["peers"][0]["carrier"] == "udp"
    relay.is_closed = True
    assert await client.ask(HOST, b"again") == b"again"  # on the same connection
    assert client.info["peers"][0]["carrier"] == "websocket"
    assert client.info["connections"] == 1


async def test_udp_that_never_was(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="auto")
    relay = await relayed(place, client)
    relay.is_closed = True
    assert await client.ask(HOST) == b"{}"
    assert client.info["peers"][0]["carrier"] == "websocket"


async def test_another_address_of_ours(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="udp")
    relay = await relayed(place, client)
    assert await client.ask(HOST) == b"{}"
    client.tunnels.renew()
    assert await client.ask(HOST, b"again") == b"again"  # on the same connection
    assert len(relay.sources) == 2
    assert client.info["connections"] == 1


async def test_it_is_closed_when_nobody_needs_it_and_opens_again(
    place, nursery, tmp_path, monkeypatch
):
    monkeypatch.setattr(wireguard, "IDLE_CHECK_S", 0.05)
    client = Client(nursery, place.network, tmp_path, carrier="udp", close_after_s=0.1)
    assert await client.ask(HOST) == b"{}"
    tunnel = client.tunnels._tunnels["fly"]
    client.http.close_idle()
    for connection in tunnel._parts.host.stack._connections.values():
        connection.abort()  # it would wait for a minute in TIME-WAIT
    tunnel._parts.host.stack._connections.clear()
    await until(lambda: client.info["state"] == "closed", "the end of the tunnel")
    assert await client.ask(HOST, b"again") == b"again"
    assert client.info["state"] == "up"


async def test_another_configuration_counts_at_once(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="udp")
    assert await client.ask(HOST) == b"{}"
    spec = client.settings.tunnels["fly"]
    changed = {
        "fly": type(spec)(
            kind="wireguard", conf=spec.conf, websocket=spec.websocket, carrier="websocket"
        )
    }
    client.settings = Settings(tunnels=changed)
    client.http.close_idle()
    assert await client.ask(HOST, b"again") == b"again"
    assert client.info["peers"][0]["carrier"] == "websocket"


@pytest.mark.slow
async def test_a_hundred_at_once_share_one_tunnel(place, nursery, tmp_path):
    client = Client(nursery, place.network, tmp_path, carrier="udp")
    body = bytes(range(256)) * 200
    done: list[float] = []

    async def ask() -> None:
        assert await client.ask(HOST, body) == body
        done.append(trio.current_time())

    async with trio.open_nursery() as asking:
        for _ in range(100):
            asking.start_soon(ask)
    assert len(done) == 100
    assert client.info["peers"][0]["handshakes"] == 1
    assert client.info["connections"] == 100
