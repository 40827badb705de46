"""`mcpctld.protocols.inet.stack`: packets to sockets and back, and everything that may come."""

import random
import struct

import pytest

from mcpctld.protocols.inet import icmpv6, stack, udp
from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.dns.names import encode_name
from mcpctld.protocols.inet.drops import Drop
from mcpctld.protocols.inet.events import (
    Accepted,
    Answered,
    Closed,
    Connected,
    Event,
    Readable,
    Received,
    Resolved,
    Writable,
)
from mcpctld.protocols.inet.icmpv6 import Echo, Error, encode_echo, encode_error
from mcpctld.protocols.inet.ipv6 import ICMPV6, TCP, encode_packet, parse
from mcpctld.protocols.inet.ports import OutOfPorts
from mcpctld.protocols.inet.sockets import MAX_QUEUED
from mcpctld.protocols.inet.stack import MAX_ECHOES, MAX_ERRORS, MAX_PINGS, Stack
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.segment import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    Flow,
    Segment,
    encode_syn_options,
)
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment
from mcpctld.protocols.inet.tcp.state import Outcome, Settings, State
from netsim.network import LEFT, RIGHT, Conditions, Network, entropy

OURS, THEIRS, OTHER = (bytes.fromhex("fdaa" + "00" * 13) + bytes([n]) for n in (2, 3, 4))
GROUP = bytes.fromhex("ff02" + "00" * 13 + "01")
NOW = 100.0
PORT = 40000


def make(mtu: int = 1420) -> Stack:
    return Stack(OURS, mtu, entropy(1))


def events(it: Stack) -> list[Event]:
    found = []
    while (event := it.next_event()) is not None:
        found.append(event)
    return found


def dropped(it: Stack, *reasons: Drop) -> bool:
    """Whether exactly these were the reasons so far."""
    return it.statistics().drops == {reason.value: reasons.count(reason) for reason in reasons}


def segments(packets: list[bytes]) -> list[Segment]:
    return [parse_segment(parse(packet)) for packet in packets]


def connected(it: Stack, port: int = PORT, now: float = NOW):
    """A connection to port 80, and the flow and number of its peer."""
    connection = it.connect(THEIRS, 80, now, Settings(local_port=port))
    [syn] = segments(it.packets_to_send(now))
    peer = Flow(THEIRS, 80, OURS, port)
    options = encode_syn_options(1360, None, sack_permitted=True)
    it.receive_packet(peer.encode(0, syn.seq + 1, SYN | ACK, 60000, options=options), now)
    it.packets_to_send(now)
    events(it)
    return connection, peer, syn.seq + 1


def test_an_mtu_below_that_of_ipv6_is_our_mistake():
    with pytest.raises(ValueError, match="too small"):
        make(1279)


# ---------------------------------------------------------------- connections


def test_a_connection_from_beginning_to_end():
    it = make()
    connection = it.connect(THEIRS, 80, NOW)
    [syn] = segments(it.packets_to_send(NOW))
    peer = Flow(THEIRS, 80, OURS, syn.source_port)
    assert it.next_timer() == NOW + 1.0
    it.receive_packet(peer.encode(0, syn.seq + 1, SYN | ACK, 60000), NOW)
    assert events(it) == [Connected(connection)]
    it.receive_packet(peer.encode(1, syn.seq + 1, PSH | ACK, 60000, b"hello"), NOW)
    it.receive_packet(peer.encode(6, syn.seq + 1, FIN | ACK, 60000), NOW)
    assert [segment.ack for segment in segments(it.packets_to_send(NOW))] == [7]
    assert set(map(type, events(it))) == {Readable}
    assert connection.receive_data(99) == b"hello"
    connection.send_data(b"bye")
    connection.send_eof()
    assert len(it.packets_to_send(NOW)) == 1
    it.receive_packet(peer.encode(7, syn.seq + 5, ACK, 60000), NOW)
    assert events(it) == [Closed(connection)]
    assert it.statistics().connections == 1
    it.packets_to_send(NOW)
    assert it.statistics().connections == 0
    assert it.next_timer() is None


def test_timers_are_kept():
    it = make()
    connection = it.connect(THEIRS, 80, NOW)
    assert it.packets_to_send(NOW)
    times = []
    while (timer := it.next_timer()) is not None:
        it.handle_timer(timer)
        times += [timer] * bool(it.packets_to_send(timer))
    assert times == [NOW + after for after in (1.0, 3.0, 7.0, 15.0, 31.0)]
    assert events(it) == [Closed(connection)]


