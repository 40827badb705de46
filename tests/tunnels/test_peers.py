"""`mcpctld.tunnels.peers` and `fly`: our own client of Fly's API, against a GraphQL server that knows our gateway."""

import base64
import json
import os
from ipaddress import ip_network

import pytest
import trio

from mcpctld.errors import McpctlError, NotFound, PeerError, UserError
from mcpctld.model import Settings, TunnelSpec
from mcpctld.protocols.wireguard.keys import PrivateKey, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec
from mcpctld.tunnels import fly
from mcpctld.tunnels.peers import Peer, PeerFile
from peers import Peer as Connection
from peers import Server
from tunnels.private import OURS, Network
from tunnels.test_wireguard import Client

TOKEN = "fm2_a-token"
SPEC = TunnelSpec(kind="fly", org="personal", region="ams", network="other")


class Api:
    """The GraphQL that we use of Fly's. `fail`: what is answered to the query with this field instead."""

    def __init__(self) -> None:
        self.gateway_key = encode_key(PrivateKey(bytes(range(32))).public)
        self.address = str(OURS)
        self.asked: list[tuple[str, dict]] = []
        self.peers: dict[str, bytes] = {}
        self.fail: dict[str, object] = {}
        self.server = Server(self._serve)

    async def _serve(self, connection: Connection) -> None:
        while True:
            head, body = await connection.request()
            assert f"authorization: FlyV1 {TOKEN}".lower() in head.lower()
            await connection.answer(
                self._answer(json.loads(body)), "Content-Type: application/json"
            )

    def _answer(self, asked: dict) -> bytes:
        field = next(name for name in FIELDS if name in asked["query"])
        variables = asked["variables"]
        self.asked.append((field, variables))
        if field in self.fail:
            return json.dumps(self.fail[field]).encode()
        return json.dumps({"data": {field: FIELDS[field](self, *variables.values())}}).encode()

    def organization(self, slug: str) -> dict | None:
        return {"id": "org-id", "slug": slug} if slug == "personal" else None

    def add(self, given: dict) -> dict:
        self.peers[given["name"]] = base64.b64decode(given["pubkey"])
        return {"peerip": self.address, "endpointip": "127.0.0.1", "pubkey": self.gateway_key}

    def validate(self, given: dict) -> dict:
        return {"invalidPeerIps": [] if self.peers else given["peerIps"]}

    def remove(self, given: dict) -> dict:
        del self.peers[given["name"]]
        return {"organization": {"id": given["organizationId"]}}

    @property
    def fields(self) -> list[str]:
        return [field for field, _ in self.asked]


FIELDS = {
    "validateWireGuardPeers": Api.validate,
    "removeWireGuardPeer": Api.remove,
    "addWireGuardPeer": Api.add,
    "organization": Api.organization,
}


@pytest.fixture
async def api(nursery, monkeypatch):
    made = Api()
    await nursery.start(made.server.run)
    monkeypatch.setenv("FLY_API_BASE_URL", str(made.server.origin))
    monkeypatch.setenv("FLY_API_TOKEN", TOKEN)
    monkeypatch.delenv("FLY_ACCESS_TOKEN", raising=False)
    yield made
    nursery.cancel_scope.cancel()


def kept(folder) -> Peer | None:
    return PeerFile(str(folder), "fly").read()


async def test_a_peer_is_made_once_with_a_key_of_our_own(api, tmp_path):
    first = await fly.load("fly", SPEC, str(tmp_path))
    assert api.fields == ["organization", "addWireGuardPeer"]
    given = api.asked[1][1]["input"]
    assert given["pubkey"] == encode_key(first.private_key.public)
    wanted = {"organizationId": "org-id", "region": "ams", "network": "other"}
    assert {key: given[key] for key in wanted} == wanted
    assert set(given) == {*wanted, "name", "pubkey"}
    [peer] = first.peers
    assert peer.endpoint == ("127.0.0.1", 51820)
    assert [str(one) for one in peer.allowed_ips] == ["fdaa:0:18::/48"]
    assert [str(one) for one in first.dns] == ["fdaa:0:18::3"]
    assert str(first.addresses[0]) == f"{OURS}/120"
    second = await fly.load("fly", SPEC, str(tmp_path))
    assert api.fields[2:] == ["validateWireGuardPeers"]
    assert second.private_key.public == first.private_key.public


