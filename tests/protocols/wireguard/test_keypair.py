"""`mcpctld.protocols.wireguard.keypair`: two ends of one session."""

import pytest

from mcpctld.protocols.wireguard.keypair import Keypair
from mcpctld.protocols.wireguard.limits import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from mcpctld.protocols.wireguard.noise import TransportKeys

FORTH, BACK = bytes(32), bytes(range(32))


def ends() -> tuple[Keypair, Keypair]:
    initiator = Keypair(TransportKeys(FORTH, BACK), 1, 2, 100.0, initiated_at=100.0)
    return initiator, Keypair(TransportKeys(BACK, FORTH), 2, 1, 100.0, initiated_at=None)


def test_what_one_end_seals_the_other_opens():
    initiator, responder = ends()
    for number, packet in enumerate((b"", b"x" * 16, b"y" * 1420)):
        datagram = initiator.seal(packet)
        assert datagram[:4].hex() == "04000000"
        assert datagram[4:16] == b"\2\0\0\0" + number.to_bytes(8, "little")
        assert len(datagram) == 32 + len(packet)
        assert responder.open(datagram) == packet
        assert initiator.open(datagram) is None  # not our own
    assert initiator.sent == 3


def test_the_first_message_is_that_of_any_implementation():
    """ChaCha20-Poly1305 with an all-zero key and nonce, of nothing: the tag is known (RFC 8439 §2.8)."""
    assert ends()[0].seal(b"")[16:].hex() == "4eb972c9a8fb3a1b382bb4d36f5ffad1"


def test_no_byte_but_those_of_type_and_index_can_be_changed():
    initiator, responder = ends()
    datagram = initiator.seal(b"x" * 16)
    for at in range(8, len(datagram)):
        changed = datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1 :]
        assert responder.open(changed) is None


def test_each_counter_is_accepted_once():
    responder = ends()[1]
    assert [responder.accept(counter) for counter in (0, 1, 1, 0, 2)] == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("age", "can_send", "after_sending", "after_receiving"),
    [(0, True, False, False), (119.9, True, False, False), (120, True, True, False),
     (164.9, True, True, False), (165, True, True, True), (179.9, True, True, True),
     (180, False, True, True)],
)  # fmt: skip
def test_what_becomes_of_it_with_time(age, can_send, after_sending, after_receiving):
    initiator, responder = ends()
    now = 100.0 + age
    assert initiator.can_send(now) is responder.can_send(now) is can_send
    assert initiator.is_due_after_sending(now) is after_sending
    assert (now >= initiator.due_after_receiving) is after_receiving
    assert not responder.is_due_after_sending(now)  # the initiator makes the next one
    assert now < responder.due_after_receiving


@pytest.mark.parametrize(("now", "can_send"), [(279.5, True), (279.6, False)])
def test_the_initiator_sends_nothing_that_the_responder_would_not_take_any_more(now, can_send):
    """Its initiation went at 99.6, the responder had the session at 99.8."""
    initiator = Keypair(TransportKeys(FORTH, BACK), 1, 2, 100.0, initiated_at=99.6)
    assert initiator.can_send(now) is can_send
    assert initiator.expires == 280.0


@pytest.mark.parametrize("end", [0, 1])
def test_what_becomes_of_it_with_use(end):
    keypair = ends()[end]
    keypair.sent = REKEY_AFTER_MESSAGES - 1
    assert not keypair.is_due_after_sending(100.0)
    keypair.seal(b"")
    assert keypair.is_due_after_sending(100.0)
    keypair.sent = REJECT_AFTER_MESSAGES - 1
    assert keypair.can_send(100.0)
    keypair.seal(b"")
    assert not keypair.can_send(100.0)


def test_no_keys_are_shown():
    initiator, responder = ends()
    assert repr(initiator) == "<Keypair 0x1 of the initiator>"
    assert repr(responder) == "<Keypair 0x2 of the responder>"