def test_ports_and_numbers_are_random():
    it = make()
    for _ in range(100):
        it.connect(THEIRS, 80, NOW)
    syns = segments(it.packets_to_send(NOW))
    assert len({syn.source_port for syn in syns}) == 100
    assert len({syn.seq for syn in syns}) == 100


def test_a_port_may_be_chosen_once_for_each_peer():
    it = make()
    settings = Settings(local_port=PORT)
    it.connect(THEIRS, 80, NOW, settings)
    it.connect(OTHER, 80, NOW, settings)
    it.connect(THEIRS, 81, NOW, settings)
    with pytest.raises(ValueError, match="port 40000 is in use"):
        it.connect(THEIRS, 80, NOW, settings)


@pytest.mark.parametrize(
    ("address", "port"),
    [(b"short", 80), (GROUP, 80), (bytes(16), 80), (THEIRS, 0), (THEIRS, 65536)],
)
def test_what_is_no_peer_is_our_mistake(address, port):
    for attempt in (make().connect, make().open_tcp):
        with pytest.raises(ValueError, match="cannot reach"):
            attempt(address, port, NOW, *([] if attempt.__name__ == "connect" else [None]))
    with pytest.raises(ValueError, match="cannot reach"):
        make().open_udp(address, port)


def test_too_many_connections_are_refused_unless_some_only_wait(monkeypatch):
    monkeypatch.setattr(stack, "MAX_CONNECTIONS", 3)
    it = make()
    first, peer, number = connected(it)
    for _ in range(2):
        it.connect(THEIRS, 80, NOW)
    with pytest.raises(OutOfPorts, match="3 connections"):
        it.connect(THEIRS, 80, NOW)
    first.send_eof()
    it.packets_to_send(NOW)
    it.receive_packet(peer.encode(1, number + 1, FIN | ACK, 60000), NOW)
    it.packets_to_send(NOW)
    assert first.state is State.TIME_WAIT
    it.connect(THEIRS, 80, NOW, Settings(local_port=PORT))
    assert it.statistics().connections == 3
    with pytest.raises(OutOfPorts):
        it.connect(THEIRS, 80, NOW)


def test_what_is_touched_after_it_was_forgotten_harms_nobody(monkeypatch):
    monkeypatch.setattr(stack, "MAX_CONNECTIONS", 1)
    it = make()
    first, peer, number = connected(it)
    first.send_eof()
    it.packets_to_send(NOW)
    it.receive_packet(peer.encode(1, number + 1, FIN | ACK, 60000), NOW)
    it.connect(THEIRS, 80, NOW, Settings(local_port=PORT))
    first.handle_timer(NOW + 999.0)
    assert first.state is State.CLOSED
    it.packets_to_send(NOW)
    assert it.statistics().connections == 1


# ---------------------------------------------------------------- what is for nobody


def test_a_segment_for_nobody_is_reset():
    it = make()
    peer = Flow(THEIRS, 80, OURS, PORT)
    it.receive_packet(peer.encode(5, 77, ACK, 0, b"abc"), NOW)
    it.receive_packet(peer.encode(5, 0, SYN, 0), NOW)
    it.receive_packet(peer.encode(5, 0, FIN, 0, b"abc"), NOW)
    answers = segments(it.packets_to_send(NOW))
    assert [(s.flags, s.seq, s.ack) for s in answers] == [
        (RST, 77, 0), (RST | ACK, 0, 6), (RST | ACK, 0, 9),
    ]  # fmt: skip
    assert dropped(it, *[Drop.NO_SOCKET] * 3)


def test_resets_and_what_comes_from_nobody_are_not_answered():
    it = make()
    it.receive_packet(Flow(THEIRS, 80, OURS, PORT).encode(5, 77, RST, 0), NOW)
    it.receive_packet(Flow(GROUP, 80, OURS, PORT).encode(5, 77, ACK, 0), NOW)
    assert it.packets_to_send(NOW) == []


def test_answers_to_noise_are_few():
    it = make()
    for port in range(1, 1000):
        it.receive_packet(Flow(THEIRS, port, OURS, PORT).encode(5, 77, ACK, 0), NOW)
    assert len(it.packets_to_send(NOW)) == MAX_ERRORS
    assert it.statistics().drops == {"no_socket": MAX_ERRORS, "rate_limited": 999 - MAX_ERRORS}


