"""`mcpctld.protocols.netlink`: one question to the kernel, and whatever may come back."""

import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.netlink import INET, INET6, read_route, route_request
from mcpctld.protocols.network import Path

SEQUENCE = 7
GATEWAY = bytes((10, 9, 0, 1))
SOURCE = bytes((10, 9, 0, 2))
DST, OIF, GATEWAY_, PREFSRC, TABLE, VIA = 1, 4, 5, 7, 15, 18
UNICAST, LOCAL, UNREACHABLE = 1, 2, 7


def attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def route(*attributes: bytes, family: int = INET, kind: int = UNICAST) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, 32, 0, 0, 254, 0, 0, kind, 0x200)
    return head + b"".join(attributes)


def message(body: bytes, kind: int = 24, number: int = SEQUENCE) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, number, 4711) + body


ORDINARY = (
    attribute(TABLE, struct.pack("=I", 254)),
    attribute(DST, bytes((198, 41, 0, 4))),
    attribute(OIF, struct.pack("=I", 3)),
    attribute(PREFSRC, SOURCE),
    attribute(GATEWAY_, GATEWAY),
)
ANSWER = message(route(*ORDINARY))


def test_the_question_is_of_the_form_that_the_kernel_reads():
    asked = route_request(INET, bytes((198, 41, 0, 4)), SEQUENCE)
    assert struct.unpack("=IHHII", asked[:16]) == (len(asked), 26, 1, SEQUENCE, 0)
    assert asked[16:28] == bytes((2, 32)) + bytes(10)
    assert asked[28:] == attribute(DST, bytes((198, 41, 0, 4)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has netlink")
@pytest.mark.parametrize(
    ("family", "loopback"), [(INET, b"\x7f\0\0\1"), (INET6, bytes(15) + b"\1")]
)
def test_the_kernel_answers_it(family, loopback):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(5)
        asking.send(route_request(family, loopback, SEQUENCE))
        answer = asking.recv(65536)
    assert struct.unpack("=IHHII", answer[:16])[1] in (2, 24)  # an error where there is no IPv6
    assert read_route(answer, SEQUENCE) is None  # what is local is no way out


def test_the_answer_tells_interface_gateway_and_address():
    assert read_route(ANSWER, SEQUENCE) == Path(3, GATEWAY, SOURCE)


def test_of_an_ipv6_address_only_the_network_counts():
    gateway, source = b"\xfe\x80" + bytes(13) + b"\1", bytes(range(16))
    body = route(attribute(PREFSRC, source), attribute(GATEWAY_, gateway), family=INET6)
    assert read_route(message(body), SEQUENCE) == Path(0, gateway, bytes(range(8)))


def test_a_gateway_of_the_other_family_is_a_gateway():
    via = struct.pack("=H", INET6) + bytes(16)
    body = route(attribute(PREFSRC, SOURCE), attribute(VIA, via))
    assert read_route(message(body), SEQUENCE) == Path(0, via, SOURCE)


NO_PATH = {
    "nothing": b"",
    "an error": message(struct.pack("=i", -101) + bytes(16), kind=2),
    "the answer to another question": message(route(*ORDINARY), number=8),
    "a local address": message(route(*ORDINARY, kind=LOCAL)),
    "a route that refuses": message(route(*ORDINARY, kind=UNREACHABLE)),
    "no address of our own": message(route(attribute(OIF, b"\3\0\0\0"))),
    "a body cut short": message(route()[:11]),
    "a length beyond the end": struct.pack("=IHHII", 999, 24, 0, SEQUENCE, 0) + route(*ORDINARY),
    "a length of nothing": bytes(16) * 4,
    "an attribute without an end": message(route(struct.pack("=HH", 999, PREFSRC) + SOURCE)),
    "an attribute of no length": message(route(bytes(64))),
}


@pytest.mark.parametrize("data", NO_PATH.values(), ids=NO_PATH)
def test_what_tells_no_path_is_none(data):
    assert read_route(data, SEQUENCE) is None


def test_an_odd_index_is_not_known():
    body = route(attribute(OIF, b"\3"), attribute(PREFSRC, SOURCE))
    assert read_route(message(body), SEQUENCE) == Path(0, b"", SOURCE)


@pytest.mark.parametrize("other", [NO_PATH["the answer to another question"], message(b"", kind=3)])
def test_the_answer_may_come_after_other_messages(other):
    assert read_route(other + ANSWER, SEQUENCE) == Path(3, GATEWAY, SOURCE)


def test_an_answer_cut_anywhere_is_none():
    for length in range(len(ANSWER)):
        assert read_route(ANSWER[:length], SEQUENCE) is None


@given(st.binary(max_size=200), st.integers(0, len(ANSWER)), st.integers(0, len(ANSWER)))
def test_any_bytes_are_a_path_or_none(noise, start, end):
    """Noise alone, and an answer with noise in its place."""
    for data in (
        noise,
        message(noise),
        message(route(noise)),
        ANSWER[:start] + noise + ANSWER[end:],
    ):
        found = read_route(data, SEQUENCE)
        assert found is None or isinstance(found, Path)
