"""Which tunnel leads to a host: by the patterns of `[tunnels.NAME]` in `config.toml`, in their order."""

import fnmatch
import importlib
import ipaddress
import socket
from collections.abc import Callable
from types import ModuleType
from typing import Protocol

import trio

from mcpctl import shapes
from mcpctld.errors import NotFound
from mcpctld.model import Settings, TunnelSpec

FLY = ipaddress.ip_network("fdaa::/16")
"""Fly's private networks."""
_FLY_RESOLVER = "fdaa::3"


class Tunnel(Protocol):
    """One way into a private network."""

    spec: TunnelSpec

    async def open_stream(self, host: str, port: int) -> trio.abc.Stream:
        """A TCP connection to a host there. Raises `McpctlError`."""

    async def probe(self) -> shapes.TunnelProbe:
        """Round trip and loss, now. Raises `McpctlError`."""

    async def forget(self) -> None:
        """Take away what was made for it elsewhere. Raises `McpctlError`."""

    def renew(self) -> None:
        """The network is another one, or we have slept."""

    def close(self) -> None:
        """Close what is open."""

    def info(self) -> shapes.TunnelInfo:
        """Everything, now."""


class Tunnels:
    """All tunnels. One that nobody needs costs nothing: what makes it is loaded with its first use."""

    def __init__(
        self, nursery: trio.Nursery, settings: Callable[[], Settings], state_dir: str
    ) -> None:
        """`settings` are asked each time, so a change counts at once."""
        self._nursery = nursery
        self._settings = settings
        self._state_dir = state_dir
        self._tunnels: dict[str, Tunnel] = {}

    def find(self, host: str) -> str | None:
        """The name of the tunnel to a host; None for none, and where this system has a way of its own."""
        for name, spec in self._settings().tunnels.items():
            if any(matches(pattern, host) for pattern in spec.hosts):
                return None if is_of_fly(host) and system_reaches_fly() else name
        return None

    async def open_stream(self, name: str, host: str, port: int) -> trio.abc.Stream:
        """A connection through a tunnel. Raises `McpctlError`."""
        tunnel = await self._get(name)
        return await tunnel.open_stream(host, port)

    async def probe(self, name: str) -> shapes.TunnelProbe:
        """Round trip and loss, now. Raises `McpctlError`."""
        tunnel = await self._get(name)
        return await tunnel.probe()

    async def forget(self, name: str) -> None:
        """Close a tunnel, and take away its peer at Fly. Raises `McpctlError`."""
        tunnel = await self._get(name)
        await tunnel.forget()

    def renew(self) -> None:
        """The network is another one, or we have slept."""
        for tunnel in self._tunnels.values():
            tunnel.renew()

    def infos(self) -> list[shapes.TunnelInfo]:
        """All that are configured."""
        self._retire()
        return [self._info(name, spec) for name, spec in self._settings().tunnels.items()]

    def _info(self, name: str, spec: TunnelSpec) -> shapes.TunnelInfo:
        if (tunnel := self._tunnels.get(name)) is not None:
            return tunnel.info()
        return {
            "name": name, "kind": spec.kind, "hosts": list(spec.hosts), "state": "closed", "address": None,
            "opened_at": None, "connections": 0, "peers": [], "probe": None, "last_error": None,
        }  # fmt: skip

    async def _get(self, name: str) -> Tunnel:
        wireguard, agent = await trio.to_thread.run_sync(_modules)
        self._retire()
        spec = self._settings().tunnels.get(name)
        if spec is None:
            raise NotFound(f"there is no tunnel {name!r}; mcpctl tunnels lists them")
        tunnel = self._tunnels.get(name)
        if tunnel is None and spec.kind == "flyctl-agent":
            tunnel = self._tunnels[name] = agent.FlyctlAgentTunnel(name, spec)
        elif tunnel is None:
            tunnel = wireguard.WireGuardTunnel(name, spec, self._nursery, self._state_dir)
            self._tunnels[name] = tunnel
        return tunnel

    def _retire(self) -> None:
        """Close those whose configuration is another one now, or gone."""
        specs = self._settings().tunnels
        for name, tunnel in tuple(self._tunnels.items()):
            if specs.get(name) != tunnel.spec:
                del self._tunnels[name]
                tunnel.close()


def _modules() -> tuple[ModuleType, ModuleType]:
    """The two kinds. Late: what they need is larger than a daemon without tunnels."""
    names = ("mcpctld.tunnels.wireguard", "mcpctld.tunnels.flyctl_agent")
    wireguard, agent = map(importlib.import_module, names)
    return wireguard, agent


def matches(pattern: str, host: str) -> bool:
    """Whether a pattern of `hosts` covers a host: a name, `*.SUFFIX`, an address, or a network of them."""
    address = _address(host)
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return address is None and fnmatch.fnmatchcase(host.lower().rstrip("."), pattern.lower())
    return address is not None and address in network


def is_of_fly(host: str) -> bool:
    """Whether a name or address is of Fly's private networks."""
    address = _address(host)
    if address is not None:
        return address in FLY
    return host.lower().rstrip(".").endswith((".internal", ".flycast"))


def system_reaches_fly() -> bool:
    """Whether this system has an address in Fly's networks and a route there, by `wg-quick` say."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((_FLY_RESOLVER, 53))  # of a UDP socket: nothing is sent
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) in FLY
    except OSError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
