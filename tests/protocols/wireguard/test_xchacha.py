"""`mcpctld.protocols.wireguard.xchacha`: the vectors of draft-irtf-cfrg-xchacha-03."""

import struct

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.xchacha import XChaCha20Poly1305, hchacha20

# §2.2.1
SUBKEY = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"

# Appendix A.3.1
KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
ASSOCIATED = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
PLAINTEXT = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you "
    b"only one tip for the future, sunscreen would be it."
)
CIPHERTEXT = (
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
    "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
    "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52e"
    "c0875924c1c7987947deafd8780acf49"
)


def by_hand(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 as §2.2 and RFC 8439 §2.1 have it."""
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<12I", key + nonce)]
    quarters = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    quarters += [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in quarters:
            for left, right, turned, by in (
                (a, b, d, 16),
                (c, d, b, 12),
                (a, b, d, 8),
                (c, d, b, 7),
            ):
                state[left] = (state[left] + state[right]) % 2**32
                mixed = state[turned] ^ state[left]
                state[turned] = (mixed << by | mixed >> (32 - by)) % 2**32
    return struct.pack("<8I", *state[:4], *state[12:])


def test_the_vector_of_hchacha20():
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    assert hchacha20(bytes(range(32)), nonce).hex() == SUBKEY


@settings(deadline=None, derandomize=True)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16))
def test_the_subkey_is_that_of_the_rounds_done_by_hand(key, nonce):
    assert hchacha20(key, nonce) == by_hand(key, nonce)


def test_the_vector_of_the_aead():
    aead = XChaCha20Poly1305(KEY, NONCE[:16])
    assert aead.encrypt(NONCE[16:], PLAINTEXT, ASSOCIATED).hex() == CIPHERTEXT
    assert aead.decrypt(NONCE[16:], bytes.fromhex(CIPHERTEXT), ASSOCIATED) == PLAINTEXT
    assert aead.prefix == NONCE[:16]


@pytest.mark.parametrize("spoiled", ["rest", "ciphertext", "associated"])
def test_what_was_changed_does_not_decrypt(spoiled):
    given_ = {"rest": NONCE[16:], "ciphertext": bytes.fromhex(CIPHERTEXT), "associated": ASSOCIATED}
    given_[spoiled] = bytes([given_[spoiled][0] ^ 1]) + given_[spoiled][1:]
    with pytest.raises(InvalidTag):
        XChaCha20Poly1305(KEY, NONCE[:16]).decrypt(**given_)


def test_the_key_is_not_shown():
    assert repr(XChaCha20Poly1305(KEY, NONCE[:16])) == "<XChaCha20Poly1305>"
