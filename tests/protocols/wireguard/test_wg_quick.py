"""`mcpctld.protocols.wireguard.wg_quick`: files as they are found, and files with mistakes."""

import contextlib
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.protocols.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, encode_key
from mcpctld.protocols.wireguard.wg_quick import PeerSettings, parse

SECRET = "gBen0g0RVUOR4ehlFkWdDf18Ic//lxBIxa1PqvjTmEw="
SHARED = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
PEER = "JRI8Xc0zKP9kXk8qP84NdUQA04h6DLfFbwJn4g+/PFs="
OTHER = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="

FLY = f"""\
[Interface]
PrivateKey = {SECRET}
Address = fdaa:0:18:a7b:d6b:0:a:2/120
DNS = fdaa:0:18::3

[Peer]
PublicKey = {PEER}
AllowedIPs = fdaa:0:18::/48
Endpoint = arn1.gateway.6pn.dev:51820
PersistentKeepalive = 15
"""

EVERYTHING = f"""\ufeff
# made by a provider
 [ interface ] # ours
privatekey={SECRET}# nothing after the key
Address = 10.2.0.2/32, fd00::2/128
ADDRESS = 10.3.0.2/32
DNS = 10.2.0.1, corp.example
DNS = fd00::1
MTU = 1280
ListenPort = 51820
FwMark = 0xca6c
Table = off
SaveConfig = true
PreUp = echo up
PostUp = iptables -A OUTPUT # and so on
PreDown = rm -rf /
PostDown =

[PEER]
PublicKey = {PEER}
PresharedKey = {SHARED}
AllowedIPs = 0.0.0.0/0,::/0
AllowedIPs = 192.0.2.0/24
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = off

[Peer]
PublicKey = {OTHER}
AllowedIPs =
"""


def test_a_file_of_fly():
    settings_ = parse(FLY, "fly.conf")
    assert settings_.private_key.public == PrivateKey.from_text(SECRET).public
    assert settings_.addresses == (ipaddress.ip_interface("fdaa:0:18:a7b:d6b:0:a:2/120"),)
    assert settings_.dns == (ipaddress.ip_address("fdaa:0:18::3"),)
    assert (settings_.search, settings_.mtu, settings_.ignored) == ((), None, ())
    (peer,) = settings_.peers
    assert encode_key(peer.public_key) == PEER
    assert peer.preshared_key == NO_PRESHARED_KEY
    assert peer.allowed_ips == (ipaddress.ip_network("fdaa:0:18::/48"),)
    assert peer.endpoint == ("arn1.gateway.6pn.dev", 51820)
    assert peer.persistent_keepalive == 15


@pytest.mark.parametrize("text", [EVERYTHING, EVERYTHING.replace("\n", "\r\n")])
def test_a_file_with_everything(text):
    settings_ = parse(text, "x.conf")
    assert [str(one) for one in settings_.addresses] == [
        "10.2.0.2/32",
        "fd00::2/128",
        "10.3.0.2/32",
    ]
    assert [str(one) for one in settings_.dns] == ["10.2.0.1", "fd00::1"]
    assert (settings_.search, settings_.mtu) == (("corp.example",), 1280)
    assert settings_.ignored == (
        "line 10: ListenPort is for interfaces of the system",
        "line 11: FwMark is for interfaces of the system",
        "line 12: Table is for interfaces of the system",
        "line 13: SaveConfig is for interfaces of the system",
        "line 14: PreUp is not executed",
        "line 15: PostUp is not executed",
        "line 16: PreDown is not executed",
        "line 17: PostDown is not executed",
    )
    first, second = settings_.peers
    assert first.preshared_key == PresharedKey.from_text(SHARED)
    assert [str(one) for one in first.allowed_ips] == ["0.0.0.0/0", "::/0", "192.0.2.0/24"]
    assert (first.endpoint, first.persistent_keepalive) == (("2001:db8::1", 51820), None)
    assert second == PeerSettings(public_key=second.public_key)


def test_a_peer_for_a_device():
    peer = parse(FLY, "x").peers[0]
    spec = peer.spec(("192.0.2.1", 51820))
    assert (spec.public_key, spec.endpoint) == (peer.public_key, ("192.0.2.1", 51820))
    assert (spec.allowed_ips, spec.persistent_keepalive) == (peer.allowed_ips, 15)
    assert peer.spec(None).endpoint is None


