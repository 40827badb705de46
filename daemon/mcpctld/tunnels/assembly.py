"""From a `wg-quick` file to the parts of a tunnel: device, carriers, stack. Blocking where it reads and writes."""

import os
import shlex
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import urlsplit

import msgspec
import trio

from mcpctld.config.files import check_trust, read_regular, write_private
from mcpctld.config.places import make_private_folder
from mcpctld.drivers.carriers.carrier import Carrier, Kind, Opener, boot_time
from mcpctld.drivers.carriers.link import WireGuardLink
from mcpctld.drivers.carriers.udp import open_udp
from mcpctld.drivers.carriers.websocket import open_websocket
from mcpctld.drivers.http.request import Origin
from mcpctld.drivers.inet.host import Host
from mcpctld.errors import UserError
from mcpctld.model import TunnelSpec
from mcpctld.protocols.inet.ipv6 import MIN_MTU
from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.keys import decode_key, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec
from mcpctld.protocols.wireguard.tai64n import SIZE
from mcpctld.protocols.wireguard.wg_quick import PeerSettings, TunnelSettings, parse
from mcpctld.tunnels import direct, proxy
from mcpctld.tunnels.tls import start_tls

UDP_MTU = 1280
"""What gets through everywhere: a datagram that is too long for a network on the way is lost without a word."""
WEBSOCKET_MTU = 1420
WEBSOCKET_PORT = 443
FOLDER = "tunnels"


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts, put together; `link.run` and `host.run` make them live."""

    link: WireGuardLink
    host: Host
    address: IPv6Address
    resolvers: tuple[IPv6Address, ...]
    mtu: int
    ignored: tuple[str, ...]
    """What the file says and we do not do, for the log."""


def load(spec: TunnelSpec) -> TunnelSettings:
    """What the file of a tunnel says. Raises `UserError`."""
    path = os.path.expanduser(spec.conf)
    try:
        found = read_regular(path)
        if found is None:
            raise UserError("there is no such file")
        check_trust(found, path)
        if found.mode & 0o077:
            raise UserError(
                f"others can read the private key in it; run: chmod 600 {shlex.quote(path)}"
            )
        text = found.data.decode("utf-8-sig")
    except UserError as exc:
        raise UserError(f"cannot use {path}: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise UserError(f"cannot use {path}: byte {exc.start + 1} is not UTF-8") from exc
    return parse(text, path)


def assemble(
    spec: TunnelSpec,
    settings: TunnelSettings,
    stamps: Mapping[str, str],
    established: Callable[[bytes], None],
    *,
    clock: Callable[[], float] = boot_time,
) -> Assembly:
    """Put a tunnel together. `stamps`: see `read_stamps`. Raises `UserError`."""
    address = _address(spec, settings)
    mtu = settings.mtu or (WEBSOCKET_MTU if spec.carrier == "websocket" else UDP_MTU)
    if mtu < MIN_MTU:
        raise UserError(f"cannot use {spec.conf}: MTU must be {MIN_MTU} or more, for IPv6")
    now = clock()
    device = Device(settings.private_key, os.urandom, now=now, unix_time=time.time(), mtu=mtu)
    endpoints = {}
    for peer in settings.peers:
        device.add_peer(_peer_spec(peer, stamps), now)
        if peer.endpoint is not None:
            endpoints[peer.public_key] = (peer.endpoint, dict(_openers(spec, *peer.endpoint)))
    if not endpoints:
        raise UserError(f"cannot use {spec.conf}: no [Peer] has an Endpoint to connect to")
    link = WireGuardLink(device, endpoints, clock=clock, established=established)
    host = Host(Stack(address.packed, mtu, os.urandom), link)
    resolvers = tuple(one for one in settings.dns if isinstance(one, IPv6Address))
    return Assembly(link, host, address, resolvers, mtu, settings.ignored)


def _address(spec: TunnelSpec, settings: TunnelSettings) -> IPv6Address:
    for interface in settings.addresses:
        if isinstance(interface.ip, IPv6Address):
            return interface.ip
    raise UserError(
        f"cannot use {spec.conf}: Address has no IPv6 address, and nothing else is spoken"
    )


def _peer_spec(peer: PeerSettings, stamps: Mapping[str, str]) -> PeerSpec:
    made = peer.spec(peer.endpoint)
    stamp = stamps.get(encode_key(peer.public_key))
    if stamp is None:
        return made
    return msgspec.structs.replace(made, last_timestamp=bytes.fromhex(stamp))


# ---------------------------------------------------------------- carriers


def _openers(spec: TunnelSpec, host: str, port: int) -> Iterator[tuple[Kind, Opener]]:
    if spec.carrier in ("auto", "udp"):
        yield "udp", lambda: open_udp(host, port)
    if spec.carrier in ("auto", "websocket"):
        authority = f"[{host}]" if ":" in host else host
        url = spec.websocket or f"wss://{authority}:{WEBSOCKET_PORT}/"
        yield "websocket", lambda: _open_websocket(url)


async def _open_websocket(url: str) -> Carrier:
    """A WebSocket, through a proxy where one is set. Raises `McpctlError`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    through = proxy.for_origin(Origin("https" if secure else "http", host, port))
    if through is not None:
        stream: trio.abc.Stream = await proxy.open_stream(through, host, port)
    else:
        stream = await direct.open_stream(host, port)
    if secure:
        stream = await start_tls(stream, host, _unverified())
    return await open_websocket(stream, url)


def _unverified() -> ssl.SSLContext:
    """For Fly's gateways, whose certificates are of no use: they are reached by their addresses.

    Nothing rests on it. WireGuard inside knows the gateway by its key; TLS is only there to get through.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


# ---------------------------------------------------------------- timestamps


def read_stamps(state_dir: str, name: str) -> dict[str, str]:
    """The last timestamp of our initiations to each peer, by its public key; empty where there is none.

    A gateway refuses an initiation that is not newer than all before it, though our clock was set back meanwhile and
    the daemon has started anew.
    """
    try:
        found = read_regular(_stamps_file(state_dir, name), follow=False)
        read = msgspec.json.decode(found.data, type=dict[str, str]) if found else {}
        return {key: value for key, value in read.items() if _is_stamp(key, value)}
    except (UserError, msgspec.DecodeError):
        return {}


def write_stamps(state_dir: str, name: str, stamps: Mapping[str, str]) -> None:
    """Keep them. Raises `UserError`."""
    make_private_folder(os.path.join(state_dir, FOLDER))
    write_private(_stamps_file(state_dir, name), msgspec.json.encode(dict(stamps)))


def _stamps_file(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, FOLDER, f"{name}.json")


def _is_stamp(key: str, value: str) -> bool:
    try:
        decode_key(key)
        return len(bytes.fromhex(value)) == SIZE
    except ValueError:
        return False
