"""Packets for inside the tunnel: ICMPv6 echo (RFC 4443), and anything of a given size."""

import ipaddress
import struct

ECHO_REQUEST, ECHO_REPLY = 128, 129


def packet(source: str, destination: str, size: int = 60, fill: bytes = b"x") -> bytes:
    """An IPv6 packet of `size` bytes in all, without an upper layer."""
    return _ipv6(source, destination, 59, (fill * size)[: size - 40])


def echo(source: str, destination: str, number: int, *, kind: int = ECHO_REQUEST) -> bytes:
    """An echo request, or a reply."""
    body = struct.pack(">BBHHH", kind, 0, 0, 7, number) + b"hello"
    return _checked(source, destination, 58, body, checksum_at=2)


def udp(source: str, destination: str, port: int, payload: bytes) -> bytes:
    """A datagram from a port to the same one."""
    body = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
    return _checked(source, destination, 17, body, checksum_at=6)


def echo_number(data: bytes) -> int | None:
    """Which request a packet is the reply to."""
    if data[6] != 58 or data[40] != ECHO_REPLY:
        return None
    return int.from_bytes(data[46:48], "big")


def ipv4(source: str, destination: str, size: int = 40) -> bytes:
    """An IPv4 packet of `size` bytes in all; nobody here looks at its checksum."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 59, 0)
    return head + _address(source) + _address(destination) + bytes(size - 20)


def _checked(source: str, destination: str, kind: int, body: bytes, *, checksum_at: int) -> bytes:
    """With the checksum over the pseudo-header (RFC 8200 §8.1)."""
    pseudo = _address(source) + _address(destination) + struct.pack(">II", len(body), kind)
    checksum = struct.pack(">H", _checksum(pseudo + body))
    return _ipv6(source, destination, kind, body[:checksum_at] + checksum + body[checksum_at + 2 :])


def _ipv6(source: str, destination: str, following: int, body: bytes) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(body), following, 64)
    return head + _address(source) + _address(destination) + body


def _address(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _checksum(data: bytes) -> int:
    words = struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])
    total = sum(words) + (data[-1] << 8 if len(data) % 2 else 0)
    return 0xFFFF ^ (total % 0xFFFF or 0xFFFF)
