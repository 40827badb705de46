"""Curve25519 keys, and their form in configuration files: 44 characters of base64.

A public key is `bytes`, 32 of them. Secrets have classes of their own, so that no `repr` shows them.
"""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_SIZE = 32


class UnusableKey(Exception):
    """A public key of the peer's that leads to no secret: a point of small order (RFC 7748 §6.1)."""


def decode_key(text: str) -> bytes:
    """32 bytes of base64. Raises `ValueError`, which does not repeat the text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # Other spellings of the same bytes are refused, as `wg` does: the unused bits must be zero.
    if len(raw) != KEY_SIZE or encode_key(raw) != text:
        raise ValueError("a key is 44 characters of base64, the last of them '='")
    return raw


def encode_key(raw: bytes) -> str:
    """The base64 form."""
    return base64.b64encode(raw).decode("ascii")


class PrivateKey:
    """A Curve25519 private key; `public` is the public one."""

    __slots__ = ("_key", "public")

    def __init__(self, raw: bytes) -> None:
        """`ValueError` unless `raw` has 32 bytes."""
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self.public = self._key.public_key().public_bytes_raw()

    @classmethod
    def from_text(cls, text: str) -> "PrivateKey":
        """From base64. Raises `ValueError`."""
        return cls(decode_key(text))

    def exchange(self, public: bytes) -> bytes:
        """DH(private, public), 32 bytes (§5.4). Raises `UnusableKey`."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as exc:
            raise UnusableKey("the public key leads to no secret") from exc

    def __repr__(self) -> str:
        return f"<PrivateKey of {encode_key(self.public)}>"


class PresharedKey:
    """A symmetric key that both sides know beside the others (§5.2)."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        """`ValueError` unless `raw` has 32 bytes."""
        if len(raw) != KEY_SIZE:
            raise ValueError("a preshared key has 32 bytes")
        self.raw = raw

    @classmethod
    def from_text(cls, text: str) -> "PresharedKey":
        """From base64. Raises `ValueError`."""
        return cls(decode_key(text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresharedKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return "<PresharedKey>"


NO_PRESHARED_KEY = PresharedKey(bytes(KEY_SIZE))
"""Stands for none (§5.2)."""
