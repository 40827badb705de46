"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), for cookie replies; `cryptography` has none."""

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NONCE_SIZE = 24
SUBKEY_NONCE_SIZE = 16

_WORDS = struct.Struct("<16I")
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey, 32 bytes, from a key of 32 and a nonce of 16 (§2.2).

    HChaCha20 is the block function of ChaCha20 without its last step, the addition of the words that it began with
    (RFC 8439 §2.3). Half of those words are public, the constants and the nonce, and just these are asked for: so
    they are subtracted from a block of OpenSSL's, which takes the same time for every key.
    """
    block = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    words = _WORDS.unpack(block)
    outer = (*words[:4], *words[12:])
    start = (*_CONSTANTS, *struct.unpack("<4I", nonce))
    return struct.pack("<8I", *((a - b) & _MASK for a, b in zip(outer, start, strict=True)))


class XChaCha20Poly1305:
    """For one key and the first 16 bytes of the nonce; the other 8 are given with each message.

    A subkey is worth keeping: it costs more than all the rest of a short message.
    """

    __slots__ = ("_aead", "prefix")

    def __init__(self, key: bytes, prefix: bytes) -> None:
        self._aead = ChaCha20Poly1305(hchacha20(key, prefix))
        self.prefix = prefix

    def encrypt(self, rest: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """The ciphertext with its tag, 16 bytes more; the nonce is `prefix + rest`."""
        return self._aead.encrypt(bytes(4) + rest, plaintext, associated)

    def decrypt(self, rest: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """The plaintext. Raises `InvalidTag` of `cryptography`."""
        return self._aead.decrypt(bytes(4) + rest, ciphertext, associated)

    def __repr__(self) -> str:
        return "<XChaCha20Poly1305>"
