"""Peers of WireGuard at Fly: made by GraphQL with a key of this daemon's own, looked after, and taken away again.

There is no REST for this, and no promise; it is what flyctl asks for. A peer that is to be made is written down first:
if we are killed meanwhile, its name is known, and it is taken away before another is made.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from mcpctld.config.files import read_regular, write_private
from mcpctld.config.places import make_private_folder
from mcpctld.errors import McpctlError, PeerError, UserError
from mcpctld.model import TunnelSpec
from mcpctld.protocols.wireguard.keys import PrivateKey, decode_key, encode_key
from mcpctld.protocols.wireguard.wg_quick import PeerSettings, TunnelSettings

PORT = 51820
_RESOLVER = 3  # the host of its network (fdaa:0:18::3) that knows the names
_PREFIX = 48  # of an organisation's network
_OWN_PREFIX = 120  # of a peer
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")

_ORGANIZATION = "query($slug: String!) { organization(slug: $slug) { id slug } }"
_ADD = (
    "mutation($input: AddWireGuardPeerInput!) "
    "{ addWireGuardPeer(input: $input) { peerip endpointip pubkey } }"
)
_VALIDATE = (
    "mutation($input: ValidateWireGuardPeersInput!) "
    "{ validateWireGuardPeers(input: $input) { invalidPeerIps } }"
)
_REMOVE = (
    "mutation($input: RemoveWireGuardPeerInput!) "
    "{ removeWireGuardPeer(input: $input) { organization { id } } }"
)


class GraphQL(Protocol):
    """How Fly is asked: `mcpctld.fly.graphql.GraphQL`."""

    async def query(
        self,
        doing: str,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        """The `data` of the answer. Raises `McpctlError`."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a peer. `address`, `endpoint` and `gateway` are empty until it has been made."""

    org: str
    organization: str
    """The id of the organisation."""
    network: str
    region: str
    name: str
    private: str
    address: str = ""
    endpoint: str = ""
    gateway: str = ""
    """The public key of its gateway."""

    def __repr__(self) -> str:
        return f"<Peer {self.name} of {self.org}>"

    def fits(self, spec: TunnelSpec) -> bool:
        """Whether it is the one that is configured."""
        return (self.org, self.network, self.region) == (spec.org, spec.network, spec.region)

    def settings(self) -> TunnelSettings:
        """As a file of `wg-quick` would have it. Raises `PeerError` if Fly's answer makes none."""
        try:
            own = ipaddress.IPv6Address(self.address)
            network = ipaddress.IPv6Network((own, _PREFIX), strict=False)
            gateway = decode_key(self.gateway)
            if not _HOST.fullmatch(self.endpoint):
                raise ValueError("no endpoint")
        except ValueError as exc:
            raise PeerError(
                f"Fly's answer about the WireGuard peer {self.name} is none: {exc}"
            ) from exc
        return TunnelSettings(
            private_key=PrivateKey.from_text(self.private),
            addresses=(ipaddress.IPv6Interface((own, _OWN_PREFIX)),),
            peers=(PeerSettings(gateway, allowed_ips=(network,), endpoint=(self.endpoint, PORT)),),
            dns=(network[_RESOLVER],),
        )


class PeerFile:
    """Where the peer of one tunnel is kept, mode 0600. Blocking."""

    def __init__(self, state_dir: str, name: str) -> None:
        self._folder = os.path.join(state_dir, "tunnels")
        self._path = os.path.join(self._folder, f"{name}.peer.json")

    def read(self) -> Peer | None:
        """None if there is none that can be used."""
        try:
            found = read_regular(self._path, follow=False)
            return msgspec.json.decode(found.data, type=Peer) if found else None
        except (UserError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def write(self, peer: Peer) -> None:
        """Keep it. Raises `UserError`."""
        make_private_folder(self._folder)
        write_private(self._path, msgspec.json.encode(peer))

    def remove(self) -> None:
        """Forget it."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass


class Keeper(Protocol):
    """`PeerFile` in threads."""

    async def read(self) -> Peer | None:
        """As there."""

    async def write(self, peer: Peer) -> None:
        """As there."""

    async def remove(self) -> None:
        """As there."""


async def obtain(
    graphql: GraphQL, keeper: Keeper, spec: TunnelSpec, entropy: Callable[[int], bytes]
) -> Peer:
    """The peer of a tunnel: the one that is kept, if Fly still knows it, or another. Raises `McpctlError`."""
    kept = await keeper.read()
    if kept is not None and kept.address and kept.fits(spec) and await _is_valid(graphql, kept):
        return kept
    if kept is not None:
        await forget(graphql, keeper, kept)
    return await _make(graphql, keeper, spec, entropy)


async def forget(graphql: GraphQL, keeper: Keeper, peer: Peer) -> None:
    """Take it away at Fly, and here. Raises `McpctlError`, and keeps it then, unless Fly does not know it."""
    name = {"organizationId": peer.organization, "name": peer.name}
    try:
        await graphql.query(f"remove the WireGuard peer {peer.name}", _REMOVE, {"input": name})
    except McpctlError as exc:
        if exc.kind not in ("not-found", "bad-request"):  # it is gone already
            raise
    await keeper.remove()


async def _is_valid(graphql: GraphQL, peer: Peer) -> bool:
    """Whether Fly knows it. Where nobody can be asked it is taken to be."""
    ask = {"input": {"peerIps": [peer.address]}}
    try:
        data = await graphql.query("validate a WireGuard peer", _VALIDATE, ask, repeatable=True)
    except McpctlError as exc:
        if exc.kind not in ("unreachable", "timeout"):
            raise
        return True  # noqa: ASYNC910  (the question has waited)
    answer = data.get("validateWireGuardPeers")
    invalid = answer.get("invalidPeerIps") if isinstance(answer, dict) else None
    return peer.address not in (invalid or ())


async def _make(
    graphql: GraphQL, keeper: Keeper, spec: TunnelSpec, entropy: Callable[[int], bytes]
) -> Peer:
    org = spec.org or ""
    raw = entropy(32)
    peer = Peer(
        org=org,
        organization=await _organization(graphql, org),
        network=spec.network,
        region=spec.region,
        name=f"mcpctl-{entropy(6).hex()}",
        private=encode_key(raw),
    )
    await keeper.write(peer)
    values = {
        "organizationId": peer.organization,
        "name": peer.name,
        "pubkey": encode_key(PrivateKey(raw).public),
        "network": peer.network or None,
        "region": peer.region or None,
    }
    given = {"input": {key: value for key, value in values.items() if value is not None}}
    data = await graphql.query(f"make a WireGuard peer for {org}", _ADD, given)
    made = msgspec.structs.replace(peer, **_read(data.get("addWireGuardPeer")))
    made.settings()  # that it can be used, before it is kept
    await keeper.write(made)
    return made


def _read(answer: object) -> dict[str, str]:
    found = answer if isinstance(answer, dict) else {}
    names = {"address": "peerip", "endpoint": "endpointip", "gateway": "pubkey"}
    return {ours: str(found.get(theirs) or "") for ours, theirs in names.items()}


async def _organization(graphql: GraphQL, slug: str) -> str:
    doing = f"find the organisation {slug}"
    data = await graphql.query(doing, _ORGANIZATION, {"slug": slug}, repeatable=True)
    found = data.get("organization")
    id = found.get("id") if isinstance(found, dict) else None
    if not isinstance(id, str) or not id:
        raise UserError(
            f"there is no organisation {slug!r} that the token may see; fly orgs list shows them"
        )
    return id
