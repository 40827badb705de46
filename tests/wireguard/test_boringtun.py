"""boringtun, as mitmproxy_rs has it: no root is needed. It asks for cookies after ten handshakes."""

import contextlib
import importlib.util
import ipaddress
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from harness import unavailable
from mcpctld.protocols.wireguard.events import PacketReceived
from mcpctld.protocols.wireguard.keys import PrivateKey, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.inner import udp
from wireguard.udp import UdpDevice

pytestmark = pytest.mark.slow

THEIRS, OURS = "fdaa:0:18::3", "fdaa:0:18:a7b:d6b:0:a:2"


@pytest.fixture
def gateway(tmp_path):
    """Its key, ours, and where it is."""
    if importlib.util.find_spec("mitmproxy_rs") is None:
        unavailable("mitmproxy_rs", "mitmproxy_rs is not installed")
    raw, ours = os.urandom(32), PrivateKey(os.urandom(32))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = tmp_path / "key"
    key.write_text(encode_key(raw))
    script = Path(__file__).with_name("boringtun_server.py")
    argv = [sys.executable, str(script), str(port), str(key), encode_key(ours.public)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        network = (ipaddress.ip_network("fdaa:0:18::/48"),)
        yield ours, PeerSpec(PrivateKey(raw).public, network, endpoint=("127.0.0.1", port))
        process.stdin.close()


def ask(node: UdpDevice, number: int) -> bool:
    """Whether a datagram comes back."""
    payload = b"%d" % number
    before = len(node.seen(PacketReceived))
    node.device.send_packet(udp(OURS, THEIRS, 5000 + number, payload), time.monotonic())
    node.run(lambda: len(node.seen(PacketReceived)) > before, 8)
    answers = node.seen(PacketReceived)[before:]
    return [event.packet[48:] for event in answers] == [payload]


def test_packets_and_cookies(gateway):
    ours, spec = gateway
    with contextlib.closing(UdpDevice(ours)) as node:
        node.add(spec)
        assert all(ask(node, number) for number in range(20))
        last = node.device.last_timestamp(spec.public_key)
    messages: list[tuple[int, bool]] = []

    def watch(data: bytes, sent: bool) -> None:
        if data[0] < 4:
            messages.append((data[0], data[0] < 3 and any(data[-16:])))

    for number in range(20, 40):  # each of them begins anew
        with contextlib.closing(UdpDevice(ours)) as node:
            node.watch = watch
            node.add(msgspec.structs.replace(spec, last_timestamp=last))
            assert ask(node, number)
            last = node.device.last_timestamp(spec.public_key)
        if (3, False) in messages:
            break
    assert messages[-4:] == [(1, False), (3, False), (1, True), (2, False)]
