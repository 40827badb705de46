"""The values in configuration files of `wg-quick`, each read from its text.

Every function raises `ValueError`, which says what to write instead. None repeats the text: it may be a secret that
stands in the wrong place.
"""

import ipaddress
import re

from mcpctld.protocols.wireguard.allowed_ips import Network

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MIN_MTU = 576
MAX_MTU = 65535

_MAX_UINT16 = 65535
_NUMBER = re.compile(r"[0-9]{1,9}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?")


def interface(text: str) -> Interface:
    """`Address`: an address of ours, with the length of its network or without."""
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError("write an IP address, or ADDRESS/LENGTH") from None


def network(text: str) -> Network:
    """`AllowedIPs`: a network; bits behind its length do not count."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network: ADDRESS/LENGTH") from None


def dns(text: str) -> IpAddress | str:
    """`DNS`: the address of a server, or a domain to look for names in."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        if not _HOST.fullmatch(text):
            raise ValueError("write the IP address of a server, or a domain") from None
        return text


def mtu(text: str) -> int:
    """`MTU`, in bytes."""
    number = _number(text)
    if not MIN_MTU <= number <= MAX_MTU:
        raise ValueError(f"write a number from {MIN_MTU} to {MAX_MTU}")
    return number


def seconds(text: str) -> int | None:
    """`PersistentKeepalive`; None for never."""
    if text.casefold() == "off":
        return None
    number = _number(text)
    if not 0 <= number <= _MAX_UINT16:
        raise ValueError("write a number of seconds up to 65535, or off")
    return number or None


def endpoint(text: str) -> tuple[str, int]:
    """`Endpoint`: host and port."""
    host, _, digits = text.rpartition(":")
    port = _number(digits)
    if host.startswith("[") and host.endswith("]"):
        host = str(_ipv6(host[1:-1]))
    elif not _HOST.fullmatch(host):
        raise ValueError(_HOW_ENDPOINT)
    if not 0 < port <= _MAX_UINT16:
        raise ValueError(_HOW_ENDPOINT)
    return host, port


def _number(text: str) -> int:
    """-1 for what is none."""
    return int(text) if _NUMBER.fullmatch(text) else -1


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(_HOW_ENDPOINT) from None


_HOW_ENDPOINT = "write HOST:PORT, of an IPv6 address [ADDRESS]:PORT"