def test_a_packet_for_somebody_else_is_not_looked_at():
    it = make()
    it.receive_packet(Flow(THEIRS, 80, OTHER, PORT).encode(5, 77, ACK, 0), NOW)
    it.receive_packet(b"", NOW)
    assert dropped(it, Drop.OTHER_DESTINATION, Drop.TRUNCATED)
    assert it.packets_to_send(NOW) == []


def test_an_unknown_protocol_is_told_where_the_header_names_it():
    it = make()
    packet = encode_packet(THEIRS, OURS, 132, b"sctp")
    it.receive_packet(packet, NOW)
    [answer] = it.packets_to_send(NOW)
    error = icmpv6.parse(parse(answer))
    assert isinstance(error, Error)
    assert (error.kind, error.code, error.parameter) == (icmpv6.PARAMETER_PROBLEM, 1, 6)
    assert dropped(it, Drop.UNKNOWN_PROTOCOL)


# ---------------------------------------------------------------- datagrams


def test_datagrams_go_and_come():
    it = make()
    socket = it.open_udp(THEIRS, 53)
    socket.send(b"question")
    [packet] = it.packets_to_send(NOW)
    assert udp.parse(parse(packet)) == udp.Datagram(OURS, socket.port, 53, b"question")
    it.receive_packet(udp.encode(THEIRS, OURS, (53, socket.port), b"answer"), NOW)
    assert events(it) == [Received(socket)]
    assert socket.receive() == b"answer"


def test_a_socket_hears_its_peer_only():
    it = make()
    socket = it.open_udp(THEIRS, 53)
    for packet in (
        udp.encode(OTHER, OURS, (53, socket.port), b"forged"),
        udp.encode(THEIRS, OURS, (54, socket.port), b"forged"),
        udp.encode(THEIRS, OURS, (53, socket.port ^ 1), b"forged"),
    ):
        it.receive_packet(packet, NOW)
        [answer] = it.packets_to_send(NOW)
        error = icmpv6.parse(parse(answer))
        assert isinstance(error, Error)
        assert (error.kind, error.code) == (icmpv6.UNREACHABLE, icmpv6.PORT_UNREACHABLE)
    assert dropped(it, *[Drop.NO_SOCKET] * 3)


def test_a_socket_that_is_closed_hears_nothing():
    it = make()
    socket = it.open_udp(THEIRS, 53)
    it.close_udp(socket)
    it.close_udp(socket)
    it.receive_packet(udp.encode(THEIRS, OURS, (53, socket.port), b"late"), NOW)
    assert dropped(it, Drop.NO_SOCKET)


def test_a_datagram_of_a_group_is_not_answered():
    it = make()
    it.receive_packet(udp.encode(GROUP, OURS, (53, PORT), b"x"), NOW)
    assert it.packets_to_send(NOW) == []
    assert dropped(it, Drop.NO_SOCKET)


def test_datagrams_that_nobody_reads_are_dropped_in_the_end():
    it = make()
    socket = it.open_udp(THEIRS, 53)
    for _ in range(MAX_QUEUED + 3):
        it.receive_packet(udp.encode(THEIRS, OURS, (53, socket.port), b"x"), NOW)
    assert dropped(it, *[Drop.QUEUE_FULL] * 3)


def test_ports_of_datagrams_differ():
    it = make()
    assert len({it.open_udp(THEIRS, 53).port for _ in range(200)}) == 200


# ---------------------------------------------------------------- echo


def test_an_echo_request_is_answered():
    it = make()
    asked = Echo(is_reply=False, identifier=7, sequence=8, data=b"abc")
    it.receive_packet(encode_echo(THEIRS, OURS, asked), NOW)
    [packet] = it.packets_to_send(NOW)
    assert parse(packet).destination == THEIRS
    assert icmpv6.parse(parse(packet)) == Echo(True, 7, 8, b"abc")


def test_a_group_gets_no_echo():
    it = make()
    asked = Echo(is_reply=False, identifier=7, sequence=8, data=b"abc")
    it.receive_packet(encode_echo(GROUP, OURS, asked), NOW)
    assert it.packets_to_send(NOW) == []
    assert dropped(it, Drop.BAD_SOURCE)


def test_echoes_are_few():
    it = make()
    asked = Echo(is_reply=False, identifier=7, sequence=8, data=b"abc")
    for _ in range(1000):
        it.receive_packet(encode_echo(THEIRS, OURS, asked), NOW)
    assert len(it.packets_to_send(NOW)) == MAX_ECHOES


