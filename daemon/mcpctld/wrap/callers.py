"""Whose request it is: the address behind proxies, believed only where nobody else could have written it.

Anybody may send `Fly-Client-IP` or `X-Forwarded-For`. They count only on a connection from a private
address, since there a proxy can be; from the Internet nobody has one. So:

* In a Fly machine nothing public reaches us but through Fly's proxy, which sets `Fly-Client-IP`
  itself. A neighbour on the private network who dials us directly can forge it, and gains nothing:
  it is on the private network.
* Outside Fly `Fly-Client-IP` is not read at all.
* `X-Forwarded-For` is read on request only (`--trust-forwarded`), and of it the last address: the one
  that the proxy in front of us has added. What stands before it came from the client.

A header that is read and makes no sense is a client that nobody knows, never the peer: a proxy at
127.0.0.1 must not lend its own address to whoever sends it nonsense.
"""

import functools
import ipaddress

from mcpctld.protocols.http1 import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SIX_PN = ipaddress.ip_network("fdaa::/16")
"""Fly's private networks."""

UNKNOWN = "unknown"
"""The client of a connection without an address."""


class Callers:
    """Finds the client of each request."""

    def __init__(self, *, on_fly: bool, trust_forwarded: bool) -> None:
        self._on_fly = on_fly
        self._trust_forwarded = trust_forwarded

    def believes(self, peer: str) -> bool:
        """Whether `X-Forwarded-*` on a connection from `peer` is what our own proxy says."""
        return self._trust_forwarded and _is_near(parse_address(peer))

    def client(self, headers: Headers, peer: str) -> Address | None:
        """The address of the client, None if it cannot be known."""
        address = parse_address(peer)
        if not _is_near(address):
            return address
        if self._on_fly and (told := headers.get("fly-client-ip")) is not None:
            return parse_address(told)
        if self._trust_forwarded and (told := headers.get("x-forwarded-for")) is not None:
            return _parse_with_port(told.rpartition(",")[2].strip())
        return address


@functools.lru_cache(maxsize=1024)
def is_private(address: Address | None) -> bool:
    """Whether it is on Fly's private network, or on this machine."""
    return address is not None and (address.is_loopback or address in _SIX_PN)


@functools.lru_cache(maxsize=1024)
def client_key(address: Address | None) -> str:
    """Under what a client is counted: of IPv6 the /64, for its owner has every address in it."""
    if address is None:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


@functools.lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """The address, an IPv4 one that is mapped into IPv6 as IPv4; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _parse_with_port(text: str) -> Address | None:
    """An address to which some proxies add the port: `1.2.3.4:5` or `[::1]:5`."""
    if text.startswith("["):
        return parse_address(text[1:].partition("]")[0])
    return parse_address(text.partition(":")[0] if text.count(":") == 1 else text)


@functools.lru_cache(maxsize=1024)
def _is_near(address: Address | None) -> bool:
    return address is not None and not address.is_global
