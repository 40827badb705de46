"""`mcpctld.protocols.wireguard.handshakes`: the handshakes of two peers, without their sessions."""

import random

import pytest

from mcpctld.protocols.wireguard.clock import Clock
from mcpctld.protocols.wireguard.cookies import CookieMaker
from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.handshakes import Handshakes
from mcpctld.protocols.wireguard.keys import NO_PRESHARED_KEY, PrivateKey
from mcpctld.protocols.wireguard.messages import (
    decode_cookie_reply,
    decode_initiation,
    decode_response,
)
from mcpctld.protocols.wireguard.noise import IDENTIFIER, Responder
from mcpctld.protocols.wireguard.shared import Shared
from mcpctld.protocols.wireguard.tai64n import SIZE, ZERO
from wireguard import capture

ONE, OTHER = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)


class Side:
    """One of the two; its owner of indices is a name."""

    def __init__(self, own: PrivateKey, peer: PrivateKey, last: bytes = ZERO) -> None:
        self.own = own
        self.random = random.Random(own.public)
        self.shared: Shared[str] = Shared(own, self.random.randbytes, Clock(0.0, 1e9), 1420)
        self.handshakes: Handshakes[str] = Handshakes(
            self.shared, peer.public, NO_PRESHARED_KEY, last
        )

    def initiate(self, now: float) -> bytes:
        self.shared.clock.advance(now)
        return self.handshakes.initiate("peer", now)

    def answer(self, datagram: bytes, now: float):
        initiation = decode_initiation(datagram)
        noise = Responder(self.own, IDENTIFIER)
        timestamp = noise.read(initiation.noise)
        refusal = self.handshakes.refusal(timestamp, now)
        return refusal or self.handshakes.respond("peer", initiation, noise, now)


@pytest.fixture
def sides():
    return Side(ONE, OTHER), Side(OTHER, ONE)


def test_both_get_the_session(sides):
    one, other = sides
    response, theirs = other.answer(one.initiate(0.0), 0.1)
    ours, rtt = one.handshakes.complete(decode_response(response), 0.25)
    assert rtt == 0.25
    assert (ours.is_initiator, theirs.is_initiator) == (True, False)
    assert (ours.born, theirs.born) == (0.25, 0.1)
    assert theirs.open(ours.seal(b"forth")) == b"forth"
    assert ours.open(theirs.seal(b"back")) == b"back"
    assert one.shared.indices.owner(ours.local_index) == "peer"
    assert other.shared.indices.owner(theirs.local_index) == "peer"


def test_a_response_is_taken_once(sides):
    one, other = sides
    response = decode_response(other.answer(one.initiate(0.0), 0.0)[0])
    assert not isinstance(one.handshakes.complete(response, 0.0), Drop)
    assert one.handshakes.complete(response, 0.0) is Drop.UNKNOWN_INDEX


def test_only_the_last_initiation_is_waited_for(sides):
    one, other = sides
    first = other.answer(one.initiate(0.0), 0.0)[0]
    second = other.answer(one.initiate(5.0), 5.0)[0]
    assert one.handshakes.complete(decode_response(first), 5.0) is Drop.UNKNOWN_INDEX
    assert not isinstance(one.handshakes.complete(decode_response(second), 5.0), Drop)
    assert len(one.shared.indices) == 1


def test_a_forged_response_does_not_end_the_waiting(sides):
    one, other = sides
    response = decode_response(other.answer(one.initiate(0.0), 0.0)[0])
    forged = type(response)(response.sender, response.receiver, response.noise[:-1] + b"\0")
    assert one.handshakes.complete(forged, 0.0) is Drop.NOT_AUTHENTIC
    assert not isinstance(one.handshakes.complete(response, 0.0), Drop)


def test_who_forgets_waits_for_nothing(sides):
    one, other = sides
    response = other.answer(one.initiate(0.0), 0.0)[0]
    one.handshakes.forget()
    one.handshakes.forget()
    assert one.handshakes.complete(decode_response(response), 0.0) is Drop.UNKNOWN_INDEX
    assert len(one.shared.indices) == 0


