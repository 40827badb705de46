"""Runs in a network namespace of its own, beside wireguard-go: HTTP through our tunnel to the TCP of the kernel.

`test_interop` runs it. What it saw it says in JSON.
"""

import json
import os
import sys
import time
from ipaddress import IPv6Address
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from mcpctld.drivers.carriers.websocket import WebSocketCarrier, accept_websocket
from mcpctld.errors import McpctlError
from mcpctld.localfly.inside import TTL_S
from mcpctld.protocols.inet.dns.serving import MAX_UDP, encode_reply, read_question
from mcpctld.protocols.wireguard.keys import PrivateKey
from peers import Server
from tunnels.private import FLYCAST, RESOLVER, Inside
from tunnels.test_wireguard import Client
from wireguard import in_namespace as wireguard_go

MACHINE = IPv6Address("fdaa:0:18:a7b:7d:f066:b83b:2")


class Network:
    """wireguard-go in the place of our own gateway: what `Client` needs of it."""

    def __init__(self, go: wireguard_go.Gateway) -> None:
        self.go = go
        self.gateway = self
        self.key = go.key
        self.udp_port = wireguard_go.PORT
        self.websocket_port = 0
        self.raw = b""

    def admit(self, *, known: bool) -> bytes:
        self.raw = os.urandom(32)
        self.go.peer(PrivateKey(self.raw).public)
        return self.raw

    def conf(self, folder: Path, raw: bytes, port: int) -> str:
        from tunnels.private import Network as Own

        return Own.conf(self, folder, raw, port)  # type: ignore[arg-type]


async def resolve(task_status) -> None:
    """The names behind the gateway, on the kernel's UDP."""
    inside = Inside()
    with trio.socket.socket(trio.socket.AF_INET6, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((str(RESOLVER), 53))
        task_status.started()
        while True:
            data, source = await sock.recvfrom(65535)
            question = read_question(data)
            assert question is not None
            records = inside.names(question.name, question.kind)
            await sock.sendto(encode_reply(question, records, TTL_S, MAX_UDP), source)


async def bridge(stream: trio.SocketStream) -> None:
    """A WebSocket to wireguard-go, as Fly has it: a UDP socket for each."""
    try:
        carrier = await accept_websocket(stream)
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(("127.0.0.1", wireguard_go.PORT))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(from_udp, sock, carrier)
                await carrier.run(lambda came: [sock._sock.send(one) for one in came])
    except* McpctlError:
        pass


async def from_udp(sock: trio.socket.SocketType, carrier: WebSocketCarrier) -> None:
    while True:
        carrier.send([await sock.recv(65535)])


async def scene(folder: Path, go: wireguard_go.Gateway) -> dict:
    seen: dict[str, object] = {}
    async with trio.open_nursery() as nursery:
        network, server = Network(go), Server()
        (listener,) = await trio.open_tcp_listeners(8080, host="::")
        nursery.start_soon(trio.serve_listeners, server._serve, [listener])
        await nursery.start(resolve)
        bridges = await nursery.start(trio.serve_tcp, bridge, 0)
        network.websocket_port = bridges[0].socket.getsockname()[1]
        for carrier in ("udp", "websocket"):
            for host in ("my-app.internal", "my-app.flycast"):
                place = folder / f"{carrier}-{host}"
                place.mkdir()
                client = Client(nursery, network, place, carrier=carrier)
                big = os.urandom(1_000_000)
                same = [await client.ask(host, body) == body for body in (b"{}", big, big)]
                [peer] = client.info["peers"]
                seen[f"{carrier} {host}"] = [all(same), peer["carrier"], peer["handshakes"]]
                if host == "my-app.flycast" and carrier == "udp":
                    seen |= await evicted(client, go, host)
                client.tunnels._tunnels["fly"].close()
                go.remove(PrivateKey(client.raw).public)
        nursery.cancel_scope.cancel()
    return seen


async def evicted(client: Client, go: wireguard_go.Gateway, host: str) -> dict:
    """The peer is forgotten. When it knocks it is made known again, and the gateway begins itself, as Fly's do."""
    await trio.sleep(5.5)  # the protocol allows a handshake in 5 s
    public = PrivateKey(client.raw).public
    go.remove(public)
    began = time.monotonic()
    path = next(iter(client.tunnels._tunnels["fly"]._parts.link.paths.values()))
    port = path._up["udp"]._socket.getsockname()[1]
    async with trio.open_nursery() as nursery:

        async def come_back() -> None:
            await trio.sleep(1)
            go.peer(public, f"endpoint 127.0.0.1:{port} persistent-keepalive 1")

        nursery.start_soon(come_back)
        again = await client.ask(host, b"again") == b"again"
    return {"again": again, "recovered_after_s": round(time.monotonic() - began, 2)}


def main() -> None:
    folder = Path(sys.argv[1])
    go = wireguard_go.Gateway(folder)
    try:
        for address in (MACHINE, FLYCAST, IPv6Address("fdaa:0:18:a7b:7d:f066:b83b:3")):
            go.run(f"ip addr add {address}/128 dev lo")
        print(json.dumps(trio.run(scene, folder, go)))
    finally:
        go.process.terminate()
        go.process.wait(5)


if __name__ == "__main__":
    main()
