"""One session: the keys and counters of what two sides send each other (whitepaper §5.4.5, §5.4.6)."""

import math
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mcpctld.protocols.wireguard.limits import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_WHEN_RECEIVING,
)
from mcpctld.protocols.wireguard.messages import TRANSPORT, TRANSPORT_HEADER
from mcpctld.protocols.wireguard.noise import TransportKeys
from mcpctld.protocols.wireguard.replay import ReplayWindow

_PREFIX = struct.Struct("<II")
_ZEROS = bytes(4)
_BODY = TRANSPORT_HEADER.size


class Keypair:
    """A key for each direction. Times are in the clock of `now`."""

    __slots__ = (
        *("_due_after_sending", "_opening", "_prefix", "_sealing", "_sends_until"),
        *(
            "accept",
            "born",
            "due_after_receiving",
            "expires",
            "is_initiator",
            "local_index",
            "sent",
        ),
    )

    def __init__(
        self,
        keys: TransportKeys,
        local_index: int,
        remote_index: int,
        now: float,
        *,
        initiated_at: float | None,
    ) -> None:
        """`initiated_at`: when our initiation was sent; None for the responder."""
        is_initiator = initiated_at is not None
        self._sealing = ChaCha20Poly1305(keys.sending)
        self._opening = ChaCha20Poly1305(keys.receiving)
        self._prefix = _PREFIX.pack(TRANSPORT, remote_index)
        self.accept = ReplayWindow().accept
        """Whether the counter of an authentic message comes for the first time."""
        self.local_index = local_index
        self.is_initiator = is_initiator
        self.born = now
        self.expires = now + REJECT_AFTER_TIME
        # The responder had the session before us, and ends it before us: what we send then would be lost. Counted from
        # the initiation, our last message is in time if its way is no longer than that one's was.
        self._sends_until = (now if initiated_at is None else initiated_at) + REJECT_AFTER_TIME
        # Only the initiator of a session makes the next one for its age (§6.2), so that they do not both begin.
        self._due_after_sending = now + REKEY_AFTER_TIME if is_initiator else math.inf
        self.due_after_receiving = now + REKEY_WHEN_RECEIVING if is_initiator else math.inf
        """From then on, what is received calls for a new session, before nothing can be answered any more (§6.2)."""
        self.sent = 0

    def seal(self, packet: bytes) -> bytes:
        """A transport message with this packet, padded already. Only while `can_send`."""
        counter = self.sent.to_bytes(8, "little")
        self.sent += 1
        return self._prefix + counter + self._sealing.encrypt(_ZEROS + counter, packet, None)

    def open(self, datagram: bytes) -> bytes | None:
        """The packet with its padding; None when the message is not authentic."""
        try:
            return self._opening.decrypt(_ZEROS + datagram[8:_BODY], datagram[_BODY:], None)
        except InvalidTag:
            return None

    def can_send(self, now: float) -> bool:
        """Whether it may still be used (§6.2)."""
        return now < self._sends_until and self.sent < REJECT_AFTER_MESSAGES

    def is_due_after_sending(self, now: float) -> bool:
        """Whether what was just sent calls for a new session (§6.2)."""
        return now >= self._due_after_sending or self.sent >= REKEY_AFTER_MESSAGES

    def __repr__(self) -> str:
        role = "initiator" if self.is_initiator else "responder"
        return f"<Keypair {self.local_index:#x} of the {role}>"
