"""`mcpctld.protocols.inet.sockets`: a port of UDP, an echo request."""

from collections import deque

from mcpctld.protocols.inet.events import Answered, Event, Received
from mcpctld.protocols.inet.ipv6 import parse
from mcpctld.protocols.inet.sockets import MAX_QUEUED, Ping, UdpSocket
from mcpctld.protocols.inet.udp import Datagram
from mcpctld.protocols.inet.udp import parse as parse_datagram

OURS, THEIRS = bytes(15) + b"\2", bytes(15) + b"\3"


def udp_socket() -> tuple[UdpSocket, deque[Event], list[bytes]]:
    events: deque[Event] = deque()
    sent: list[bytes] = []
    return UdpSocket(OURS, 40000, (THEIRS, 53), events, sent.append), events, sent


def test_a_datagram_goes_to_the_peer():
    socket, _, sent = udp_socket()
    socket.send(b"abc")
    [packet] = sent
    assert parse_datagram(parse(packet)) == Datagram(OURS, 40000, 53, b"abc")
    assert parse(packet).destination == THEIRS
    assert socket.key == THEIRS + b"\x00\x35\x9c\x40"


def test_what_comes_waits_to_be_read_in_order():
    socket, events, _ = udp_socket()
    assert socket.receive() is None
    for data in (b"1", b"2"):
        assert socket.receive_datagram(Datagram(THEIRS, 53, 40000, data))
    assert list(events) == [Received(socket)] * 2
    assert [socket.receive(), socket.receive(), socket.receive()] == [b"1", b"2", None]


def test_only_so_many_wait():
    socket, events, _ = udp_socket()
    taken = [
        socket.receive_datagram(Datagram(THEIRS, 53, 40000, b"")) for _ in range(MAX_QUEUED + 2)
    ]
    assert taken == [True] * MAX_QUEUED + [False] * 2
    assert len(events) == MAX_QUEUED


def test_a_refusal_is_told():
    socket, events, _ = udp_socket()
    socket.receive_error("port unreachable")
    assert socket.refused == "port unreachable"
    assert list(events) == [Received(socket)]


def test_an_echo_tells_the_round_trip():
    events: deque[Event] = deque()
    ping = Ping(7, b"abc", THEIRS, 10.0, events)
    assert not ping.receive_reply(OURS, b"abc", 10.1)  # somebody else
    assert not ping.receive_reply(THEIRS, b"ab", 10.1)  # something else
    assert ping.rtt is None
    assert ping.receive_reply(THEIRS, b"abc", 10.25)
    assert ping.rtt == 0.25
    assert list(events) == [Answered(ping)]


def test_an_echo_may_be_refused_on_its_way():
    events: deque[Event] = deque()
    ping = Ping(7, b"abc", THEIRS, 10.0, events)
    ping.receive_error("no route")
    assert (ping.refused, ping.rtt) == ("no route", None)
    assert list(events) == [Answered(ping)]
