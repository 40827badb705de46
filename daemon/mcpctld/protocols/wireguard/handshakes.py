"""The handshakes with one peer: Noise messages, indices, timestamps and cookies put together (§5.4).

As initiator we wait for the answer to one initiation, the last. As responder there is nothing to wait for: a session
follows at once. The two do not disturb each other, so that of two initiations that cross both lead to a session; other
implementations forget their own, and ours is then the one that stays.
"""

import math
from typing import Generic, NamedTuple, TypeVar

from mcpctld.protocols.wireguard.cookies import CookieJar
from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.keypair import Keypair
from mcpctld.protocols.wireguard.keys import PresharedKey
from mcpctld.protocols.wireguard.limits import INITIATION_INTERVAL
from mcpctld.protocols.wireguard.messages import (
    CookieReply,
    Initiation,
    Response,
    encode_initiation,
    encode_response,
)
from mcpctld.protocols.wireguard.noise import IDENTIFIER, Initiator, NotAuthentic, Responder
from mcpctld.protocols.wireguard.shared import Shared
from mcpctld.protocols.wireguard.tai64n import ZERO, Timestamps

T = TypeVar("T")


class _Pending(NamedTuple):
    """An initiation that waits for its answer."""

    local_index: int
    noise: Initiator
    sent_at: float


class Handshakes(Generic[T]):
    """`T` is the peer, the owner of the indices."""

    def __init__(
        self, shared: Shared[T], public: bytes, preshared: PresharedKey, last_timestamp: bytes
    ) -> None:
        self._shared = shared
        self._public = public
        self._preshared = preshared
        self._timestamps = Timestamps(last_timestamp)
        self._cookies = CookieJar(public)
        self._pending: _Pending | None = None
        self._greatest = ZERO  # the peer's last timestamp
        self._answered_at = -math.inf

    @property
    def last_timestamp(self) -> bytes:
        """Of our initiations; what comes after a restart must be greater."""
        return self._timestamps.last

    # ------------------------------------------------------------ we begin

    def initiate(self, owner: T, now: float) -> bytes:
        """An initiation; nobody waits for the answer to the one before any more."""
        self.forget()
        shared = self._shared
        noise = Initiator(shared.private, shared.new_private_key(), self._public, IDENTIFIER)
        message = noise.write(self._timestamps.next(shared.clock.unix_time))
        index = shared.indices.allocate(owner)
        self._pending = _Pending(index, noise, now)
        return self._cookies.add_macs(encode_initiation(Initiation(index, message)), now)

    def complete(self, response: Response, now: float) -> tuple[Keypair, float] | Drop:
        """The session, and how long the answer took in seconds."""
        pending = self._pending
        if pending is None or pending.local_index != response.receiver:
            return Drop.UNKNOWN_INDEX
        try:
            _, keys = pending.noise.read(response.noise, self._preshared)
        except NotAuthentic:
            return (
                Drop.NOT_AUTHENTIC
            )  # who forges an answer does not end the waiting for the true one
        self._pending = None  # its index is the session's from now on
        keypair = Keypair(
            keys, pending.local_index, response.sender, now, initiated_at=pending.sent_at
        )
        return keypair, now - pending.sent_at

    def receive_cookie(self, reply: CookieReply, now: float) -> bool:
        """Whether it is a cookie for what we sent last."""
        return self._cookies.receive(reply, now)

    def forget(self) -> None:
        """Wait for no answer."""
        if self._pending is not None:
            self._shared.indices.release([self._pending.local_index])
            self._pending = None

    # ------------------------------------------------------------ the peer begins

    def refusal(self, timestamp: bytes, now: float) -> Drop | None:
        """Why an initiation is not answered: it is a copy of an old one, or there are too many (§5.1)."""
        if timestamp <= self._greatest:
            return Drop.OLD_HANDSHAKE
        if now < self._answered_at + INITIATION_INTERVAL:
            return Drop.FLOOD
        self._greatest = timestamp
        self._answered_at = now
        return None

    def respond(
        self, owner: T, initiation: Initiation, noise: Responder, now: float
    ) -> tuple[bytes, Keypair]:
        """The response, and the session that it leads to."""
        shared = self._shared
        message, keys = noise.write(b"", shared.new_private_key(), self._preshared)
        index = shared.indices.allocate(owner)
        encoded = encode_response(Response(index, initiation.sender, message))
        keypair = Keypair(keys, index, initiation.sender, now, initiated_at=None)
        return self._cookies.add_macs(encoded, now), keypair
