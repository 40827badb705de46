"""What happened. `peer` is always the public key."""

import msgspec

from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.keys import encode_key


class PacketReceived(msgspec.Struct, frozen=True, gc=False):
    """An IP packet from one of the peer's addresses, without padding."""

    peer: bytes
    packet: bytes

    def __repr__(self) -> str:
        return f"<PacketReceived of {len(self.packet)} bytes from {encode_key(self.peer)}>"


class SessionEstablished(msgspec.Struct, frozen=True):
    """Both sides have the keys of a new session. `rtt` in seconds."""

    peer: bytes
    rtt: float
    is_initiator: bool


class EndpointChanged(msgspec.Struct, frozen=True):
    """The peer was heard from another address, and is answered there from now on (§2.1)."""

    peer: bytes
    endpoint: Address


class HandshakeUnanswered(msgspec.Struct, frozen=True):
    """So many initiations in a row have brought no answer. It is tried again."""

    peer: bytes
    times: int


class HandshakeFailed(msgspec.Struct, frozen=True):
    """We have given up until there is something to send again; `dropped` packets that waited are lost."""

    peer: bytes
    dropped: int


class KeysErased(msgspec.Struct, frozen=True):
    """Nothing was heard for so long that all keys were forgotten (§6.3)."""

    peer: bytes


class UnknownPeer(msgspec.Struct, frozen=True):
    """Somebody who has this key began a handshake, and is no peer. It may be a copy of what was sent long ago."""

    peer: bytes
    endpoint: Address


Event = (
    PacketReceived
    | SessionEstablished
    | EndpointChanged
    | HandshakeUnanswered
    | HandshakeFailed
    | KeysErased
    | UnknownPeer
)
