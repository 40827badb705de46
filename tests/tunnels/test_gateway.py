"""`mcpctld.localfly.gateway` and `inside`: names by UDP and TCP, ports where nobody is, strangers, and noise."""

import functools
import random
import socket

import pytest
import trio

from mcpctld.errors import Unreachable
from mcpctld.protocols.inet.dns.message import Code, Kind
from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.tunnels import wireguard
from peers import Server
from tunnels.private import MACHINES, RESOLVER, Network
from tunnels.test_wireguard import Client

HOST = "my-app.internal"


@pytest.fixture
async def network(nursery):
    made = Network()
    await nursery.start(made.gateway.run)
    server = Server()
    await nursery.start(server.run)
    made.inside.listen(server.origin.port)
    yield made
    nursery.cancel_scope.cancel()


async def host_of(client: Client):
    """The stack of an open tunnel."""
    await client.tunnels.probe("fly")
    return client.tunnels._tunnels["fly"]._parts.host


async def test_a_probe(network, nursery, tmp_path):
    client = Client(nursery, network, tmp_path, carrier="udp")
    found = await client.tunnels.probe("fly")
    assert (found["target"], found["sent"], found["received"]) == (str(RESOLVER), 5, 5)
    assert found["rtt_ms"] > 0
    assert client.info["probe"] == found


async def test_texts_and_what_is_not_there(network, nursery, tmp_path):
    client = Client(nursery, network, tmp_path, carrier="udp")
    host = await host_of(client)
    answer = await host.resolve("_apps.internal", Kind.TXT, [RESOLVER])
    assert answer.records == (b"my-app",)
    answer = await host.resolve("no.internal", Kind.AAAA, [RESOLVER])
    assert (answer.code, answer.records) == (Code.NO_SUCH_NAME, ())


async def test_an_answer_too_long_for_a_datagram_comes_by_tcp(network, nursery, tmp_path):
    network.inside.texts["_apps.internal"] = [bytes([65 + n]) * 200 for n in range(20)]
    client = Client(nursery, network, tmp_path, carrier="udp")
    host = await host_of(client)
    answer = await host.resolve("_apps.internal", Kind.TXT, [RESOLVER])
    assert answer.records == tuple(network.inside.texts["_apps.internal"])


@pytest.mark.slow
async def test_ports_and_addresses_where_nobody_is(network, nursery, tmp_path, monkeypatch):
    monkeypatch.setattr(wireguard, "OPEN_BOUND_S", 3.0)
    client = Client(nursery, network, tmp_path, carrier="udp")
    with pytest.raises(Unreachable, match="refused"):
        await client.tunnels.open_stream("fly", str(MACHINES[0]), 9)
    with pytest.raises(Unreachable, match="no answer within 3 s"):
        await client.tunnels.open_stream("fly", "fdaa:0:18::77", 80)
    assert "no answer" in client.info["last_error"]


async def test_a_port_behind_which_nobody_listens_any_more(network, nursery, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        network.inside.listen(gone.getsockname()[1], 81)
    client = Client(nursery, network, tmp_path, carrier="udp")
    stream = await client.tunnels.open_stream("fly", HOST, 81)
    with pytest.raises(trio.BrokenResourceError), trio.fail_after(30):
        await stream.receive_some()


async def test_both_sides_of_a_connection_end_by_themselves(network, nursery, tmp_path):
    async def shout(stream) -> None:
        data = b""
        async for more in stream:
            data += more
        await stream.send_all(data.upper())

    serve = functools.partial(trio.serve_tcp, shout, 0, host="127.0.0.1")
    [listener] = await nursery.start(serve)
    network.inside.listen(listener.socket.getsockname()[1], 81)
    client = Client(nursery, network, tmp_path, carrier="websocket")
    stream = await client.tunnels.open_stream("fly", HOST, 81)
    await stream.send_all(b"hello")
    await stream.send_eof()
    heard = b""
    with trio.fail_after(30):
        while more := await stream.receive_some():
            heard += more
    assert heard == b"HELLO"
    await stream.aclose()


@pytest.mark.slow
async def test_a_stranger_is_not_let_in(network, nursery, tmp_path, monkeypatch):
    monkeypatch.setattr(wireguard, "OPEN_BOUND_S", 2.0)
    client = Client(nursery, network, tmp_path, known=False, carrier="udp")
    network.clients.clear()
    with pytest.raises(Unreachable, match="did not answer the handshake; does it know our key"):
        await client.tunnels.open_stream("fly", HOST, 8080)
    drops = network.gateway.device.statistics().drops
    assert drops[Drop.UNKNOWN_PEER] >= 1


async def test_noise_disturbs_nobody(network, nursery, tmp_path):
    rng = random.Random(1)
    client = Client(nursery, network, tmp_path, carrier="udp")
    assert await client.ask(HOST) == b"{}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.connect(("127.0.0.1", network.gateway.udp_port))
        for number in range(2000):
            kind = bytes([rng.randrange(6), 0, 0, 0])
            noise.send(kind + rng.randbytes(rng.choice((0, 28, 60, 88, 144, 1400))))
            if number % 50 == 0:
                await trio.lowlevel.checkpoint()
    for head in (b"", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n", b"\x16\x03\x01\x02\x00"):
        port = network.gateway.websocket_port
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head + rng.randbytes(3000) + b"\r\n\r\n")
    assert await client.ask(HOST, b"still there") == b"still there"
    statistics = network.gateway.device.statistics()
    assert statistics.indices <= 4
    assert sum(statistics.drops.values()) > 500
