"""`mcpctld.tunnels.assembly`: files that can be used and files that cannot, carriers by TLS and proxies, timestamps."""

import functools
import os

import pytest
import trio

from mcpctld.drivers.carriers.websocket import accept_websocket
from mcpctld.errors import McpctlError, UserError
from mcpctld.model import TunnelSpec
from mcpctld.protocols.wireguard.keys import encode_key
from mcpctld.protocols.wireguard.tai64n import encode
from mcpctld.tunnels import assembly
from tunnels.private import OURS, RESOLVER, Network


@pytest.fixture
def network():
    return Network()


def spec(network, folder, **lines: str) -> TunnelSpec:
    conf = network.conf(folder, os.urandom(32), 51820, **lines)
    return TunnelSpec(kind="wireguard", conf=conf)


def put_together(made: TunnelSpec, **stamps: str) -> assembly.Assembly:
    return assembly.assemble(
        made, assembly.load(made), stamps, lambda peer: None, clock=lambda: 7.0
    )


async def test_a_file_that_can_be_used(network, tmp_path):
    made = put_together(
        spec(network, tmp_path, PostUp="echo no", DNS=f"10.0.0.1, {RESOLVER}, internal")
    )
    assert (made.address, made.resolvers, made.mtu) == (OURS, (RESOLVER,), 1280)
    assert made.ignored == ("line 5: PostUp is not executed",)
    [path] = made.link.paths.values()
    assert path.address == ("127.0.0.1", 51820)


@pytest.mark.parametrize(
    ("carrier", "lines", "mtu"),
    [
        ("auto", {}, 1280),
        ("udp", {}, 1280),
        ("websocket", {}, 1420),
        ("auto", {"MTU": "1380"}, 1380),
        ("websocket", {"MTU": "1300"}, 1300),
    ],
)
async def test_how_long_packets_are(network, tmp_path, carrier, lines, mtu):
    conf = spec(network, tmp_path, **lines).conf
    assert put_together(TunnelSpec(kind="wireguard", conf=conf, carrier=carrier)).mtu == mtu


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"Address": "10.0.0.2/24"}, "has no IPv6 address"),
        ({"MTU": "1200"}, "MTU must be 1280 or more"),
        ({"PrivateKey": "secret"}, "PrivateKey: a key is 44 characters"),
    ],
)
async def test_files_that_say_what_cannot_be(network, tmp_path, lines, words):
    with pytest.raises(UserError, match=words) as raised:
        put_together(spec(network, tmp_path, **lines))
    assert "fly.conf" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_nobody_to_connect_to(network, tmp_path):
    made = spec(network, tmp_path)
    path = tmp_path / "fly.conf"
    path.write_text(path.read_text().replace("Endpoint", "# Endpoint"))
    with pytest.raises(UserError, match="no \\[Peer\\] has an Endpoint"):
        put_together(made)


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        (None, b"", "there is no such file"),
        (0o644, b"", "others can read the private key in it; run: chmod 600"),
        (0o622, b"", "others can write"),
        (0o600, b"\xff", "byte 1 is not UTF-8"),
        (0o600, b"", "exactly one \\[Interface\\]"),
    ],
)
def test_files_that_are_none(tmp_path, mode, content, words):
    path = tmp_path / "x.conf"
    if mode is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(UserError, match=words):
        assembly.load(TunnelSpec(kind="wireguard", conf=str(path)))


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Network().conf(tmp_path, os.urandom(32), 1)
    assert assembly.load(TunnelSpec(kind="wireguard", conf="~/fly.conf")).addresses


# ---------------------------------------------------------------- timestamps


async def test_timestamps_outlive_the_daemon(network, tmp_path):
    key = encode_key(network.gateway.key.public)
    later = encode(4_000_000_000.0).hex()
    assembly.write_stamps(str(tmp_path), "fly", {key: later})
    stamps = assembly.read_stamps(str(tmp_path), "fly")
    assert stamps == {key: later}
    made = put_together(spec(network, tmp_path), **stamps)
    assert made.link.device.last_timestamp(network.gateway.key.public).hex() == later


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": "00"}', b'{"x": 1}', b"\xff"])
def test_timestamps_that_are_none(tmp_path, content):
    assert assembly.read_stamps(str(tmp_path), "fly") == {}
    assembly.write_stamps(str(tmp_path), "fly", {})
    (tmp_path / "tunnels" / "fly.json").write_bytes(content)
    assert assembly.read_stamps(str(tmp_path), "fly") == {}


# ---------------------------------------------------------------- WebSockets


async def opened(url: str):
    openers = dict(
        assembly._openers(TunnelSpec(kind="wireguard", conf="/x", websocket=url), "h", 1)
    )
    return await openers["websocket"]()


async def test_a_gateway_whose_certificate_is_of_no_use(serve_tls, nursery):
    """Fly's gateways are reached by address; WireGuard inside knows them by their key."""
    came = trio.Event()

    async def gateway(peer) -> None:
        carrier = await accept_websocket(peer.stream)
        await carrier.run(lambda datagrams: came.set())

    origin, _ = await serve_tls("somebody.else", script=gateway)
    carrier = await opened(f"wss://127.0.0.1:{origin.port}/")
    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(carrier.run, lambda datagrams: None)
            carrier.send([b"datagram"])
            await came.wait()
            running.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def test_through_a_proxy(monkeypatch, nursery):
    asked = []

    async def proxy(stream) -> None:
        asked.append(await stream.receive_some(1000))
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    serve = functools.partial(trio.serve_tcp, proxy, 0, host="127.0.0.1")
    [listener] = await nursery.start(serve)
    port = listener.socket.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(McpctlError, match="403 to CONNECT"):
        await opened("wss://192.0.2.1/")
    assert asked[0].startswith(b"CONNECT 192.0.2.1:443 HTTP/1.1\r\n")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("carrier", "kinds"),
    [("auto", ["udp", "websocket"]), ("udp", ["udp"]), ("websocket", ["websocket"])],
)
def test_which_carriers_there_are(carrier, kinds):
    made = TunnelSpec(kind="wireguard", conf="/x", carrier=carrier)
    assert [kind for kind, _ in assembly._openers(made, "fdaa::1", 51820)] == kinds
