"""MAC1, MAC2 and cookies (whitepaper §5.3, §5.4.4, §5.4.7): work is done only for those who can be reached.

`CookieMaker` is the side that receives handshakes, one for a device. `CookieJar` is the side that sends them, one for
each peer.
"""

import hmac
import math
from collections.abc import Callable

from cryptography.exceptions import InvalidTag

from mcpctld.protocols.wireguard.hashes import MAC_SIZE, hash_of, mac
from mcpctld.protocols.wireguard.keys import KEY_SIZE
from mcpctld.protocols.wireguard.limits import (
    COOKIE_LATENCY,
    COOKIE_LIFETIME,
    COOKIE_SECRET_LIFETIME,
)
from mcpctld.protocols.wireguard.messages import (
    MACS_SIZE,
    NO_MAC,
    CookieReply,
    encode_cookie_reply,
    sender_of,
)
from mcpctld.protocols.wireguard.xchacha import (
    NONCE_SIZE,
    SUBKEY_NONCE_SIZE,
    XChaCha20Poly1305,
)

_LABEL_MAC1 = b"mac1----"
_LABEL_COOKIE = b"cookie--"


class CookieMaker:
    """Judges the MACs of what comes, and makes cookies.

    A cookie is a MAC of where the message came from, under a secret of ours that changes every two minutes. All replies
    of one secret share a subkey, so that being under load costs little: the first 16 bytes of their nonces are drawn
    with the secret, the last 8 count.
    """

    def __init__(self, public: bytes, entropy: Callable[[int], bytes]) -> None:
        self._mac1_key = hash_of(_LABEL_MAC1 + public)
        self._cookie_key = hash_of(_LABEL_COOKIE + public)
        self._entropy = entropy
        self._secret = b""
        self._secret_until = -math.inf
        self._replies = 0
        self._aead = XChaCha20Poly1305(self._cookie_key, bytes(SUBKEY_NONCE_SIZE))

    def has_valid_mac1(self, datagram: bytes) -> bool:
        """Whether who sent an initiation or a response knows our public key."""
        expected = mac(self._mac1_key, datagram[:-MACS_SIZE])
        return hmac.compare_digest(expected, datagram[-MACS_SIZE:-MAC_SIZE])

    def has_valid_mac2(self, datagram: bytes, source: bytes, now: float) -> bool:
        """Whether who sent it has got a cookie of ours at this address."""
        expected = mac(self._cookie(source, now), datagram[:-MAC_SIZE])
        return hmac.compare_digest(expected, datagram[-MAC_SIZE:])

    def reply(self, datagram: bytes, source: bytes, now: float) -> bytes:
        """A cookie reply to an initiation or a response whose MAC1 is valid."""
        cookie = self._cookie(source, now)
        rest = self._replies.to_bytes(NONCE_SIZE - SUBKEY_NONCE_SIZE, "little")
        self._replies += 1
        sealed = self._aead.encrypt(rest, cookie, datagram[-MACS_SIZE:-MAC_SIZE])
        nonce = self._aead.prefix + rest
        return encode_cookie_reply(CookieReply(sender_of(datagram), nonce, sealed))

    def _cookie(self, source: bytes, now: float) -> bytes:
        if now >= self._secret_until:
            self._secret = self._entropy(KEY_SIZE)
            self._secret_until = now + COOKIE_SECRET_LIFETIME
            self._aead = XChaCha20Poly1305(self._cookie_key, self._entropy(SUBKEY_NONCE_SIZE))
            self._replies = 0
        return mac(self._secret, source)


class CookieJar:
    """Puts the MACs on what we send to one peer, and keeps the cookie that it gave us."""

    def __init__(self, public: bytes) -> None:
        """`public`: the peer's key."""
        self._mac1_key = hash_of(_LABEL_MAC1 + public)
        self._cookie_key = hash_of(_LABEL_COOKIE + public)
        self._cookie = b""
        self._cookie_until = -math.inf
        self._last_mac1: bytes | None = None

    def add_macs(self, message: bytes, now: float) -> bytes:
        """The whole datagram: MAC2 is zero without a cookie that is fresh (§5.4.4)."""
        mac1 = mac(self._mac1_key, message)
        self._last_mac1 = mac1
        datagram = message + mac1
        return datagram + (mac(self._cookie, datagram) if now < self._cookie_until else NO_MAC)

    def receive(self, reply: CookieReply, now: float) -> bool:
        """Take the cookie, for what is sent from now on; False if the reply is not to what we sent last.

        The message is not sent again at once: its timer does that (§6.6).
        """
        if self._last_mac1 is None:
            return False
        prefix, rest = reply.nonce[:SUBKEY_NONCE_SIZE], reply.nonce[SUBKEY_NONCE_SIZE:]
        aead = XChaCha20Poly1305(self._cookie_key, prefix)
        try:
            self._cookie = aead.decrypt(rest, reply.cookie, self._last_mac1)
        except InvalidTag:
            return False
        self._cookie_until = now + COOKIE_LIFETIME - COOKIE_LATENCY
        self._last_mac1 = None  # one reply to each message
        return True
