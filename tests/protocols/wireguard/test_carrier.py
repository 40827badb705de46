"""`mcpctld.protocols.wireguard.carrier`: a stream, however it is cut."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard.carrier import (
    KEEPALIVE,
    MAGIC,
    MAX_DATAGRAM,
    Broken,
    CarrierReader,
    Datagram,
    KeptAlive,
    encode,
)

# What flyctl sends: the magic, a datagram of three bytes, a keepalive, one of a byte.
BYTES = bytes.fromhex("2faced7700000003616263000000000000000178")
EVENTS = [Datagram(b"abc"), KeptAlive(), Datagram(b"x")]


def events(reader: CarrierReader) -> list[object]:
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def read(pieces: list[bytes], magic: bytes = MAGIC) -> list[object]:
    reader = CarrierReader(magic)
    for piece in pieces:
        reader.receive_data(piece)
    reader.receive_eof()
    return events(reader)


def test_the_bytes_of_a_client():
    assert MAGIC + encode([b"abc"]) + KEEPALIVE + encode([b"x"]) == BYTES
    assert read([BYTES]) == EVENTS


def test_byte_by_byte():
    assert read([bytes([byte]) for byte in BYTES]) == EVENTS


def test_a_gateway_sends_no_magic():
    assert read([BYTES[4:]], magic=b"") == EVENTS


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(0, 500)))
def test_what_is_encoded_is_read_however_it_is_cut(datagrams, cuts):
    stream = encode(datagrams)
    borders = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(borders)]
    assert read(pieces, magic=b"") == [Datagram(data) for data in datagrams]


def test_the_largest_datagram():
    data = bytes(MAX_DATAGRAM)
    assert read([encode([data])], magic=b"") == [Datagram(data)]


@pytest.mark.parametrize("data", [b"", bytes(MAX_DATAGRAM + 1)])
def test_what_cannot_be_sent(data):
    with pytest.raises(ValueError, match=f"of {len(data)} bytes"):
        encode([b"fine", data])


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1", b"\x2f\xac\xed\x78", b"\x2f\xad"])
def test_another_protocol_is_noticed_at_the_first_wrong_byte(data):
    assert read([data]) == [Broken("this is not a stream of WireGuard datagrams")]


def test_a_length_that_cannot_be_ends_it():
    stream = encode([b"abc"]) + b"\0\1\0\0" + encode([b"later"])
    assert read([stream, stream], magic=b"") == [
        Datagram(b"abc"),
        Broken("a datagram cannot have 65536 bytes"),
    ]


@pytest.mark.parametrize("length", [0, 2, 5, 9])
def test_an_end_within_something_is_told(length):
    assert isinstance(read([BYTES[:length]])[-1], Broken)


@pytest.mark.parametrize("length", [4, 11, 15])
def test_an_end_between_datagrams_is_none_of_our_business(length):
    assert not any(isinstance(event, Broken) for event in read([BYTES[:length]]))


def test_no_contents_are_shown():
    assert repr(Datagram(b"secret")) == "<Datagram of 6 bytes>"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=40), max_size=10), st.sampled_from([b"", MAGIC]))
def test_any_bytes(pieces, magic):
    found = read(pieces, magic)
    assert sum(isinstance(event, Broken) for event in found) <= 1
    assert read([b"".join(pieces)], magic) == found
