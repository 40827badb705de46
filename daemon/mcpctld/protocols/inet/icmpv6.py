"""ICMPv6: echo and errors (RFC 4443). Neighbours are not asked for: a tunnel has none."""

import struct

import msgspec

from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import (
    ICMPV6,
    MIN_MTU,
    Packet,
    encode_packet,
    parse_quoted,
)

UNREACHABLE, PACKET_TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM = 1, 2, 3, 4
ECHO_REQUEST, ECHO_REPLY = 128, 129
PORT_UNREACHABLE = 4
"""A code of `UNREACHABLE` (§3.1)."""
UNRECOGNISED_NEXT_HEADER = 1
"""A code of `PARAMETER_PROBLEM` (§3.4)."""
NEXT_HEADER_OFFSET = 6
"""Where the header names what follows, for a parameter problem."""

_HEADER = struct.Struct("!BBHI")
_LENGTH = 8
_ECHO = struct.Struct("!HH")
_MULTICAST = 0xFF

_CODES = {
    0: "no route",
    1: "administratively prohibited",
    2: "beyond the scope of the source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address refused by policy",
    6: "route rejected",
}


class Echo(msgspec.Struct, frozen=True, gc=False):
    """A request, or the reply to one."""

    is_reply: bool
    identifier: int
    sequence: int
    data: bytes

    def __repr__(self) -> str:
        kind = "reply" if self.is_reply else "request"
        return f"<Echo {kind} {self.identifier}/{self.sequence} of {len(self.data)} bytes>"


class Error(msgspec.Struct, frozen=True, gc=False):
    """A router, or the other host, could not do something with a packet of ours.

    `quoted` is the beginning of that packet, `parameter` the MTU of a Packet Too Big.
    """

    kind: int
    code: int
    parameter: int
    quoted: Packet
    quoted_length: int
    """Of the whole packet, as its header says, in bytes."""

    @property
    def reason(self) -> str:
        """Words for users."""
        if self.kind == UNREACHABLE:
            return _CODES.get(self.code, f"unreachable, code {self.code}")
        return "hop limit exceeded" if self.kind == TIME_EXCEEDED else "packet refused"


Message = Echo | Error


def parse(packet: Packet) -> Message:
    """Read a message. Raises `Dropped`."""
    data = packet.payload
    if len(data) < _LENGTH:
        raise Dropped(Drop.TRUNCATED)
    packet.verify()
    kind, code, _, parameter = _HEADER.unpack_from(data)
    if kind in (ECHO_REQUEST, ECHO_REPLY):
        return Echo(kind == ECHO_REPLY, parameter >> 16, parameter & 0xFFFF, data[_LENGTH:])
    if kind not in (UNREACHABLE, PACKET_TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM):
        raise Dropped(Drop.UNKNOWN_PROTOCOL)  # informational, or an error nobody here understands
    quoted = data[_LENGTH:]
    length = 40 + int.from_bytes(quoted[4:6], "big")
    return Error(kind, code, parameter, parse_quoted(quoted), length)


def encode_echo(source: bytes, destination: bytes, echo: Echo) -> bytes:
    """A packet with an echo request or reply (§4.1, §4.2)."""
    kind = ECHO_REPLY if echo.is_reply else ECHO_REQUEST
    body = _ECHO.pack(echo.identifier, echo.sequence) + echo.data
    return _encode(source, destination, struct.pack("!BB", kind, 0), body)


def encode_error(source: bytes, kind: int, code: int, parameter: int, invoking: bytes) -> bytes:
    """A packet that tells the sender of `invoking` of an error, with as much of it as fits (§2.4(c))."""
    quoted = invoking[: MIN_MTU - 48]
    body = struct.pack("!I", parameter) + quoted
    return _encode(source, invoking[8:24], struct.pack("!BB", kind, code), body)


def may_be_answered(packet: Packet) -> bool:
    """Whether an error may be sent in answer to it: never to an error or a group (§2.4(e))."""
    is_error = packet.protocol == ICMPV6 and packet.payload[:1] < b"\x80"
    return not is_error and is_unicast(packet.source) and packet.destination[0] != _MULTICAST


def is_unicast(address: bytes) -> bool:
    """Whether packets can come from there: neither a group nor the unspecified address (RFC 4291 §2.7)."""
    return address[0] != _MULTICAST and any(address)


def _encode(source: bytes, destination: bytes, head: bytes, body: bytes) -> bytes:
    total = word_sum(head) + word_sum(body)
    total += pseudo_header_sum(source + destination, 4 + len(body), ICMPV6)
    payload = head + checksum(total).to_bytes(2, "big") + body
    return encode_packet(source, destination, ICMPV6, payload)
