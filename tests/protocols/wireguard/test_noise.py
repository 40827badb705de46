"""`mcpctld.protocols.wireguard.noise`: published handshakes, to the byte, and what is no handshake."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey
from mcpctld.protocols.wireguard.noise import IDENTIFIER, Initiator, NotAuthentic, Responder
from wireguard import capture

# The vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s among cacophony's.
PROLOGUE = b"John Galt"
PRESHARED = PresharedKey(b"This is my Austrian perspective!")
INITIATOR = PrivateKey(
    bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1")
)
INITIATOR_EPHEMERAL = PrivateKey(
    bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
)
RESPONDER = PrivateKey(
    bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
)
RESPONDER_PUBLIC = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"
RESPONDER_EPHEMERAL = PrivateKey(
    bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
)
FIRST = (b"Ludwig von Mises", (
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
    "001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf"
    "1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985"
    "464cf17e51ee93109008399a21f7e13f"
))  # fmt: skip
SECOND = (b"Murray Rothbard", (
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
    "cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a"
))  # fmt: skip
TRANSPORT = [  # from the initiator, from the responder, and so on
    (b"F. A. Hayek", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
    (b"Carl Menger", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
    (b"Jean-Baptiste Say", "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d"),
    (
        "Eugen Böhm von Bawerk".encode("latin-1"),
        "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
    ),
]


def seal(key: bytes, counter: int, plaintext: bytes) -> str:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, b"").hex()


def test_the_published_vector():
    initiator = Initiator(INITIATOR, INITIATOR_EPHEMERAL, RESPONDER.public, PROLOGUE)
    responder = Responder(RESPONDER, PROLOGUE)
    first = initiator.write(FIRST[0])
    assert (RESPONDER.public.hex(), first.hex()) == (RESPONDER_PUBLIC, FIRST[1])
    assert responder.read(first) == FIRST[0]
    assert responder.initiator == INITIATOR.public
    second, theirs = responder.write(SECOND[0], RESPONDER_EPHEMERAL, PRESHARED)
    assert second.hex() == SECOND[1]
    payload, ours = initiator.read(second, PRESHARED)
    assert payload == SECOND[0]
    assert (ours.sending, ours.receiving) == (theirs.receiving, theirs.sending)
    for number, (plaintext, ciphertext) in enumerate(TRANSPORT):
        key = theirs.sending if number % 2 else ours.sending
        assert seal(key, number // 2, plaintext) == ciphertext


def test_a_handshake_of_the_kernel_as_initiator():
    initiator = Initiator(
        PrivateKey(capture.INITIATOR),
        PrivateKey(capture.INITIATOR_EPHEMERAL),
        capture.RESPONDER_PUBLIC,
        IDENTIFIER,
    )
    assert initiator.write(capture.TIMESTAMP) == capture.INITIATION[8:116]
    assert initiator.read(capture.RESPONSE[12:60], NO_PRESHARED_KEY)[0] == b""


def test_a_handshake_of_the_kernel_as_responder():
    responder = Responder(PrivateKey(capture.RESPONDER), IDENTIFIER)
    assert responder.read(capture.INITIATION[8:116]) == capture.TIMESTAMP
    assert responder.initiator == capture.INITIATOR_PUBLIC
    ephemeral = PrivateKey(capture.RESPONDER_EPHEMERAL)
    assert responder.write(b"", ephemeral, NO_PRESHARED_KEY)[0] == capture.RESPONSE[12:60]


def begun() -> tuple[Initiator, bytes]:
    initiator = Initiator(INITIATOR, INITIATOR_EPHEMERAL, RESPONDER.public, IDENTIFIER)
    return initiator, initiator.write(bytes(12))


def answer(first: bytes) -> bytes:
    responder = Responder(RESPONDER, IDENTIFIER)
    responder.read(first)
    return responder.write(b"", RESPONDER_EPHEMERAL, PRESHARED)[0]


def test_no_byte_of_the_first_message_can_be_changed():
    _, first = begun()
    for at in range(len(first)):
        changed = first[:at] + bytes([first[at] ^ 0x41]) + first[at + 1 :]
        with pytest.raises(NotAuthentic):
            Responder(RESPONDER, IDENTIFIER).read(changed)


def test_no_byte_of_the_second_can_be_changed_and_the_true_one_is_still_read():
    initiator, first = begun()
    second = answer(first)
    for at in range(len(second)):
        changed = second[:at] + bytes([second[at] ^ 0x41]) + second[at + 1 :]
        with pytest.raises(NotAuthentic):
            initiator.read(changed, PRESHARED)
    assert initiator.read(second, PRESHARED)[0] == b""


@pytest.mark.parametrize(
    "other",
    [Responder(INITIATOR, IDENTIFIER), Responder(RESPONDER, b"another prologue")],
    ids=["for another", "in another protocol"],
)
def test_what_is_not_meant_for_us_is_not_authentic(other):
    with pytest.raises(NotAuthentic):
        other.read(begun()[1])


def test_another_preshared_key_is_noticed():
    initiator, first = begun()
    with pytest.raises(NotAuthentic):
        initiator.read(answer(first), NO_PRESHARED_KEY)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_keys_that_lead_to_no_secret_are_not_authentic(point):
    initiator, first = begun()
    with pytest.raises(NotAuthentic):
        Responder(RESPONDER, IDENTIFIER).read(point + first[32:])
    with pytest.raises(NotAuthentic):
        initiator.read(point + answer(first)[32:], PRESHARED)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=150))
def test_noise_is_not_authentic(noise):
    with pytest.raises(NotAuthentic):
        Responder(RESPONDER, IDENTIFIER).read(noise)
    with pytest.raises(NotAuthentic):
        begun()[0].read(noise, PRESHARED)


def test_the_keys_are_not_shown():
    initiator, first = begun()
    _, keys = initiator.read(answer(first), PRESHARED)
    assert repr(keys) == "<TransportKeys>"
