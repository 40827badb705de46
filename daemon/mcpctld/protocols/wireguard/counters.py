"""What is counted, and the records that tell it."""

import enum
from collections.abc import Mapping

import msgspec

from mcpctld.protocols.wireguard.addresses import Address


class Drop(enum.Enum):
    """Why a datagram or a packet went no further."""

    MALFORMED = "no WireGuard message, or no IP packet in it"
    BAD_MAC1 = "a handshake by somebody who does not know our key"
    UNDER_LOAD = "answered with a cookie"
    RATE_LIMITED = "too many handshakes from there"
    UNKNOWN_PEER = "a handshake of a key that is no peer's"
    UNKNOWN_INDEX = "for no handshake and no session"
    NOT_AUTHENTIC = "it does not decrypt"
    OLD_HANDSHAKE = "an initiation that is not newer than the last one"
    FLOOD = "initiations too soon after one another"
    REPLAYED = "came before, or too late"
    EXPIRED = "of a session that is too old"
    WRONG_SOURCE = "from an address that is not the peer's"
    NO_ROUTE = "to an address of no peer's"
    NO_ENDPOINT = "to a peer of which no address is known"
    TOO_LONG = "longer than the MTU"
    QUEUE_FULL = "there was no room"
    GAVE_UP = "it waited for a session that did not come"


class Drops:
    """Counts by reason."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Drop, int] = {}

    def count(self, reason: Drop, times: int = 1) -> None:
        """So many more for this reason."""
        self._counts[reason] = self._counts.get(reason, 0) + times

    def snapshot(self) -> Mapping[Drop, int]:
        """Those that are not zero."""
        return {reason: times for reason, times in self._counts.items() if times}


class PeerStatistics(msgspec.Struct, frozen=True):
    """Of one peer, since it was added."""

    endpoint: Address | None
    handshakes: int
    """Sessions that came to be."""
    last_handshake: float | None
    """When the last one did, in the clock of `now`."""
    rtt: float | None
    """How long its answer took, in seconds."""
    unanswered: int
    """Initiations since then that nobody has answered."""
    bytes_sent: int
    """Of datagrams, handshakes included."""
    bytes_received: int
    """Of datagrams that were authentic."""
    staged: int
    """Packets that wait for a session."""
    drops: Mapping[Drop, int]


class DeviceStatistics(msgspec.Struct, frozen=True):
    """Of a device: its peers by public key, and what was dropped before it was known whose it is."""

    peers: Mapping[bytes, PeerStatistics]
    drops: Mapping[Drop, int]
    cookie_replies: int
    """Sent to those who came while we were under load."""
    indices: int
    """Of all handshakes and sessions that are not over."""
    sources: int
    """How many are counted because they sent handshakes under load."""