def test_a_ping_is_answered_once():
    it = make()
    ping = it.ping(THEIRS, NOW, b"abc")
    [packet] = it.packets_to_send(NOW)
    echo = icmpv6.parse(parse(packet))
    assert isinstance(echo, Echo)
    reply = encode_echo(THEIRS, OURS, Echo(True, echo.identifier, 1, b"abc"))
    it.receive_packet(encode_echo(OTHER, OURS, Echo(True, echo.identifier, 1, b"abc")), NOW)
    it.receive_packet(reply, NOW + 0.25)
    it.receive_packet(reply, NOW + 0.5)
    assert events(it) == [Answered(ping)]
    assert ping.rtt == 0.25
    assert dropped(it, *[Drop.UNEXPECTED] * 2)


def test_of_too_many_pings_the_oldest_is_given_up():
    it = make()
    pings = [it.ping(THEIRS, NOW) for _ in range(MAX_PINGS + 1)]
    assert len(it.packets_to_send(NOW)) == MAX_PINGS + 1
    for ping in (pings[0], pings[1]):
        it.receive_packet(encode_echo(THEIRS, OURS, Echo(True, ping.identifier, 1, b"")), NOW)
    assert pings[0].rtt is None
    assert pings[1].rtt == 0.0


# ---------------------------------------------------------------- errors about what we sent


def refuse(it: Stack, packet: bytes, kind: int = icmpv6.UNREACHABLE, parameter: int = 0) -> None:
    it.receive_packet(encode_error(OTHER, kind, 0, parameter, packet), NOW)


def test_an_error_finds_the_connection():
    it = make()
    connection = it.connect(THEIRS, 80, NOW)
    [syn] = it.packets_to_send(NOW)
    refuse(it, syn)
    assert events(it) == [Closed(connection)]
    assert (connection.outcome, connection.detail) == (Outcome.UNREACHABLE, "no route")


def test_a_packet_that_was_too_big_goes_again_in_two():
    it = make()
    connection, _, _ = connected(it)
    connection.send_data(bytes(1360))
    [large] = it.packets_to_send(NOW)
    refuse(it, large, icmpv6.PACKET_TOO_BIG, 1300)
    assert [len(packet) for packet in it.packets_to_send(NOW)] == [1300, 180]


def test_an_error_finds_the_socket():
    it = make()
    socket = it.open_udp(THEIRS, 53)
    socket.send(b"abc")
    [packet] = it.packets_to_send(NOW)
    refuse(it, packet, icmpv6.PACKET_TOO_BIG, 1280)
    assert (events(it), dropped(it, Drop.UNEXPECTED)) == ([], True)
    refuse(it, packet)
    assert events(it) == [Received(socket)]
    assert socket.refused == "no route"


def test_an_error_finds_the_ping():
    it = make()
    ping = it.ping(THEIRS, NOW)
    [packet] = it.packets_to_send(NOW)
    refuse(it, packet)
    assert events(it) == [Answered(ping)]
    refuse(it, packet)
    assert dropped(it, Drop.FORGED_ERROR)


def error_to_us(quoted: bytes) -> bytes:
    """An error that comes to us whatever it quotes."""
    body = bytes([icmpv6.UNREACHABLE, 0, 0, 0]) + bytes(4) + quoted
    total = word_sum(body) + pseudo_header_sum(OTHER + OURS, len(body), ICMPV6)
    summed = checksum(total).to_bytes(2, "big")
    return encode_packet(OTHER, OURS, ICMPV6, body[:2] + summed + body[4:])


def forged_errors() -> dict[str, bytes]:
    request = Echo(is_reply=False, identifier=1, sequence=1, data=b"")
    return {
        "of another host": Flow(OTHER, PORT, THEIRS, 80).encode(0, 0, SYN, 0),
        "without ports": encode_packet(OURS, THEIRS, TCP, b"1234567"),
        "to another host": Flow(OURS, PORT, OTHER, 80).encode(0, 0, SYN, 0),
        "of another port": Flow(OURS, PORT + 1, THEIRS, 80).encode(0, 0, SYN, 0),
        "with another number": Flow(OURS, PORT, THEIRS, 80).encode(0, 0, SYN, 0),
        "of a datagram": udp.encode(OURS, THEIRS, (PORT, 53), b"abc"),
        "of a ping": encode_echo(OURS, THEIRS, request),
        "of a reply": encode_echo(OURS, THEIRS, Echo(True, 1, 1, b"")),
        "of another protocol": encode_packet(OURS, THEIRS, 132, b"12345678"),
    }


