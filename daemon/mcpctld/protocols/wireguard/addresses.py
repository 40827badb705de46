"""Where datagrams come from and go to: what the socket says, carried through as it is."""

import ipaddress
from typing import Any

Address = tuple[Any, ...]
"""Host, port, and what more the kind of socket has. Only the host is looked at, and only under load."""


def encode_address(address: Address) -> bytes:
    """Bytes that no two addresses share: what a cookie is made for (§5.4.7)."""
    return repr(address).encode()


def network_of(address: Address) -> str:
    """Whose handshakes are counted together: one IPv4 address, or the /64 of an IPv6 one, as a site has at least."""
    host = str(address[0]) if address else ""
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if parsed.version == 4:
        return host
    return str(ipaddress.ip_network((parsed, 64), strict=False))