def replaced(old: str, new: str) -> str:
    assert old in FLY
    return FLY.replace(old, new)


WRONG = {
    "nothing": ("", "write exactly one [Interface]"),
    "a setting before any section": (f"PrivateKey = {SECRET}\n", "line 1: there is nothing before"),
    "no interface": (FLY[FLY.index("[Peer]") :], "write exactly one [Interface]"),
    "two interfaces": (FLY + "[Interface]\n", "line 11: write exactly one [Interface]"),
    "no peer": (FLY[: FLY.index("[Peer]")], "there is no [Peer] to connect to"),
    "another section": (FLY + "[Peers]\n", "line 11: a section is [Interface] or [Peer]"),
    "a section that does not end": (FLY + "[Peer\n", "line 11: a section is"),
    "no private key": (replaced(f"PrivateKey = {SECRET}", ""), "line 1: [Interface] has no PrivateKey"),
    "no address": (replaced("Address = fdaa:0:18:a7b:d6b:0:a:2/120", ""), "line 1: [Interface] has no Address"),
    "no public key": (replaced(f"PublicKey = {PEER}", ""), "line 6: [Peer] has no PublicKey"),
    "half a key": (replaced(SECRET, SECRET[:40]), "line 2: PrivateKey: a key is 44 characters"),
    "an empty key": (replaced(SECRET, ""), "line 2: PrivateKey: a key is 44 characters"),
    "a key twice": (replaced("DNS", f"PrivateKey = {SECRET}\nDNS"), "line 4: PrivateKey is given twice"),
    "a wrong address": (replaced("Address = fdaa", "Address = xdaa"), "line 3: Address: write an IP"),
    "a wrong network": (replaced("::/48", "::/148"), "line 8: AllowedIPs: write a network"),
    "a wrong server": (replaced("DNS = fdaa:0:18::3", "DNS = ?"), "line 4: DNS: write the IP"),
    "no port": (replaced("dev:51820", "dev"), "line 9: Endpoint: write HOST:PORT"),
    "a wrong number": (replaced("= 15", "= soon"), "line 10: PersistentKeepalive: write a number"),
    "a wrong MTU": (replaced("DNS", "MTU = 9\nDNS"), "line 4: MTU: write a number from 576"),
    "a misspelt name": (replaced("Endpoint", "EndpointX"), "line 9: [Peer] has no 'EndpointX'; did you mean Endpoint"),
    "an unknown name": (replaced("DNS", "Jc"), "line 4: [Interface] has no 'Jc'"),
    "a name of the other section": (replaced("DNS", "Endpoint"), "line 4: Endpoint belongs to [Peer], not"),
    "no value": (replaced("DNS = fdaa:0:18::3", "DNS"), "line 4: write NAME = VALUE"),
    "a key alone": (replaced(f"PrivateKey = {SECRET}", SECRET), "line 2: this is nothing that [Interface] has"),
    "the same peer twice": (FLY + f"[Peer]\nPublicKey = {PEER}\n", "line 12: this peer stands here already"),
    "our own key": (
        replaced(PEER, encode_key(PrivateKey.from_text(SECRET).public)),
        "line 1: a peer has the public key of this PrivateKey",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_line(text, message):
    with pytest.raises(UserError) as caught:
        parse(text, "fly.conf")
    assert str(caught.value).startswith(f"cannot read fly.conf: {message}")
    assert SECRET not in str(caught.value)


def test_no_secret_is_shown():
    settings_ = parse(EVERYTHING, "x")
    for secret in (SECRET, SHARED):
        assert secret not in repr(settings_)
        assert repr(PresharedKey.from_text(secret).raw) not in repr(settings_)
    from mcpctld.protocols.wireguard import wg_quick

    assert repr(wg_quick._sections(FLY)[0].lines[0]) == "<_Line 2: PrivateKey>"


LINES = st.one_of(
    st.sampled_from([*FLY.splitlines(), *EVERYTHING.splitlines()]), st.text(max_size=30)
)


@settings(deadline=None, derandomize=True)
@given(st.lists(LINES, max_size=14))
def test_any_file_is_read_or_refused(lines):
    with contextlib.suppress(UserError):
        parse("\n".join(lines), "x.conf")