@pytest.mark.parametrize("packet", forged_errors().values(), ids=forged_errors())
def test_an_error_about_what_we_did_not_send_is_nothing(packet):
    it = make()
    connection = it.connect(THEIRS, 80, NOW, Settings(local_port=PORT))
    it.receive_packet(error_to_us(packet), NOW)
    assert dropped(it, Drop.FORGED_ERROR)
    assert connection.outcome is None


def test_an_error_about_a_ping_to_another_host_is_nothing():
    it = make()
    ping = it.ping(THEIRS, NOW)
    echo = Echo(is_reply=False, identifier=ping.identifier, sequence=1, data=b"")
    refuse(it, encode_echo(OURS, OTHER, echo))
    assert dropped(it, Drop.FORGED_ERROR)


# ---------------------------------------------------------------- names


def answer_to(packet: bytes) -> bytes:
    datagram = udp.parse(parse(packet))
    query = datagram.data
    end = 12 + len(encode_name("app.internal")) + 4
    head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 5, 16) + THEIRS
    ports = 53, datagram.source_port
    return udp.encode(OTHER, OURS, ports, head + query[12:end] + record)


def test_a_name_is_resolved():
    it = make()
    lookup = it.resolve("app.internal", Kind.AAAA, [OTHER], NOW)
    [packet] = it.packets_to_send(NOW)
    assert it.next_timer() == NOW + 1.0
    it.receive_packet(answer_to(packet), NOW)
    assert events(it) == [Resolved(lookup)]
    assert lookup.answer is not None
    assert lookup.answer.records == (THEIRS,)
    assert it.next_timer() is None


def test_a_server_that_refuses_is_not_asked_for_ever():
    it = make()
    lookup = it.resolve("app.internal", Kind.AAAA, [OTHER], NOW)
    for _ in range(4):
        [packet] = it.packets_to_send(NOW)
        refuse(it, packet)
    assert events(it) == [Resolved(lookup)]
    assert "no route" in lookup.failure


def test_a_question_without_an_answer_ends():
    it = make()
    lookup = it.resolve("app.internal", Kind.AAAA, [OTHER], NOW)
    asked = 0
    while (timer := it.next_timer()) is not None:
        asked += len(it.packets_to_send(timer))
        it.handle_timer(timer)
    assert (asked, events(it)) == (4, [Resolved(lookup)])


def test_a_question_may_be_cancelled():
    it = make()
    lookup = it.resolve("app.internal", Kind.AAAA, [OTHER], NOW)
    lookup.cancel()
    it.packets_to_send(NOW)
    assert it.next_timer() is None


def test_a_truncated_answer_is_asked_for_over_a_connection():
    it = make()
    it.resolve("app.internal", Kind.AAAA, [OTHER], NOW)
    [packet] = it.packets_to_send(NOW)
    datagram = udp.parse(parse(packet))
    cut = datagram.data[:2] + b"\x83\x80" + datagram.data[4:10] + b"\0\0" + datagram.data[12:-11]
    it.receive_packet(udp.encode(OTHER, OURS, (53, datagram.source_port), cut), NOW)
    [syn] = segments(it.packets_to_send(NOW))
    assert (syn.destination_port, syn.flags) == (53, SYN)
    assert events(it) == []


def test_what_is_no_name_is_our_mistake():
    with pytest.raises(ValueError, match="cannot look up"):
        make().resolve("a b", Kind.AAAA, [OTHER], NOW)


# ---------------------------------------------------------------- anything may come


def test_any_packets_are_dropped_and_counted_and_nothing_grows():
    it, draw = make(), random.Random(1)
    connection, peer, number = connected(it)
    socket = it.open_udp(THEIRS, 53)
    good = [
        peer.encode(1, number, PSH | ACK, 500, b"text"),
        udp.encode(THEIRS, OURS, (53, socket.port), b"data"),
        encode_echo(THEIRS, OURS, Echo(False, 1, 2, b"ping")),
        encode_error(THEIRS, 1, 0, 0, Flow(OURS, PORT, THEIRS, 80).encode(number, 0, ACK, 0)),
        encode_packet(THEIRS, OURS, ICMPV6, bytes(8)),
    ]
    for count in range(3000):
        packet = bytearray(draw.choice(good))
        for _ in range(draw.randrange(4)):
            packet[draw.randrange(len(packet))] = draw.randrange(256)
        it.receive_packet(bytes(packet[: draw.choice((len(packet), draw.randrange(99)))]), NOW)
        assert len(it.packets_to_send(NOW + count / 1000)) <= 2
    assert sum(it.statistics().drops.values()) > 1000
    assert it.statistics().packets_received == 3001
    assert connection.outcome is None


