"""`mcpctld.protocols.wireguard.messages`: bytes and what they hold, both ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard import messages
from mcpctld.protocols.wireguard.messages import (
    COOKIE_REPLY,
    INITIATION,
    MACS_SIZE,
    RESPONSE,
    TRANSPORT,
    CookieReply,
    Initiation,
    Response,
    kind_of,
)
from wireguard import capture

INDEX = st.integers(0, 2**32 - 1)
MACS = bytes(MACS_SIZE)


@settings(deadline=None, derandomize=True)
@given(INDEX, st.binary(min_size=108, max_size=108))
def test_an_initiation(sender, noise):
    message = Initiation(sender, noise)
    datagram = messages.encode_initiation(message) + MACS
    assert (len(datagram), kind_of(datagram)) == (148, INITIATION)
    assert messages.decode_initiation(datagram) == message
    assert messages.sender_of(datagram) == sender


@settings(deadline=None, derandomize=True)
@given(INDEX, INDEX, st.binary(min_size=48, max_size=48))
def test_a_response(sender, receiver, noise):
    message = Response(sender, receiver, noise)
    datagram = messages.encode_response(message) + MACS
    assert (len(datagram), kind_of(datagram)) == (92, RESPONSE)
    assert messages.decode_response(datagram) == message
    assert messages.sender_of(datagram) == sender


@settings(deadline=None, derandomize=True)
@given(INDEX, st.binary(min_size=24, max_size=24), st.binary(min_size=32, max_size=32))
def test_a_cookie_reply(receiver, nonce, cookie):
    message = CookieReply(receiver, nonce, cookie)
    datagram = messages.encode_cookie_reply(message)
    assert (len(datagram), kind_of(datagram)) == (64, COOKIE_REPLY)
    assert messages.decode_cookie_reply(datagram) == message


def test_a_handshake_of_the_kernel():
    initiation = messages.decode_initiation(capture.INITIATION)
    response = messages.decode_response(capture.RESPONSE)
    assert initiation.sender == response.receiver == capture.INITIATOR_INDEX
    assert response.sender == capture.RESPONDER_INDEX
    assert messages.encode_initiation(initiation) == capture.INITIATION[:-MACS_SIZE]
    assert messages.encode_response(response) == capture.RESPONSE[:-MACS_SIZE]


NO_MESSAGES = {
    "nothing": b"",
    "too short for a type": b"\1\0\0",
    "an unknown type": b"\5\0\0\0" + bytes(144),
    "a reserved byte": b"\1\0\1\0" + bytes(144),
    "an initiation cut short": capture.INITIATION[:-1],
    "an initiation and more": capture.INITIATION + b"\0",
    "a response of an initiation's length": b"\2" + capture.INITIATION[1:],
    "a transport message, which is read elsewhere": b"\4\0\0\0" + bytes(28),
}


@pytest.mark.parametrize("datagram", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_none_of_them(datagram):
    assert kind_of(datagram) is None


def test_the_header_of_transport_messages():
    assert messages.TRANSPORT_OVERHEAD == 32
    header = messages.TRANSPORT_HEADER.pack(TRANSPORT, 0x01020304, 5)
    assert header.hex() == "04000000" + "04030201" + "0500000000000000"


def test_no_contents_are_shown():
    shown = [Initiation(7, b"s" * 108), Response(7, 8, b"s" * 48), CookieReply(7, b"s", b"s")]
    expected = ["<Initiation from 0x7>", "<Response from 0x7 to 0x8>", "<CookieReply to 0x7>"]
    assert [repr(message) for message in shown] == expected
