"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (Noise rev. 34; whitepaper §5.4.1 to §5.4.5).

    <- s                        the initiator knows the responder's static key
    -> e, es, s, ss, payload    `Initiator.write`, `Responder.read`
    <- e, ee, se, psk, payload  `Responder.write`, `Initiator.read`

Names are those of the Noise specification; §n are its sections. Messages are whole Noise messages: WireGuard's own
headers and MACs are not in them. Each key encrypts one message, so the nonce is always 0.
"""

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mcpctld.protocols.wireguard.hashes import hash_of, kdf
from mcpctld.protocols.wireguard.keys import KEY_SIZE, PresharedKey, PrivateKey, UnusableKey

NAME = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
"""WireGuard's prologue."""

_TAG_SIZE = 16
_STATIC_END = KEY_SIZE + KEY_SIZE + _TAG_SIZE
_NONCE = bytes(12)


class NotAuthentic(Exception):
    """The message was not made by who should have made it, or not for us."""


class TransportKeys(msgspec.Struct, frozen=True):
    """What a handshake leads to: a key for each direction, 32 bytes."""

    sending: bytes
    receiving: bytes

    def __repr__(self) -> str:
        return "<TransportKeys>"


class _SymmetricState:
    """§5.2: the chaining key, the hash of all that was said, and a key."""

    __slots__ = ("chaining_key", "hash", "key")

    def __init__(self, prologue: bytes, responder: bytes) -> None:
        # The name is longer than a hash, so it is hashed (§5.2, InitializeSymmetric).
        self.chaining_key = self.hash = hash_of(NAME)
        self.key = b""
        self.mix_hash(prologue)
        self.mix_hash(responder)

    def copy(self) -> "_SymmetricState":
        other = _SymmetricState.__new__(_SymmetricState)
        other.chaining_key, other.hash, other.key = self.chaining_key, self.hash, self.key
        return other

    def mix_hash(self, data: bytes) -> None:
        self.hash = hash_of(self.hash + data)

    def mix_key(self, data: bytes) -> None:
        self.chaining_key, self.key = kdf(self.chaining_key, data, 2)

    def mix_ephemeral(self, public: bytes) -> None:
        """Token `e` where there is a preshared key (§9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def mix_key_and_hash(self, data: bytes) -> None:
        self.chaining_key, mixed, self.key = kdf(self.chaining_key, data, 3)
        self.mix_hash(mixed)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = ChaCha20Poly1305(self.key).encrypt(_NONCE, plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = ChaCha20Poly1305(self.key).decrypt(_NONCE, ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> list[bytes]:
        """The keys: of what the initiator sends, and of what the responder sends."""
        return kdf(self.chaining_key, b"", 2)


class Initiator:
    """One handshake that we begin."""

    def __init__(
        self, static: PrivateKey, ephemeral: PrivateKey, responder: bytes, prologue: bytes
    ) -> None:
        self._static = static
        self._ephemeral = ephemeral
        self._responder = responder
        self._state = _SymmetricState(prologue, responder)

    def write(self, payload: bytes) -> bytes:
        """The first message. Raises `UnusableKey` for a responder that nobody can speak to."""
        state = self._state
        state.mix_ephemeral(self._ephemeral.public)
        state.mix_key(self._ephemeral.exchange(self._responder))
        static = state.encrypt_and_hash(self._static.public)
        state.mix_key(self._static.exchange(self._responder))
        return self._ephemeral.public + static + state.encrypt_and_hash(payload)

    def read(self, message: bytes, preshared: PresharedKey) -> tuple[bytes, TransportKeys]:
        """Payload of the second message, and the keys. Raises `NotAuthentic`; then another one may still come."""
        state = self._state.copy()
        remote = message[:KEY_SIZE]
        try:
            state.mix_ephemeral(remote)
            state.mix_key(self._ephemeral.exchange(remote))
            state.mix_key(self._static.exchange(remote))
            state.mix_key_and_hash(preshared.raw)
            payload = state.decrypt_and_hash(message[KEY_SIZE:])
        except (UnusableKey, InvalidTag) as exc:
            raise NotAuthentic("the response is not authentic") from exc
        return payload, TransportKeys(*state.split())


class Responder:
    """One handshake that another begins. `initiator` is its public key once the message has been read."""

    def __init__(self, static: PrivateKey, prologue: bytes) -> None:
        self._static = static
        self._state = _SymmetricState(prologue, static.public)
        self._remote_ephemeral = b""
        self.initiator = b""

    def read(self, message: bytes) -> bytes:
        """Payload of the first message. Raises `NotAuthentic`; then this object is of no more use."""
        state = self._state
        self._remote_ephemeral = message[:KEY_SIZE]
        try:
            state.mix_ephemeral(self._remote_ephemeral)
            state.mix_key(self._static.exchange(self._remote_ephemeral))
            self.initiator = state.decrypt_and_hash(message[KEY_SIZE:_STATIC_END])
            state.mix_key(self._static.exchange(self.initiator))
            return state.decrypt_and_hash(message[_STATIC_END:])
        except (UnusableKey, InvalidTag) as exc:
            raise NotAuthentic("the initiation is not authentic") from exc

    def write(
        self, payload: bytes, ephemeral: PrivateKey, preshared: PresharedKey
    ) -> tuple[bytes, TransportKeys]:
        """The second message, and the keys."""
        state = self._state
        state.mix_ephemeral(ephemeral.public)
        # Reading has shown that both of the initiator's keys lead to secrets.
        state.mix_key(ephemeral.exchange(self._remote_ephemeral))
        state.mix_key(ephemeral.exchange(self.initiator))
        state.mix_key_and_hash(preshared.raw)
        message = ephemeral.public + state.encrypt_and_hash(payload)
        receiving, sending = state.split()
        return message, TransportKeys(sending, receiving)
