"""`mcpctld.protocols.wireguard.addresses`: any address of any kind of socket, and of none."""

import pytest

from mcpctld.protocols.wireguard.addresses import encode_address, network_of

NETWORKS = [
    (("192.0.2.7", 51820), "192.0.2.7"),
    (("192.0.2.7", 1), "192.0.2.7"),
    (("2001:db8:1:2:3:4:5:6", 51820, 0, 0), "2001:db8:1:2::/64"),
    (("2001:db8:1:2::9", 51820, 0, 0), "2001:db8:1:2::/64"),
    (("fe80::1%eth0", 51820, 0, 2), "fe80::/64"),
    (("a carrier", 7), "a carrier"),
    ((), ""),
    ((7,), "7"),
]


@pytest.mark.parametrize(("address", "network"), NETWORKS)
def test_whose_handshakes_are_counted_together(address, network):
    assert network_of(address) == network


def test_no_two_addresses_have_the_same_bytes():
    addresses = [address for address, _ in NETWORKS]
    assert len({encode_address(address) for address in addresses}) == len(addresses)
