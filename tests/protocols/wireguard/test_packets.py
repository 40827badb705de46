"""`mcpctld.protocols.wireguard.packets`: what is read of the packets inside, and what is none."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.packets import destination_of, unpad
from wireguard.inner import ipv4, packet

SIX = packet("fdaa:1::1", "fdaa:2::1", 60)
FOUR = ipv4("10.0.0.1", "10.0.0.2", 40)


def raw(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def test_where_to():
    assert destination_of(SIX) == raw("fdaa:2::1")
    assert destination_of(FOUR) == raw("10.0.0.2")


@pytest.mark.parametrize("padding", range(16))
def test_the_padding_is_taken_off(padding):
    assert unpad(SIX + bytes(padding)) == (SIX, raw("fdaa:1::1"))
    assert unpad(FOUR + bytes(padding)) == (FOUR, raw("10.0.0.1"))


NO_PACKETS = {
    "another version": b"\x50" + bytes(60),
    "zeros": bytes(60),
    "IPv6 without the whole header": SIX[:39],
    "IPv6 cut short": SIX[:-1],
    "IPv4 without the whole header": FOUR[:19],
    "IPv4 cut short": FOUR[:-1],
    "IPv4 shorter than its own header": FOUR[:2] + b"\0\x13" + FOUR[4:],
}


@pytest.mark.parametrize("data", NO_PACKETS.values(), ids=NO_PACKETS)
def test_what_is_no_packet(data):
    assert unpad(data) is None


@pytest.mark.parametrize("data", [b"", b"\x50" + bytes(60), SIX[:39], FOUR[:19]])
def test_what_is_to_nowhere(data):
    assert destination_of(data) is None


@settings(deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=100))
def test_any_bytes(data):
    found = unpad(data)
    if found is not None:
        inside, source = found
        assert data.startswith(inside)
        assert len(source) == {6: 16, 4: 4}[data[0] >> 4]
    assert (destination_of(data) is None) or len(data) >= 20
