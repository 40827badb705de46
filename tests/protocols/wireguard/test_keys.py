"""`mcpctld.protocols.wireguard.keys`: the vector of RFC 7748, text, and what must not be shown."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.keys import (
    NO_PRESHARED_KEY,
    PresharedKey,
    PrivateKey,
    UnusableKey,
    decode_key,
    encode_key,
)

# RFC 7748 §6.1: Bob's private key, Alice's public one, what they share.
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
BOB_PUBLIC = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="


def test_the_vector_of_the_rfc():
    key = PrivateKey(BOB)
    assert key.exchange(ALICE_PUBLIC) == SHARED
    assert encode_key(key.public) == BOB_PUBLIC


@settings(deadline=None, derandomize=True)
@given(st.binary(min_size=32, max_size=32))
def test_text_and_bytes(raw):
    assert decode_key(encode_key(raw)) == raw
    assert len(encode_key(raw)) == 44
    assert PrivateKey.from_text(encode_key(raw)).public == PrivateKey(raw).public
    assert PresharedKey.from_text(encode_key(raw)) == PresharedKey(raw)


REFUSED = {
    "nothing": "",
    "too short": encode_key(bytes(31)),
    "too long": encode_key(bytes(33)),
    "no base64": "!" * 44,
    "not ASCII": "ä" * 44,
    "a space before": " " + encode_key(bytes(32)),
    "unused bits": "A" * 42 + "B=",
    "hexadecimal": "00" * 32,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match="44 characters") as caught:
        decode_key(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_points_of_small_order_lead_to_no_secret(point):
    with pytest.raises(UnusableKey):
        PrivateKey(BOB).exchange(point)


def test_a_public_key_that_is_cut_short_leads_to_no_secret():
    with pytest.raises(UnusableKey):
        PrivateKey(BOB).exchange(b"\1\2")


@pytest.mark.parametrize("make", [PrivateKey, PresharedKey])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_have_32_bytes(make, size):
    with pytest.raises(ValueError, match="32 bytes"):
        make(bytes(size))


@pytest.mark.parametrize("key", [PrivateKey(BOB), PresharedKey(BOB)])
def test_secrets_are_not_shown(key):
    shown = f"{key!r} {key}"
    for secret in (BOB.hex(), base64.b64encode(BOB).decode(), repr(BOB)[2:-1], "5d, "):
        assert secret not in shown


def test_preshared_keys_are_compared_by_value():
    assert PresharedKey(BOB) == PresharedKey(BOB)
    assert hash(PresharedKey(BOB)) == hash(PresharedKey(BOB))
    assert PresharedKey(BOB) != NO_PRESHARED_KEY
    assert PresharedKey(BOB) != BOB