def test_a_hundred_connections_share_one_way_fairly():
    network = Network(Conditions(rate=4e6, queue=8 << 20))
    got: dict[Connection, int] = {}
    for port in range(41000, 41100):
        settings = Settings(local_port=port, send_buffer=1 << 16)
        network.left.connect(RIGHT, port, network.now, settings)
        got[network.right.connect(LEFT, port, network.now, settings)] = 0

    def step() -> bool:
        for event in events(network.left):
            if isinstance(event, Connected | Writable):
                event.connection.send_data(bytes(1 << 17))
        for event in events(network.right):
            if isinstance(event, Readable):
                got[event.connection] += len(event.connection.receive_data(1 << 20) or b"")
        return sum(got.values()) > 4_000_000

    assert network.run(step)
    assert min(got.values()) > 0.5 * sum(got.values()) / len(got)


# ---------------------------------------------------------------- connections that peers begin


def listening(*ports: int) -> Stack:
    return Stack(OURS, 1420, entropy(1), accepts=lambda port: port in ports)


def exchange(left: Stack, right: Stack, now: float = NOW) -> None:
    """Carry packets between the two until there are none."""
    while True:
        there, back = left.packets_to_send(now), right.packets_to_send(now)
        if not there and not back:
            return
        for packet in there:
            right.receive_packet(packet, now)
        for packet in back:
            left.receive_packet(packet, now)


def test_a_port_that_takes_connections():
    server, client = listening(80), Stack(THEIRS, 1420, entropy(2))
    ours = client.connect(OURS, 80, NOW)
    exchange(client, server)
    [accepted, connected] = events(server)
    assert isinstance(accepted, Accepted)
    assert connected == Connected(accepted.connection)
    theirs = accepted.connection
    assert ours.send_data(b"question" * 1000) == 8000
    assert theirs.send_data(b"answer") == 6
    exchange(client, server)
    assert theirs.receive_data(9000) == b"question" * 1000
    assert ours.receive_data(9000) == b"answer"
    assert (ours.statistics().mss, theirs.statistics().mss) == (1360, 1360)
    ours.send_eof()
    theirs.send_eof()
    exchange(client, server)
    assert (ours.receive_data(1), theirs.receive_data(1)) == (b"", b"")
    assert (theirs.outcome, ours.outcome) == (Outcome.DONE, Outcome.DONE)


def test_the_answer_to_a_syn_that_is_lost_is_sent_again():
    server, client = listening(80), Stack(THEIRS, 1420, entropy(2))
    ours = client.connect(OURS, 80, NOW)
    [syn] = client.packets_to_send(NOW)
    server.receive_packet(syn, NOW)
    assert [segment.flags for segment in segments(server.packets_to_send(NOW))] == [SYN | ACK]
    server.handle_timer(NOW + 1.5)
    exchange(client, server, NOW + 1.5)
    assert ours.state is State.ESTABLISHED


def test_other_ports_and_other_segments_begin_nothing():
    server = listening(80)
    for flags, port in ((SYN, 81), (SYN | ACK, 80), (SYN | FIN, 80), (ACK, 80), (FIN, 80)):
        peer = Flow(THEIRS, PORT, OURS, port)
        server.receive_packet(peer.encode(1, 1, flags, 1000), NOW)
    server.receive_packet(Flow(GROUP, PORT, OURS, 80).encode(1, 0, SYN, 1000), NOW)
    assert server.statistics().connections == 0
    assert dropped(server, *[Drop.NO_SOCKET] * 6)


def test_too_many_begin_connections(monkeypatch):
    monkeypatch.setattr(stack, "MAX_CONNECTIONS", 3)
    server = listening(80)
    for port in range(PORT, PORT + 5):
        server.receive_packet(Flow(THEIRS, port, OURS, 80).encode(1, 0, SYN, 1000), NOW)
    assert server.statistics().connections == 3
    assert dropped(server, Drop.QUEUE_FULL, Drop.QUEUE_FULL)
