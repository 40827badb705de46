"""`mcpctld.protocols.inet.dns.resolver`: a question until its answer, against a host made of lists."""

import struct
from collections import deque

import pytest

from mcpctld.protocols.inet import udp
from mcpctld.protocols.inet.dns.message import Answer, Code, Kind
from mcpctld.protocols.inet.dns.names import encode_name
from mcpctld.protocols.inet.dns.resolver import TCP_WAIT_S, UDP_WAITS_S, Lookup
from mcpctld.protocols.inet.events import Event, Resolved
from mcpctld.protocols.inet.ipv6 import parse
from mcpctld.protocols.inet.path_mtu import PathMtus
from mcpctld.protocols.inet.ports import OutOfPorts
from mcpctld.protocols.inet.sockets import UdpSocket
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.segment import ACK, FIN, RST, SYN, Flow
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment
from mcpctld.protocols.inet.tcp.state import Settings
from mcpctld.protocols.inet.udp import Datagram
from netsim.network import entropy

OURS, ONE, TWO = (bytes(15) + bytes([n]) for n in (2, 3, 4))
ADDRESS = bytes.fromhex("fdaa" + "00" * 13 + "07")
NAME = "top1.nearest.of.my-app.internal"
TRUNCATED = 0x0200


class World:
    """A lookup, its sockets, and servers that say what the test says."""

    def __init__(self, name: str = NAME, kind: Kind = Kind.AAAA) -> None:
        self.now = 100.0
        self.told: deque[Event] = deque()
        self.sockets: list[UdpSocket] = []
        self.connections: list[Connection] = []
        self.packets: list[bytes] = []
        self.is_out_of_ports = False
        self.lookup = Lookup(name, kind, [ONE, TWO], self, entropy(1), self.told)
        self.lookup.begin(self.now)

    # ------------------------------------------------------------ the host

    def open_udp(self, address: bytes, port: int, events: deque[Event]) -> UdpSocket:
        if self.is_out_of_ports:
            raise OutOfPorts("no free port")
        ours = 40000 + len(self.sockets) + len(self.connections)
        socket = UdpSocket(OURS, ours, (address, port), events, self.packets.append)
        self.sockets.append(socket)
        return socket

    def close_udp(self, socket: UdpSocket) -> None:
        self.sockets.remove(socket)

    def open_tcp(self, address: bytes, port: int, now: float, events: deque[Event]) -> Connection:
        flow = Flow(OURS, 50000 + len(self.connections), address, port)
        made = Connection(flow, 0, Settings(), PathMtus(1420), events, lambda _: None)
        made.connect(now)
        self.connections.append(made)
        return made

    # ------------------------------------------------------------ the servers

    def asked(self) -> tuple[bytes, bytes]:
        """Which server was asked last, and what."""
        packet = parse(self.packets[-1])
        return packet.destination, udp.parse(packet).data

    def answer(
        self, code: int = 0, flags: int = 0, records: int = 1, id_: int | None = None
    ) -> bytes:
        _, query = self.asked()
        return answer_to(query, code, flags, records, id_)

    def reply(self, data: bytes) -> None:
        [socket] = self.sockets
        socket.receive_datagram(Datagram(ONE, 53, socket.port, data))
        self.lookup.handle_events(self.now)

    def let_time_pass(self) -> None:
        self.now = self.lookup.deadline
        self.lookup.handle_timer(self.now)


def answer_to(query: bytes, code: int, flags: int, records: int, id_: int | None = None) -> bytes:
    id_ = int.from_bytes(query[:2], "big") if id_ is None else id_
    question = query[12 : 12 + len(encode_name(NAME)) + 4]
    record = b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 5, 16) + ADDRESS
    head = struct.pack("!HHHHHH", id_, 0x8180 | flags | code, 1, records, 0, 0)
    return head + question + record * records


