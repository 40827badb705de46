"""IPv6 packets: the header, and the way past extension headers to what is carried (RFC 8200).

Extension headers are looked through, not acted on: Hop-by-Hop and Destination Options of which none must be understood,
Routing with nothing left to visit, and fragments that are whole (RFC 6946). Everything else is dropped, and so is more
of them than `MAX_HEADERS`. Fragments are neither reassembled nor sent.
"""

import struct

import msgspec

from mcpctld.protocols.inet.checksum import is_valid, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped

HEADER_LENGTH = 40
MIN_MTU = 1280
"""Every path carries packets of this size (RFC 8200 §5)."""
HOP_LIMIT = 64
MAX_HEADERS = 8
"""The standard names six, each of which comes once (§4.1)."""
MAX_OPTIONS = 8
"""Of one header, without padding (RFC 9673 §5.1 lets a host set such a limit)."""

TCP, UDP, ICMPV6 = 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS = 0, 43, 44, 60

_HEADER = struct.Struct(
    "!IHBB"
)  # version, class and flow label; payload length; next header; hop limit
_VERSION = 6
_PAD1, _PADN = 0, 1


class Packet(msgspec.Struct, gc=False):
    """What came, past all extension headers. `addresses`: source and destination, as they stand in the header."""

    addresses: bytes
    protocol: int
    payload: bytes

    def __repr__(self) -> str:
        return f"<Packet of protocol {self.protocol}, {len(self.payload)} bytes>"

    @property
    def source(self) -> bytes:
        """Its sender, 16 bytes."""
        return self.addresses[:16]

    @property
    def destination(self) -> bytes:
        """Where it goes, 16 bytes."""
        return self.addresses[16:]

    def verify(self) -> None:
        """Raise `Dropped` if the checksum over pseudo-header and payload is wrong (§8.1)."""
        length = len(self.payload)
        total = word_sum(self.payload) + pseudo_header_sum(self.addresses, length, self.protocol)
        if not is_valid(total):
            raise Dropped(Drop.CHECKSUM)


def encode_header(source: bytes, destination: bytes, length: int, protocol: int) -> bytes:
    """A header without extensions, for a payload of `length` bytes."""
    return _HEADER.pack(_VERSION << 28, length, protocol, HOP_LIMIT) + source + destination


def encode_packet(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """A packet without extension headers."""
    return encode_header(source, destination, len(payload), protocol) + payload


def parse(data: bytes) -> Packet:
    """Read a packet; bytes behind its end are padding of the link's. Raises `Dropped`."""
    packet = parse_quoted(data)
    if len(data) < HEADER_LENGTH + int.from_bytes(data[4:6], "big"):
        raise Dropped(Drop.TRUNCATED)
    return packet


def parse_quoted(data: bytes) -> Packet:
    """Read the beginning of a packet, as errors quote it: the end may be missing. Raises `Dropped`."""
    if len(data) < HEADER_LENGTH:
        raise Dropped(Drop.TRUNCATED)
    first, length, protocol, _ = _HEADER.unpack_from(data)
    if first >> 28 != _VERSION:
        raise Dropped(Drop.NOT_IPV6)
    payload = data[HEADER_LENGTH : HEADER_LENGTH + length]
    if protocol != TCP and protocol != UDP and protocol != ICMPV6:
        protocol, payload = _skip_headers(protocol, payload)
    return Packet(data[8:HEADER_LENGTH], protocol, payload)


def _skip_headers(protocol: int, payload: bytes) -> tuple[int, bytes]:
    """What comes behind the extension headers."""
    for position in range(MAX_HEADERS):
        if protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS):
            return protocol, payload
        if protocol == HOP_BY_HOP and position:
            raise Dropped(Drop.EXTENSION_HEADERS)  # §4.1: it comes first or not at all
        if len(payload) < 8:
            raise Dropped(Drop.TRUNCATED)
        length = 8 if protocol == FRAGMENT else 8 * payload[1] + 8
        header, payload = payload[:length], payload[length:]
        if len(header) < length:
            raise Dropped(Drop.TRUNCATED)
        _check_header(protocol, header)
        protocol = header[0]
    raise Dropped(Drop.EXTENSION_HEADERS)


def _check_header(protocol: int, header: bytes) -> None:
    """Raise `Dropped` where the header asks for something that we do not do."""
    if protocol == FRAGMENT:
        if int.from_bytes(header[2:4], "big") & 0xFFF9:  # §4.5: an offset, or more to come
            raise Dropped(Drop.FRAGMENT)
    elif protocol == ROUTING:
        if header[3]:  # §4.4: segments left, and we are no router
            raise Dropped(Drop.EXTENSION_HEADERS)
    else:
        _check_options(header[2:])


def _check_options(options: bytes) -> None:
    """Options may be skipped if the two upper bits of their type say so (§4.2)."""
    at = known = 0
    while at < len(options):
        kind = options[at]
        if kind == _PAD1:
            at += 1
            continue
        known += kind != _PADN
        if kind >> 6 or known > MAX_OPTIONS or at + 1 == len(options):
            raise Dropped(Drop.EXTENSION_HEADERS)
        at += 2 + options[at + 1]
    if at > len(options):
        raise Dropped(Drop.EXTENSION_HEADERS)
