"""What `peers` needs, with Fly's API and threads in it."""

import os

import trio

from mcpctld.errors import NotFound
from mcpctld.fly.client import Fly
from mcpctld.fly.endpoints import find_endpoints
from mcpctld.model import TunnelSpec
from mcpctld.protocols.wireguard.wg_quick import TunnelSettings
from mcpctld.tunnels.peers import Peer, PeerFile, forget, obtain
from mcpctld.tunnels.tls import system_context


class Kept:
    """A `PeerFile` that keeps nobody waiting."""

    def __init__(self, file: PeerFile) -> None:
        self._file = file

    async def read(self) -> Peer | None:
        """As `PeerFile`."""
        return await trio.to_thread.run_sync(self._file.read)

    async def write(self, peer: Peer) -> None:
        """As `PeerFile`."""
        await trio.to_thread.run_sync(self._file.write, peer)

    async def remove(self) -> None:
        """As `PeerFile`."""
        await trio.to_thread.run_sync(self._file.remove)


async def load(name: str, spec: TunnelSpec, state_dir: str) -> TunnelSettings:
    """The settings of a tunnel of kind `fly`. Raises `McpctlError`."""
    kept = Kept(PeerFile(state_dir, name))
    async with await _connect(state_dir) as fly:
        peer = await obtain(fly.graphql, kept, spec, os.urandom)
    return peer.settings()


async def remove(name: str, state_dir: str) -> None:
    """Take its peer away. Raises `NotFound` if it has none, other `McpctlError`s if Fly does not do it."""
    kept = Kept(PeerFile(state_dir, name))
    peer = await kept.read()
    if peer is None:
        raise NotFound(f"the tunnel {name} has no peer at Fly")
    async with await _connect(state_dir) as fly:
        await forget(fly.graphql, kept, peer)


async def _connect(state_dir: str) -> Fly:
    endpoints = await trio.to_thread.run_sync(find_endpoints, "fly.io", os.environ, state_dir)
    return Fly(endpoints, context=system_context)
