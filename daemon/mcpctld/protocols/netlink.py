"""Ask the kernel of Linux which way packets to an address take: rtnetlink(7), RTM_GETROUTE.

One request, one answer: a route or an error. Other uses of netlink are not supported. Integers are in the order of the
machine, addresses in that of the network.
"""

import struct
from collections.abc import Iterator

from mcpctld.protocols.network import Path

INET, INET6 = 2, 10
"""Families of addresses, <linux/socket.h>."""

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, …, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_INDEX = struct.Struct("=I")

_REQUEST = 1  # NLM_F_REQUEST, <linux/netlink.h>
_NEWROUTE, _GETROUTE = 24, 26  # <linux/rtnetlink.h>
_UNICAST = 1  # RTN_UNICAST: neither local, nor refused
_DST, _OIF, _GATEWAY, _PREFSRC, _VIA = 1, 4, 5, 7, 18  # RTA_*

_NETWORK_PART = 8
"""Bytes of an IPv6 address that name the network (RFC 4291 §2.5.4)."""


def route_request(family: int, address: bytes, sequence: int) -> bytes:
    """The question how packets to `address` go."""
    route = _ROUTE.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    body = route + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _DST) + address
    return _HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST, sequence, 0) + body


def read_route(data: bytes, sequence: int) -> Path | None:
    """The path that the answer to the question of this number tells; None when it is an error, or cannot be read."""
    for kind, number, body in _messages(data):
        if kind == _NEWROUTE and number == sequence:
            return _path(body)
    return None


def _path(body: bytes) -> Path | None:
    if len(body) < _ROUTE.size:
        return None
    family, *_, kind, _flags = _ROUTE.unpack_from(body)
    if kind != _UNICAST:
        return None
    found = dict(_attributes(body[_ROUTE.size :]))
    index = found.get(_OIF, b"")
    gateway = found.get(_GATEWAY, found.get(_VIA, b""))
    source = found.get(_PREFSRC, b"")
    if not source:  # an IPv6 address that is not usable yet (RFC 4862 §5.4): nothing can be sent
        return None
    return Path(
        _INDEX.unpack(index)[0] if len(index) == _INDEX.size else 0,
        gateway,
        source[:_NETWORK_PART] if family == INET6 else source,
    )


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence number and body of each whole message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            return
        yield kind, number, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each whole attribute."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    """NLMSG_ALIGN and RTA_ALIGN: to four bytes."""
    return (length + 3) & ~3