def test_an_answer_ends_it():
    world = World()
    assert world.asked()[0] == ONE
    world.reply(world.answer())
    assert world.lookup.answer == Answer(0, (ADDRESS,), 5)
    assert list(world.told) == [Resolved(world.lookup)]
    assert world.lookup.is_done
    assert world.sockets == []


def test_a_name_that_does_not_exist_is_an_answer_too():
    world = World()
    world.reply(world.answer(code=3, records=0))
    assert world.lookup.answer == Answer(Code.NO_SUCH_NAME)


def test_what_is_no_name_is_not_asked_for():
    with pytest.raises(ValueError, match="cannot look up"):
        World("a b")


def test_without_an_answer_the_servers_are_asked_in_turn_with_new_ids_and_ports():
    world, seen, ports = World(), [], []
    while not world.lookup.is_done:
        seen.append(world.asked())
        ports.append(world.sockets[0].port)
        world.let_time_pass()
    assert [server for server, _ in seen] == [ONE, TWO, ONE, TWO]
    assert len({query[:2] for _, query in seen}) == 4
    assert world.now == 100.0 + sum(UDP_WAITS_S)
    assert world.lookup.failure == f"cannot look up '{NAME}': no server has answered"
    assert list(world.told) == [Resolved(world.lookup)]
    assert world.sockets == []
    world.lookup.handle_timer(1e9)
    assert len(world.told) == 1


def test_a_timer_that_comes_early_does_nothing():
    world = World()
    world.lookup.handle_timer(world.now + 0.5)
    assert len(world.packets) == 1


def test_forged_answers_are_passed_over():
    world = World()
    world.reply(world.answer(id_=0xFFFF & ~int.from_bytes(world.asked()[1][:2], "big")))
    world.reply(b"noise")
    assert (world.lookup.malformed, world.lookup.is_done) == (2, False)
    world.reply(world.answer())
    assert world.lookup.answer


def test_forged_and_right_ones_may_wait_together():
    world = World()
    [socket] = world.sockets
    for data in (b"noise", world.answer(), world.answer(code=3)):
        socket.receive_datagram(Datagram(ONE, 53, socket.port, data))
    world.lookup.handle_events(world.now)
    assert world.lookup.answer == Answer(0, (ADDRESS,), 5)


@pytest.mark.parametrize("code", [Code.FORMAT_ERROR, Code.NOT_IMPLEMENTED])
def test_a_server_without_edns_is_asked_without(code):
    world = World()
    assert world.asked()[1][10:12] == b"\0\1"
    world.reply(world.answer(code=code, records=0))
    assert world.asked()[1][10:12] == b"\0\0"


def test_a_server_that_fails_is_left_for_the_other():
    world = World()
    world.reply(world.answer(code=Code.SERVER_FAILURE, records=0))
    assert world.asked()[0] == TWO
    assert world.asked()[1][10:12] == b"\0\1"
    for _ in range(3):
        world.reply(world.answer(code=Code.REFUSED, records=0))
    assert world.lookup.failure.endswith("the server answered with code 5")


def test_a_server_that_cannot_be_reached_is_left_for_the_other():
    world = World()
    for server in (TWO, ONE, TWO):
        world.sockets[0].receive_error("port unreachable")
        world.lookup.handle_events(world.now)
        assert world.asked()[0] == server
    world.sockets[0].receive_error("port unreachable")
    world.lookup.handle_events(world.now)
    assert world.lookup.failure.endswith("the server cannot be reached: port unreachable")


def test_without_a_port_there_is_no_answer():
    world = World()
    world.is_out_of_ports = True
    world.let_time_pass()
    assert world.lookup.failure.endswith("no free port")


def test_it_can_be_cancelled():
    world = World()
    world.lookup.cancel()
    assert (world.lookup.is_done, world.sockets, list(world.told)) == (True, [], [])
    world.lookup.cancel()
    assert world.lookup.failure == "cancelled"


# ---------------------------------------------------------------- over TCP


