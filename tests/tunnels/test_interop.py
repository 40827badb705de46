"""Our tunnels with others: wireguard-go and the TCP of the kernel, in a namespace; boringtun and smoltcp."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness import unavailable
from mcpctld.protocols.wireguard.keys import PrivateKey, encode_key
from tunnels.private import Network
from tunnels.test_wireguard import Client
from wireguard.test_interop import UNSHARE, needed  # noqa: F401  (a fixture)

BESIDE = Path(__file__).parent / "in_namespace.py"


@pytest.mark.slow
@pytest.mark.usefixtures("needed")
def test_http_through_wireguard_go(tmp_path):
    argv = [*UNSHARE, sys.executable, str(BESIDE), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])  # wireguard-go complains there, too
    assert seen.pop("recovered_after_s") < 16, seen
    assert seen == {
        "udp my-app.internal": [True, "udp", 1],
        "udp my-app.flycast": [True, "udp", 1],
        "websocket my-app.internal": [True, "websocket", 1],
        "websocket my-app.flycast": [True, "websocket", 1],
        "again": True,
    }


class Boringtun:
    """A gateway of mitmproxy_rs in a process of its own: what `Client` needs of it."""

    websocket_port = 0

    def __init__(self, folder: Path) -> None:
        self.gateway = self
        self.folder = folder
        self.raw = os.urandom(32)
        self.key = PrivateKey(self.raw)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.udp_port = free.getsockname()[1]

    def admit(self, *, known: bool) -> bytes:
        raw = os.urandom(32)
        key = self.folder / "gateway.key"
        key.write_text(encode_key(self.raw))
        script = Path(__file__).with_name("boringtun_gateway.py")
        client = encode_key(PrivateKey(raw).public)
        argv = [sys.executable, str(script), str(self.udp_port), str(key), client]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        return raw

    def conf(self, folder: Path, raw: bytes, port: int) -> str:
        return Network.conf(self, folder, raw, port)  # type: ignore[arg-type]

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture
def boringtun(tmp_path):
    if importlib.util.find_spec("mitmproxy_rs") is None:
        unavailable("mitmproxy_rs", "mitmproxy_rs is not installed")
    gateway = Boringtun(tmp_path)
    yield gateway
    gateway.close()


@pytest.mark.slow
async def test_http_through_boringtun(nursery, tmp_path, boringtun):
    client = Client(nursery, boringtun, tmp_path, carrier="udp")
    body = os.urandom(300_000)
    for host in ("my-app.internal", "my-app.flycast"):
        assert await client.ask(host, body) == body
    [peer] = client.info["peers"]
    assert (client.info["state"], peer["carrier"]) == ("up", "udp")
    nursery.cancel_scope.cancel()