async def test_what_is_kept_is_for_us_alone_and_shows_no_key(api, tmp_path):
    await fly.load("fly", SPEC, str(tmp_path))
    path = tmp_path / "tunnels" / "fly.peer.json"
    assert path.stat().st_mode & 0o777 == 0o600
    peer = kept(tmp_path)
    assert peer is not None
    assert peer.private in path.read_text()
    assert peer.private not in repr(peer)
    assert not any(peer.private in str(asked) for asked in api.asked)


async def test_a_peer_that_fly_has_forgotten_is_made_anew(api, tmp_path):
    first = await fly.load("fly", SPEC, str(tmp_path))
    api.peers.clear()
    api.fail["removeWireGuardPeer"] = {
        "errors": [{"message": "no such peer", "extensions": {"code": "NOT_FOUND"}}]
    }
    second = await fly.load("fly", SPEC, str(tmp_path))
    assert second.private_key.public != first.private_key.public
    assert len(api.peers) == 1


async def test_another_region_is_another_peer_and_the_old_one_goes(api, tmp_path):
    await fly.load("fly", SPEC, str(tmp_path))
    before = dict(api.peers)
    await fly.load("fly", TunnelSpec(kind="fly", org="personal"), str(tmp_path))
    assert len(api.peers) == 1
    assert set(api.peers).isdisjoint(before)
    assert set(api.asked[-1][1]["input"]) == {"organizationId", "name", "pubkey"}


async def test_killed_while_one_is_made(api, tmp_path):
    """Fly has made it, and we have not heard so: its name is known, and it goes before another comes."""
    made = Api.add

    def hang_up(self: Api, given: dict) -> dict:
        made(self, given)
        raise trio.BrokenResourceError

    FIELDS["addWireGuardPeer"] = hang_up
    try:
        with pytest.raises(McpctlError):
            await fly.load("fly", SPEC, str(tmp_path))
    finally:
        FIELDS["addWireGuardPeer"] = made
    assert len(api.peers) == 1
    lost = kept(tmp_path)
    assert lost is not None
    assert (lost.address, list(api.peers)) == ("", [lost.name])
    await fly.load("fly", SPEC, str(tmp_path))
    assert len(api.peers) == 1
    assert lost.name not in api.peers


async def test_it_is_taken_away(api, tmp_path):
    await fly.load("fly", SPEC, str(tmp_path))
    await fly.remove("fly", str(tmp_path))
    assert api.peers == {}
    assert kept(tmp_path) is None
    with pytest.raises(NotFound, match="has no peer"):
        await fly.remove("fly", str(tmp_path))


async def test_what_fly_refuses_is_said(api, tmp_path):
    with pytest.raises(UserError, match="no organisation 'none'"):
        await fly.load("fly", TunnelSpec(kind="fly", org="none"), str(tmp_path))
    api.address = "not an address"
    with pytest.raises(PeerError, match="WireGuard peer mcpctl-"):
        await fly.load("fly", SPEC, str(tmp_path))
    api.fail["addWireGuardPeer"] = {"errors": [{"message": "too many peers"}]}
    api.fail["removeWireGuardPeer"] = {"data": {}}
    with pytest.raises(McpctlError, match="too many peers"):
        await fly.load("fly", SPEC, str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"org": 1}', '{"org": "x"}'])
def test_a_file_that_is_none(tmp_path, text):
    folder = tmp_path / "tunnels"
    folder.mkdir()
    (folder / "fly.peer.json").write_text(text)
    assert kept(tmp_path) is None


async def test_from_the_token_to_http(api, nursery, tmp_path):
    """The daemon's own peer, made by the API, through the gateway to a server."""
    network, server = Network(), Server()
    await nursery.start(network.gateway.run)
    await nursery.start(server.run)
    network.inside.listen(server.origin.port)
    api.gateway_key = encode_key(network.gateway.key.public)

    class Known:
        """The gateway asks for who is made, as Fly's do."""

        def find(self, public_key: bytes) -> PeerSpec | None:
            known = public_key in api.peers.values()
            return PeerSpec(public_key, (ip_network(f"{OURS}/128"),)) if known else None

    network.gateway._peers = Known()
    client = Client(nursery, network, tmp_path)
    websocket = f"ws://127.0.0.1:{network.gateway.websocket_port}/"
    spec = TunnelSpec(kind="fly", org="personal", carrier="websocket", websocket=websocket)
    client.settings = Settings(tunnels={"fly": spec})
    body = os.urandom(100_000)
    assert await client.ask("my-app.flycast", body) == body
    await client.tunnels.forget("fly")
    assert api.peers == {}
    nursery.cancel_scope.cancel()
