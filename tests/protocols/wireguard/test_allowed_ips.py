"""`mcpctld.protocols.wireguard.allowed_ips`: the longest prefix, against `ipaddress`, which takes its time."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard import allowed_ips
from mcpctld.protocols.wireguard.allowed_ips import AllowedIps


def networks(*texts: str):
    return [ipaddress.ip_network(text) for text in texts]


def raw(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


@pytest.fixture
def routes():
    made: AllowedIps[str] = AllowedIps()
    made.add(networks("10.0.0.0/8", "fdaa:1::/32"), "wide")
    made.add(networks("10.1.0.0/16", "10.1.2.3/32", "fdaa:1:2::/48"), "narrow")
    return made


OWNERS = {
    "10.9.9.9": "wide",
    "10.1.9.9": "narrow",
    "10.1.2.3": "narrow",
    "11.0.0.0": None,
    "fdaa:1:9::1": "wide",
    "fdaa:1:2::1": "narrow",
    "fdaa:2::1": None,
    "::a01:203": None,  # the bits of 10.1.2.3
}


def test_the_longest_prefix_wins(routes):
    for _ in range(2):  # looked up, and remembered
        assert {text: routes.owner(raw(text)) for text in OWNERS} == OWNERS


def test_a_network_has_one_owner(routes):
    assert routes.owner(raw("10.1.9.9")) == "narrow"
    routes.add(networks("10.1.0.0/16"), "third")
    assert routes.owner(raw("10.1.9.9")) == "third"
    assert routes.owner(raw("10.1.2.3")) == "narrow"


def test_who_leaves_leaves_all(routes):
    assert routes.owner(raw("10.1.2.3")) == "narrow"
    routes.remove("narrow")
    assert routes.owner(raw("10.1.2.3")) == "wide"
    routes.remove("wide")
    assert {routes.owner(raw(text)) for text in OWNERS} == {None}


def test_everything():
    routes: AllowedIps[str] = AllowedIps()
    routes.add(networks("0.0.0.0/0", "::/0"), "all")
    assert {routes.owner(raw(text)) for text in OWNERS} == {"all"}
    assert routes.owner(b"\1\2\3") is None  # no address


def test_what_is_remembered_is_bounded(routes, monkeypatch):
    monkeypatch.setattr(allowed_ips, "_MAX_REMEMBERED", 10)
    for number in range(100):
        assert routes.owner(raw(f"10.9.0.{number}")) == "wide"
        assert len(routes._remembered) <= 10


NETWORKS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32), st.sampled_from("abc")), max_size=12
)


@settings(deadline=None, derandomize=True)
@given(NETWORKS, st.lists(st.integers(0, 2**32 - 1), max_size=10))
def test_any_table(rows, addresses):
    routes: AllowedIps[str] = AllowedIps()
    table = {}
    for number, length, owner in rows:
        network = ipaddress.ip_network((number, length), strict=False)
        routes.add([network], owner)
        table[network] = owner
    for number in [*addresses, *(row[0] for row in rows)]:
        address = ipaddress.ip_address(number)
        fitting = [network for network in table if address in network]
        longest = max(fitting, key=lambda network: network.prefixlen, default=None)
        assert routes.owner(address.packed) == table.get(longest)
