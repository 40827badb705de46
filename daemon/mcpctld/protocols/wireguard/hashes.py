"""The hash functions of the whitepaper, §5.4: all of them BLAKE2s (RFC 7693)."""

import hashlib
import hmac

HASH_SIZE = 32
MAC_SIZE = 16


def hash_of(data: bytes) -> bytes:
    """Hash(data): 32 bytes."""
    return hashlib.blake2s(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Mac(key, data): keyed BLAKE2s of 16 bytes. The key has at most 32."""
    return hashlib.blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    """KDF_count(key, data): HKDF (RFC 5869) with HMAC-BLAKE2s, `count` outputs of 32 bytes."""
    secret = hmac.digest(key, data, "blake2s")
    outputs = [hmac.digest(secret, b"\1", "blake2s")]
    for number in range(2, count + 1):
        outputs.append(hmac.digest(secret, outputs[-1] + bytes([number]), "blake2s"))
    return outputs
