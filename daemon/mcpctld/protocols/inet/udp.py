"""UDP datagrams over IPv6 (RFC 768, RFC 8200 §8.1). One without a checksum is dropped."""

import struct

import msgspec

from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import UDP, Packet, encode_packet

HEADER_LENGTH = 8

_HEADER = struct.Struct("!HHHH")


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """What came."""

    source: bytes
    source_port: int
    destination_port: int
    data: bytes

    def __repr__(self) -> str:
        return f"<Datagram {self.source_port} → {self.destination_port} of {len(self.data)} bytes>"


def parse(packet: Packet) -> Datagram:
    """Read a datagram. Raises `Dropped`."""
    payload = packet.payload
    if len(payload) < HEADER_LENGTH:
        raise Dropped(Drop.TRUNCATED)
    source_port, destination_port, length, summed = _HEADER.unpack_from(payload)
    if length != len(payload) or not summed or not source_port or not destination_port:
        raise Dropped(Drop.MALFORMED)
    packet.verify()
    return Datagram(packet.source, source_port, destination_port, payload[HEADER_LENGTH:])


def encode(source: bytes, destination: bytes, ports: tuple[int, int], data: bytes) -> bytes:
    """A packet with a datagram; `ports` are ours and theirs."""
    length = HEADER_LENGTH + len(data)
    total = sum(ports) + length + word_sum(data)
    total += pseudo_header_sum(source + destination, length, UDP)
    header = _HEADER.pack(*ports, length, checksum(total))
    return encode_packet(source, destination, UDP, header + data)