class Stream:
    """The server's end of the connection to which a truncated answer has led."""

    def __init__(self) -> None:
        self.world = World()
        self.world.reply(self.world.answer(flags=TRUNCATED, records=0))
        [self.connection] = self.world.connections
        flow = self.connection.flow
        self._peer = Flow(flow.remote, 53, OURS, flow.local_port)
        self.seq = 0
        self.sent: list[bytes] = []

    def say(self, flags: int, data: bytes = b"", ack: int = 1) -> None:
        """A segment has come, and is not looked at yet."""
        packet = self._peer.encode(self.seq, ack, flags, 60000, data)
        self.connection.receive_segment(parse_segment(parse(packet)), self.world.now)
        self.seq += len(data) + bool(flags & (SYN | FIN))

    def give(self, flags: int, data: bytes = b"") -> None:
        self.say(flags, data)
        self.world.lookup.handle_events(self.world.now)
        for sent in self.connection.packets_to_send(self.world.now):
            self.sent.append(parse_segment(parse(sent)).payload)

    def open(self) -> bytes:
        """The handshake; the query that follows."""
        self.give(SYN | ACK)
        [framed] = [text for text in self.sent if text]
        assert int.from_bytes(framed[:2], "big") == len(framed) - 2
        return framed[2:]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def test_a_truncated_answer_is_asked_for_again_over_tcp_at_the_same_server():
    stream = Stream()
    assert stream.connection.flow.remote == ONE
    assert stream.world.sockets == []
    query = stream.open()
    stream.give(ACK, framed(answer_to(query, 0, 0, 40)))
    assert stream.world.lookup.answer == Answer(0, (ADDRESS,) * 40, 5)
    assert stream.connection.outcome is not None


def test_an_answer_may_come_byte_by_byte():
    stream = Stream()
    for byte in framed(answer_to(stream.open(), 0, 0, 2)):
        assert stream.world.lookup.answer is None
        stream.give(ACK, bytes([byte]))
    assert stream.world.lookup.answer == Answer(0, (ADDRESS,) * 2, 5)


def test_the_answer_and_the_end_may_come_at_once():
    stream = Stream()
    query = stream.open()
    acked = 1 + len(framed(query)) + 1  # our end, too
    stream.say(ACK, framed(answer_to(query, 0, 0, 2)), ack=acked)
    stream.say(ACK | FIN, ack=acked)
    assert stream.connection.outcome is not None
    stream.world.lookup.handle_events(stream.world.now)
    assert stream.world.lookup.answer == Answer(0, (ADDRESS,) * 2, 5)


@pytest.mark.parametrize("flags", [TRUNCATED, Code.SERVER_FAILURE])
def test_what_is_no_answer_there_either_leads_to_the_other_server(flags):
    stream = Stream()
    stream.give(ACK | SYN)
    query = next(text for text in stream.sent if text)[2:]
    stream.give(ACK, framed(answer_to(query, 0, int(flags), 0)))
    assert len(stream.world.connections) == 2
    assert stream.world.connections[1].flow.remote == TWO


def test_noise_leads_to_the_other_server():
    stream = Stream()
    stream.open()
    stream.give(ACK, framed(b"noise"))
    assert stream.world.lookup.malformed == 1
    assert stream.world.connections[1].flow.remote == TWO


def test_a_connection_that_ends_leads_to_the_other_server():
    stream = Stream()
    stream.give(RST | ACK)
    assert stream.world.connections[1].flow.remote == TWO
    while not stream.world.lookup.is_done:
        stream.world.let_time_pass()
    assert stream.world.lookup.failure.endswith("the server cannot be reached: refused")


def test_a_connection_on_which_nothing_comes_is_given_up():
    stream = Stream()
    assert stream.world.lookup.deadline == stream.world.now + TCP_WAIT_S
    stream.world.let_time_pass()
    assert len(stream.world.connections) == 2
