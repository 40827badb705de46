"""Runs in a network namespace of its own, beside wireguard-go; says in JSON what it saw. See `test_interop`."""

import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.events import SessionEstablished
from mcpctld.protocols.wireguard.keys import PresharedKey, PrivateKey, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.forge import forged_initiation
from wireguard.udp import UdpDevice

THEIRS, OURS = "fdaa:0:18::3", "fdaa:0:18:a7b:d6b:0:a:2"
PORT = 51820
NETWORK = (ipaddress.ip_network("fdaa:0:18::/48"),)


class Gateway:
    """wireguard-go on `wg0`."""

    def __init__(self, folder: Path) -> None:
        self.raw = os.urandom(32)
        self.key = PrivateKey(self.raw)
        self.folder = folder
        self.run("ip link set lo up")
        self.process = subprocess.Popen(
            ["wireguard-go", "-f", "wg0"], stderr=(folder / "log").open("w")
        )
        self.wait()
        key = self.secret("gw.key", self.raw)
        self.run(f"wg set wg0 listen-port {PORT} private-key {key}")
        self.run(f"ip addr add {THEIRS}/128 dev wg0", "ip link set wg0 mtu 1420 up")
        self.run(f"ip route add {OURS}/128 dev wg0")

    def wait(self) -> None:
        for _ in range(200):
            if not subprocess.run(["wg", "show", "wg0"], capture_output=True).returncode:
                return
            time.sleep(0.02)
        raise RuntimeError("wireguard-go does not start: " + (self.folder / "log").read_text())

    def run(self, *commands: str) -> str:
        outputs = [subprocess.check_output(command.split(), text=True) for command in commands]
        return outputs[-1]

    def secret(self, name: str, raw: bytes) -> Path:
        path = self.folder / name
        path.write_text(encode_key(raw))
        return path

    def peer(self, public: bytes, options: str = "") -> None:
        self.run(f"wg set wg0 peer {encode_key(public)} allowed-ips {OURS}/128 {options}")

    def remove(self, public: bytes) -> None:
        self.run(f"wg set wg0 peer {encode_key(public)} remove")


def spec(gateway: Gateway, **options) -> PeerSpec:
    return PeerSpec(gateway.key.public, NETWORK, endpoint=("127.0.0.1", PORT), **options)


def we_begin(gateway: Gateway, ours: PrivateKey) -> dict:
    preshared = os.urandom(32)
    gateway.peer(ours.public, f"preshared-key {gateway.secret('psk', preshared)}")
    node = UdpDevice(ours)
    node.add(spec(gateway, preshared_key=PresharedKey(preshared)))
    pings = [node.ping(OURS, THEIRS, number) for number in range(20)]
    return {"pings": pings, "sessions": sessions(node), "drops": drops(node)}


def they_begin(gateway: Gateway, ours: PrivateKey) -> dict:
    node = UdpDevice(ours)
    node.add(PeerSpec(gateway.key.public, NETWORK))  # it has to come by itself
    gateway.peer(ours.public, f"endpoint 127.0.0.1:{node.port} persistent-keepalive 1")
    came = node.run(lambda: sessions(node), 8)
    pings = [node.ping(OURS, THEIRS, number) for number in range(20)]
    return {"came": bool(came), "pings": pings, "sessions": sessions(node), "drops": drops(node)}


def gateway_forgets_and_comes_back(gateway: Gateway, ours: PrivateKey) -> dict:
    """As Fly's gateways do: the peer is evicted, an initiation makes it known again, and the gateway begins."""
    gateway.peer(ours.public)
    node = UdpDevice(ours)
    node.add(spec(gateway))
    first = node.ping(OURS, THEIRS, 1)
    gateway.remove(ours.public)
    began = time.monotonic()
    lost = node.ping(OURS, THEIRS, 2, within_s=1.0)
    node.run(lambda: node.device.statistics().peers[gateway.key.public].unanswered, 17)
    waited = time.monotonic() - began
    node.run(lambda: False, 0.2)  # the initiation is out, and comes to nobody who knows us
    gateway.peer(ours.public, f"endpoint 127.0.0.1:{node.port} persistent-keepalive 1")
    numbers = iter(range(3, 99))
    again = any(node.ping(OURS, THEIRS, next(numbers), within_s=0.2) for _ in range(40))
    took = time.monotonic() - began
    return {"first": first, "lost": lost, "initiated_after_s": waited, "again": again} | {
        "recovered_after_s": took,
        "sessions": sessions(node),
        "drops": drops(node),
    }


@contextlib.contextmanager
def flooded(gateway: Gateway) -> Iterator[None]:
    """Bursts of initiations by somebody else, which keep wireguard-go under load: a second after its queue was long."""
    flood = [forged_initiation(gateway.key.public, os.urandom) for _ in range(600)]
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            while not over.wait(0.05):
                for datagram in flood:
                    stranger.sendto(datagram, ("127.0.0.1", PORT))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        over.set()
        thread.join()


def they_ask_for_cookies(gateway: Gateway, ours: PrivateKey) -> dict:
    """In the midst of a flood our initiation is answered with a cookie; the next one carries it."""
    gateway.peer(ours.public)
    node = UdpDevice(ours)
    node.add(spec(gateway))
    seen: list[
        tuple[int, bool]
    ] = []  # the type of each handshake message, and whether it has a MAC2

    def watch(data: bytes, sent: bool) -> None:
        if data[0] < 4:
            seen.append((data[0], data[0] < 3 and any(data[-16:])))

    node.watch = watch
    for _ in range(4):  # it may have been between two bursts, or in a queue that was full
        with flooded(gateway):
            node.device.initiate(gateway.key.public, time.monotonic())
            node.run(lambda: (3, False) in seen, 6)
        if (3, False) in seen:
            break
    node.run(lambda: sessions(node) and seen[-1][0] == 2, 8)
    return {"seen": seen, "pings": [node.ping(OURS, THEIRS, 1)], "drops": drops(node)}


def we_ask_for_cookies(gateway: Gateway, ours: PrivateKey) -> dict:
    node = UdpDevice(ours, handshakes_per_second=0)
    node.add(PeerSpec(gateway.key.public, NETWORK))
    gateway.peer(ours.public, f"endpoint 127.0.0.1:{node.port} persistent-keepalive 1")
    came = node.run(lambda: sessions(node), 15)
    replies = node.device.statistics().cookie_replies
    pings = [node.ping(OURS, THEIRS, 1)]
    return {"came": bool(came), "replies": replies, "pings": pings, "drops": drops(node)}


def sessions(node: UdpDevice) -> list[str]:
    found = [event for event in node.events if isinstance(event, SessionEstablished)]
    return ["initiator" if event.is_initiator else "responder" for event in found]


def drops(node: UdpDevice) -> dict[str, int]:
    statistics = node.device.statistics()
    found: dict[Drop, int] = dict(statistics.drops)
    for peer in statistics.peers.values():
        found |= peer.drops
    return {reason.name: times for reason, times in found.items()}


def main() -> None:
    scene, folder = sys.argv[1:]
    gateway = Gateway(Path(folder))
    try:
        seen = globals()[scene](gateway, PrivateKey(os.urandom(32)))
    finally:
        gateway.process.terminate()
        gateway.process.wait(5)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
