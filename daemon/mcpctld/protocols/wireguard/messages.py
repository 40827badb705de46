"""The four messages (whitepaper §5.4): bytes, and what they hold. Integers are little-endian.

Initiations and responses end with two MACs, which `cookies` looks after; transport messages are written and read by
`keypair`, without a record between, for speed. Nothing here judges what a message says.
"""

import struct

import msgspec

from mcpctld.protocols.wireguard.hashes import MAC_SIZE

INITIATION = 1
RESPONSE = 2
COOKIE_REPLY = 3
TRANSPORT = 4

MACS_SIZE = 2 * MAC_SIZE
NO_MAC = bytes(MAC_SIZE)

_INITIATION = struct.Struct("<II108s32s")
_RESPONSE = struct.Struct("<III48s32s")
_COOKIE_REPLY = struct.Struct("<II24s32s")
TRANSPORT_HEADER = struct.Struct("<IIQ")
"""Type, index of the receiver, counter."""
TRANSPORT_OVERHEAD = TRANSPORT_HEADER.size + 16
"""Bytes that a transport message has beside its packet: 32."""

INITIATION_SIZE = _INITIATION.size
RESPONSE_SIZE = _RESPONSE.size
_SIZES = {
    INITIATION: INITIATION_SIZE,
    RESPONSE: RESPONSE_SIZE,
    COOKIE_REPLY: _COOKIE_REPLY.size,
}


class Initiation(msgspec.Struct, frozen=True, gc=False):
    """§5.4.2. `noise` is the first message of the handshake: ephemeral key, static key, timestamp."""

    sender: int
    noise: bytes

    def __repr__(self) -> str:
        return f"<Initiation from {self.sender:#x}>"


class Response(msgspec.Struct, frozen=True, gc=False):
    """§5.4.3. `noise` is the second message of the handshake: ephemeral key, nothing."""

    sender: int
    receiver: int
    noise: bytes

    def __repr__(self) -> str:
        return f"<Response from {self.sender:#x} to {self.receiver:#x}>"


class CookieReply(msgspec.Struct, frozen=True, gc=False):
    """§5.4.7. A nonce of 24 bytes, and an encrypted cookie of 32."""

    receiver: int
    nonce: bytes
    cookie: bytes

    def __repr__(self) -> str:
        return f"<CookieReply to {self.receiver:#x}>"


def kind_of(datagram: bytes) -> int | None:
    """Which of the others a datagram can be, by its type, its reserved bytes and its length; None for none."""
    kind = int.from_bytes(datagram[:4], "little")
    return kind if len(datagram) == _SIZES.get(kind) else None


def encode_initiation(message: Initiation) -> bytes:
    """116 bytes; the MACs go behind them."""
    return _INITIATION.pack(INITIATION, message.sender, message.noise, b"")[:-MACS_SIZE]


def decode_initiation(datagram: bytes) -> Initiation:
    """From a datagram of this kind."""
    _, sender, noise, _ = _INITIATION.unpack(datagram)
    return Initiation(sender, noise)


def encode_response(message: Response) -> bytes:
    """60 bytes; the MACs go behind them."""
    packed = _RESPONSE.pack(RESPONSE, message.sender, message.receiver, message.noise, b"")
    return packed[:-MACS_SIZE]


def decode_response(datagram: bytes) -> Response:
    """From a datagram of this kind."""
    _, sender, receiver, noise, _ = _RESPONSE.unpack(datagram)
    return Response(sender, receiver, noise)


def encode_cookie_reply(message: CookieReply) -> bytes:
    """The whole datagram, 64 bytes."""
    return _COOKIE_REPLY.pack(COOKIE_REPLY, message.receiver, message.nonce, message.cookie)


def decode_cookie_reply(datagram: bytes) -> CookieReply:
    """From a datagram of this kind."""
    return CookieReply(*_COOKIE_REPLY.unpack(datagram)[1:])


def sender_of(datagram: bytes) -> int:
    """The index that an initiation or a response gives its sender."""
    return int.from_bytes(datagram[4:8], "little")