def test_two_that_cross_both_lead_to_a_session(sides):
    one, other = sides
    from_one, from_other = one.initiate(0.0), other.initiate(0.0)
    to_other, _ = one.answer(from_other, 0.1)
    to_one, _ = other.answer(from_one, 0.1)
    for side, response in ((one, to_one), (other, to_other)):
        assert not isinstance(side.handshakes.complete(decode_response(response), 0.2), Drop)


@pytest.mark.parametrize(
    ("second_at", "third_at", "refused"),
    [(1.0, 2.0, None), (1.0, 1.01, Drop.FLOOD), (1.0, 1.03, None)],
)
def test_initiations_too_soon_after_one_another_are_not_answered(
    sides, second_at, third_at, refused
):
    one, other = sides
    assert not isinstance(other.answer(one.initiate(second_at), second_at), Drop)
    answered = other.answer(one.initiate(third_at), third_at)
    assert (answered if isinstance(answered, Drop) else None) is refused


def test_an_initiation_is_answered_once_and_none_from_before(sides):
    one, other = sides
    first, second = one.initiate(0.0), one.initiate(5.0)
    assert not isinstance(other.answer(second, 5.0), Drop)
    assert other.answer(second, 10.0) is Drop.OLD_HANDSHAKE
    assert other.answer(first, 15.0) is Drop.OLD_HANDSHAKE


def test_a_restart_with_the_last_timestamp_is_answered_though_the_clock_went_back(sides):
    one, other = sides
    other.answer(one.initiate(1000.0), 0.0)
    last = one.handshakes.last_timestamp
    assert len(last) == SIZE
    assert other.answer(Side(ONE, OTHER).initiate(0.0), 1.0) is Drop.OLD_HANDSHAKE
    assert not isinstance(other.answer(Side(ONE, OTHER, last).initiate(0.0), 2.0), Drop)


@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_a_cookie_is_used_in_either_role(sides, role):
    one, other = sides
    maker = CookieMaker(OTHER.public, random.Random(9).randbytes)

    def next_message(now):
        if role == "initiator":
            return one.initiate(now)
        return one.answer(other.initiate(now), now)[0]

    first = next_message(0.0)
    reply = decode_cookie_reply(maker.reply(first, b"here", 0.0))
    assert one.handshakes.receive_cookie(reply, 0.0)
    assert not one.handshakes.receive_cookie(reply, 0.0)
    assert maker.has_valid_mac2(next_message(5.0), b"here", 5.0)


def test_the_messages_are_to_the_byte_those_of_the_kernel():
    """With the same keys, index and instant as in the capture, as initiator and as responder."""
    drawn = iter((capture.INITIATOR_EPHEMERAL, capture.INITIATOR_INDEX.to_bytes(4, "little")))
    own = PrivateKey(capture.INITIATOR)
    shared: Shared[str] = Shared(own, lambda size: next(drawn), Clock(0.0, 0.0), 1420)
    before = capture.TIMESTAMP[:8] + (
        int.from_bytes(capture.TIMESTAMP[8:], "big") - 2**24
    ).to_bytes(4, "big")
    handshakes = Handshakes(shared, capture.RESPONDER_PUBLIC, NO_PRESHARED_KEY, before)
    assert handshakes.initiate("peer", 0.0) == capture.INITIATION
    keypair, _ = handshakes.complete(decode_response(capture.RESPONSE), 0.0)
    assert keypair.local_index == capture.INITIATOR_INDEX

    drawn = iter((capture.RESPONDER_EPHEMERAL, capture.RESPONDER_INDEX.to_bytes(4, "little")))
    own = PrivateKey(capture.RESPONDER)
    shared = Shared(own, lambda size: next(drawn), Clock(0.0, 0.0), 1420)
    handshakes = Handshakes(shared, capture.INITIATOR_PUBLIC, NO_PRESHARED_KEY, ZERO)
    noise = Responder(own, IDENTIFIER)
    initiation = decode_initiation(capture.INITIATION)
    assert noise.read(initiation.noise) == capture.TIMESTAMP
    response, answered = handshakes.respond("peer", initiation, noise, 0.0)
    assert response == capture.RESPONSE
    assert answered.open(keypair.seal(b"hello")) == b"hello"
