"""`mcpctld.protocols.wireguard.cookies`: a maker and a jar that face each other."""

import random

import pytest

from mcpctld.protocols.wireguard.cookies import CookieJar, CookieMaker
from mcpctld.protocols.wireguard.keys import PrivateKey
from mcpctld.protocols.wireguard.messages import Initiation, decode_cookie_reply, encode_initiation
from wireguard import capture

PUBLIC = PrivateKey(bytes(range(32))).public
HERE, THERE = b"here", b"there"
MESSAGE = encode_initiation(Initiation(7, bytes(108)))


@pytest.fixture
def maker():
    return CookieMaker(PUBLIC, random.Random(1).randbytes)


@pytest.fixture
def jar():
    return CookieJar(PUBLIC)


@pytest.mark.parametrize(
    ("datagram", "public"),
    [
        (capture.INITIATION, capture.RESPONDER_PUBLIC),
        (capture.RESPONSE, capture.INITIATOR_PUBLIC),
    ],
)
def test_the_macs_of_the_kernel(datagram, public):
    assert CookieJar(public).add_macs(datagram[:-32], 0.0) == datagram
    assert CookieMaker(public, random.Random(1).randbytes).has_valid_mac1(datagram)


def test_mac1_shows_that_the_sender_knows_whom_he_writes_to(maker, jar):
    assert maker.has_valid_mac1(jar.add_macs(MESSAGE, 0.0))
    assert not maker.has_valid_mac1(CookieJar(bytes(32)).add_macs(MESSAGE, 0.0))


@pytest.mark.parametrize("at", [0, 8, 115, 116, 131])
def test_mac1_covers_the_message(maker, jar, at):
    datagram = bytearray(jar.add_macs(MESSAGE, 0.0))
    datagram[at] ^= 1
    assert not maker.has_valid_mac1(bytes(datagram))


def get_cookie(maker, jar, now, source=HERE):
    datagram = jar.add_macs(MESSAGE, now)
    return jar.receive(decode_cookie_reply(maker.reply(datagram, source, now)), now)


def test_without_a_cookie_mac2_is_zero_and_not_valid(maker, jar):
    datagram = jar.add_macs(MESSAGE, 0.0)
    assert datagram[-16:] == bytes(16)
    assert not maker.has_valid_mac2(datagram, HERE, 0.0)


def test_with_a_cookie_mac2_is_valid_from_there_only(maker, jar):
    assert get_cookie(maker, jar, 0.0)
    datagram = jar.add_macs(MESSAGE, 5.0)
    assert maker.has_valid_mac1(datagram)
    assert maker.has_valid_mac2(datagram, HERE, 5.0)
    assert not maker.has_valid_mac2(datagram, THERE, 5.0)


@pytest.mark.parametrize("at", [0, 116, 131, 132, 147])
def test_mac2_covers_all_before_it(maker, jar, at):
    get_cookie(maker, jar, 0.0)
    datagram = bytearray(jar.add_macs(MESSAGE, 5.0))
    datagram[at] ^= 1
    assert not maker.has_valid_mac2(bytes(datagram), HERE, 5.0)


@pytest.mark.parametrize(
    ("age", "used"), [(0.0, True), (114.9, True), (115.0, False), (300.0, False)]
)
def test_a_cookie_is_used_until_shortly_before_it_could_be_refused(maker, jar, age, used):
    get_cookie(maker, jar, 10.0)
    datagram = jar.add_macs(MESSAGE, 10.0 + age)
    assert (datagram[-16:] != bytes(16)) is used
    assert maker.has_valid_mac2(datagram, HERE, 10.0 + age) is used


def test_the_secret_changes_every_two_minutes(maker, jar):
    get_cookie(maker, jar, 0.0)
    datagram = jar.add_macs(MESSAGE, 1.0)
    assert maker.has_valid_mac2(datagram, HERE, 119.9)
    assert not maker.has_valid_mac2(datagram, HERE, 120.0)


def test_no_nonce_is_used_twice(maker, jar):
    datagram = jar.add_macs(MESSAGE, 0.0)
    nonces = [decode_cookie_reply(maker.reply(datagram, HERE, now)).nonce for now in range(500)]
    assert len(set(nonces)) == 500
    assert len({nonce[:16] for nonce in nonces}) == 5  # one for each secret


def test_a_reply_to_something_else_is_refused(maker, jar):
    reply = decode_cookie_reply(maker.reply(jar.add_macs(MESSAGE, 0.0), HERE, 0.0))
    jar.add_macs(MESSAGE[:-1] + b"\1", 0.0)
    assert not jar.receive(reply, 0.0)
    assert jar.add_macs(MESSAGE, 0.0)[-16:] == bytes(16)


def test_each_message_is_replied_to_once(maker, jar):
    reply = decode_cookie_reply(maker.reply(jar.add_macs(MESSAGE, 0.0), HERE, 0.0))
    assert not CookieJar(PUBLIC).receive(reply, 0.0)  # which has sent nothing
    assert jar.receive(reply, 0.0)
    assert not jar.receive(reply, 0.0)


def test_a_forged_reply_does_not_spoil_the_true_one(maker, jar):
    reply = decode_cookie_reply(maker.reply(jar.add_macs(MESSAGE, 0.0), HERE, 0.0))
    forged = type(reply)(reply.receiver, reply.nonce, bytes(32))
    assert not jar.receive(forged, 0.0)
    assert jar.receive(reply, 0.0)
    assert reply.receiver == 7
