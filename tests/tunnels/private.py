"""A private network for tests: our own gateway on loopback, some names behind it, and files that lead there."""

import os
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network
from pathlib import Path

from mcpctld.localfly.gateway import Gateway
from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.wireguard.keys import PrivateKey, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec

RESOLVER = IPv6Address("fdaa:0:18::3")
OURS = IPv6Address("fdaa:0:18:a7b:d6b:0:a:2")
MACHINES = [IPv6Address(f"fdaa:0:18:a7b:7d:f066:b83b:{number}") for number in (2, 3, 4)]
FLYCAST = IPv6Address("fdaa:0:18:0:1::5")


class Inside:
    """`my-app` has machines that listen where `ports` says; the proxy's address leads to the first of them."""

    resolver = RESOLVER

    def __init__(self) -> None:
        self.ports: dict[tuple[IPv6Address, int], int] = {}
        self.texts: dict[str, list[bytes]] = {"_apps.internal": [b"my-app"]}
        self.asked: list[str] = []
        self.hosts: dict[str, list[IPv6Address]] = {
            "my-app.internal": [MACHINES[1], MACHINES[0]],
            "top1.nearest.of.my-app.internal": [MACHINES[0]],
            "d8d9014b2c3e78.vm.my-app.internal": [MACHINES[1]],
            "ams.my-app.internal": [MACHINES[1]],
            "my-app.flycast": [FLYCAST],
        }

    def listen(self, port: int, inside: int = 8080) -> None:
        """Behind all addresses is this port of ours."""
        for address in (*MACHINES[:2], FLYCAST):
            self.ports[address, inside] = port

    def knows(self, address: IPv6Address) -> bool:
        return address in (RESOLVER, FLYCAST, *MACHINES)

    def names(self, name: str, kind: int) -> Sequence[bytes] | None:
        self.asked.append(name)
        if kind == Kind.TXT:
            return self.texts.get(name)
        hosts = self.hosts.get(name)
        return None if hosts is None else [address.packed for address in hosts]

    def forward(self, address: IPv6Address, port: int) -> tuple[str, int] | None:
        found = self.ports.get((address, port))
        return None if found is None else ("127.0.0.1", found)


class Network:
    """A gateway that can go and come back, and who may come in."""

    def __init__(self) -> None:
        self.inside = Inside()
        self.raw = os.urandom(32)
        self.clients: dict[bytes, PeerSpec] = {}
        self.gateway = self.make()

    def make(self, **options) -> Gateway:
        """A gateway with the same key, which has forgotten all that was."""
        self.gateway = Gateway(PrivateKey(self.raw), self, self.inside, **options)
        return self.gateway

    def find(self, public_key: bytes) -> PeerSpec | None:
        return self.clients.get(public_key)

    def admit(self, address: IPv6Address = OURS, *, known: bool = True) -> bytes:
        """A client with a new key; `known`: the gateway need not ask for it first."""
        raw = os.urandom(32)
        public = PrivateKey(raw).public
        self.clients[public] = PeerSpec(public, (ip_network(f"{address}/128"),))
        if known:
            self.gateway.device.add_peer(self.clients[public], self.gateway._clock())
        return raw

    def conf(self, folder: Path, raw: bytes, port: int, **lines: str) -> str:
        """A file for the client with this key."""
        interface = {
            "PrivateKey": encode_key(raw),
            "Address": f"{OURS}/120",
            "DNS": str(RESOLVER),
        }
        peer = {
            "PublicKey": encode_key(self.gateway.key.public),
            "AllowedIPs": "fdaa:0:18::/48",
            "Endpoint": f"127.0.0.1:{port}",
        }
        text = "\n".join(
            ["[Interface]", *(f"{key} = {value}" for key, value in (interface | lines).items()),
             "[Peer]", *(f"{key} = {value}" for key, value in peer.items()), ""]
        )  # fmt: skip
        path = folder / "fly.conf"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)
