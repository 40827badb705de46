"""The whole: one address, packets in and out, sockets by what packets say of themselves, one timer.

The order of calls: `receive_packet` for each of a batch, `packets_to_send` once, then `next_event` until None. After
any other call, `packets_to_send`; at `next_timer`, `handle_timer` and `packets_to_send`. Nothing that comes raises:
what is of no use is dropped and counted (`statistics`).
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec

from mcpctld.protocols.inet import icmpv6, ipv6, udp
from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.dns.resolver import Lookup
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.events import Accepted, Event
from mcpctld.protocols.inet.limiter import Limiter
from mcpctld.protocols.inet.path_mtu import PathMtus
from mcpctld.protocols.inet.ports import (
    Entropy,
    OutOfPorts,
    SequenceNumbers,
    choose_port,
    endpoint_key,
)
from mcpctld.protocols.inet.sockets import Ping, UdpSocket
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.segment import ACK, FIN, RST, SYN, Flow, Segment
from mcpctld.protocols.inet.tcp.segment import parse as parse_segment
from mcpctld.protocols.inet.tcp.state import Settings, State
from mcpctld.protocols.inet.timers import Timers

MAX_CONNECTIONS = 4096
"""Those in TIME-WAIT included."""
MAX_PINGS = 64
ERRORS_PER_S = 10.0
MAX_ERRORS = 20
"""Of ICMP, and resets, at once (RFC 4443 §2.4(f))."""
ECHOES_PER_S = 50.0
MAX_ECHOES = 50

_PORTS_LENGTH = 4  # of both, with which the header of every transport begins

DEFAULT_SETTINGS = Settings()


class StackStatistics(msgspec.Struct, frozen=True):
    """Figures since the beginning."""

    connections: int
    packets_received: int
    packets_sent: int
    drops: dict[str, int]
    """By reason, `Drop.value`."""


class Stack:
    """A host with one IPv6 address, at the end of a tunnel. Addresses are 16 bytes in network order."""

    def __init__(
        self,
        address: bytes,
        mtu: int,
        entropy: Entropy,
        accepts: Callable[[int], bool] = lambda port: False,
    ) -> None:
        """`mtu`: of the tunnel, in bytes. `accepts`: whether a port takes connections, asked for each one.

        Raises `ValueError` for an MTU that is less than IPv6 needs.
        """
        if mtu < ipv6.MIN_MTU:
            raise ValueError(f"an MTU of {mtu} is too small: IPv6 needs {ipv6.MIN_MTU}")
        self._address = address
        self._entropy = entropy
        self._accepts = accepts
        self._numbers = SequenceNumbers(entropy)
        self._paths = PathMtus(mtu)
        self._connections: dict[bytes, Connection] = {}
        self._touched: dict[Connection, None] = {}
        self._udp: dict[bytes, UdpSocket] = {}
        self._pings: dict[int, Ping] = {}
        self._lookups: dict[Lookup, None] = {}
        self._timers: Timers[Connection | Lookup] = Timers()
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._errors = Limiter(ERRORS_PER_S, MAX_ERRORS)
        self._echoes = Limiter(ECHOES_PER_S, MAX_ECHOES)
        self._drops: Counter[str] = Counter()
        self._received = self._sent = 0

    # ------------------------------------------------------------ the user

    def connect(
        self,
        address: bytes,
        port: int,
        now: float,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> Connection:
        """Open a connection; `Connected` or `Closed` follows.

        Raises `OutOfPorts`, `ValueError` for what is no peer, or for a port of ours that is in use.
        """
        return self._connect(address, port, now, settings, self._events)

    def resolve(self, name: str, kind: Kind, servers: Sequence[bytes], now: float) -> Lookup:
        """Ask servers of the DNS; `Resolved` follows. Raises `ValueError` for what is no name."""
        lookup = Lookup(name, kind, servers, self, self._entropy, self._events)
        self._lookups[lookup] = None
        lookup.begin(now)
        self._timers.update(lookup)
        return lookup

    def ping(self, address: bytes, now: float, data: bytes = b"") -> Ping:
        """Ask for an echo; `Answered` follows, or nothing. The oldest of too many is given up."""
        if len(self._pings) >= MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        identifier = int.from_bytes(self._entropy(2), "big")
        ping = self._pings[identifier] = Ping(identifier, data, address, now, self._events)
        echo = icmpv6.Echo(is_reply=False, identifier=identifier, sequence=1, data=data)
        self._out.append(icmpv6.encode_echo(self._address, address, echo))
        return ping

    def open_udp(self, address: bytes, port: int, events: deque[Event] | None = None) -> UdpSocket:
        """A socket for datagrams to and from one peer. Raises `OutOfPorts`, and `ValueError` for what is no peer."""
        _check_peer(address, port)
        ours = choose_port(
            self._entropy, lambda ours: endpoint_key(address, port, ours) not in self._udp
        )
        told = self._events if events is None else events
        socket = UdpSocket(self._address, ours, (address, port), told, self._out.append)
        self._udp[socket.key] = socket
        return socket

    def close_udp(self, socket: UdpSocket) -> None:
        """It is not needed any more."""
        self._udp.pop(socket.key, None)

    def open_tcp(self, address: bytes, port: int, now: float, events: deque[Event]) -> Connection:
        """A connection whose events go elsewhere. Raises as `connect`."""
        return self._connect(address, port, now, DEFAULT_SETTINGS, events)

    def _connect(
        self, address: bytes, port: int, now: float, settings: Settings, events: deque[Event]
    ) -> Connection:
        _check_peer(address, port)
        self._make_room()
        ours = settings.local_port or choose_port(
            self._entropy, lambda ours: endpoint_key(address, port, ours) not in self._connections
        )
        flow = Flow(self._address, ours, address, port)
        if flow.key in self._connections:
            raise ValueError(f"cannot connect: port {ours} is in use for this peer")
        connection = self._open(flow, now, settings, events)
        connection.connect(now)
        return connection

    def _open(self, flow: Flow, now: float, settings: Settings, events: deque[Event]) -> Connection:
        iss = self._numbers.initial(flow.key, now)
        connection = Connection(flow, iss, settings, self._paths, events, self._touch)
        self._connections[flow.key] = connection
        return connection

    def _make_room(self) -> None:
        """Of too many connections the first goes that only waits for what may still be on its way."""
        if len(self._connections) < MAX_CONNECTIONS:
            return
        for connection in self._connections.values():
            if connection.state is State.TIME_WAIT:
                self._forget(connection)
                return
        raise OutOfPorts(f"cannot connect: {MAX_CONNECTIONS} connections are open")

    def _touch(self, connection: Connection) -> None:
        self._touched[connection] = None

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.flow.key]
        self._timers.discard(connection)

    # ------------------------------------------------------------ packets and time

    def receive_packet(self, data: bytes, now: float) -> None:
        """A packet has come out of the tunnel."""
        self._received += 1
        try:
            packet = ipv6.parse(data)
            if packet.addresses[16:] != self._address:
                raise Dropped(Drop.OTHER_DESTINATION)
            if packet.protocol == ipv6.TCP:
                self._receive_tcp(packet, now)
            else:
                self._receive_other(packet, data, now)
        except Dropped as dropped:
            self._drops[dropped.reason.value] += 1

    def packets_to_send(self, now: float) -> list[bytes]:
        """All packets that are to go into the tunnel now."""
        self._serve_lookups(now)
        packets, self._out = self._out, []
        while self._touched:
            touched, self._touched = self._touched, {}
            for connection in touched:
                packets += connection.packets_to_send(now)
                if connection.state is State.CLOSED:
                    self._forget_closed(connection)
                else:
                    self._timers.update(connection)
        self._sent += len(packets)
        return packets

    def next_event(self) -> Event | None:
        """What has happened; None if nothing more."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When to call `handle_timer`, in the time of `now`; None: not before something else happens."""
        return self._timers.next()

    def handle_timer(self, now: float) -> None:
        """The time has come."""
        for timed in self._timers.due(now):
            timed.handle_timer(now)
            if isinstance(timed, Connection):
                self._touch(timed)
            else:
                self._timers.update(timed)
        self._serve_lookups(now)

    def statistics(self) -> StackStatistics:
        """Figures, as of now."""
        return StackStatistics(
            len(self._connections), self._received, self._sent, dict(self._drops)
        )

    def _forget_closed(self, connection: Connection) -> None:
        if self._connections.get(connection.flow.key) is connection:
            self._forget(connection)

    def _serve_lookups(self, now: float) -> None:
        for lookup in list(self._lookups):
            lookup.handle_events(now)
            if lookup.is_done:
                del self._lookups[lookup]
                self._timers.discard(lookup)
            else:
                self._timers.update(lookup)

    # ------------------------------------------------------------ what comes

    def _receive_tcp(self, packet: ipv6.Packet, now: float) -> None:
        segment = parse_segment(packet)
        key = packet.addresses[:16] + packet.payload[:_PORTS_LENGTH]
        connection = self._connections.get(key) or self._accept(packet, segment, now)
        if connection is None:
            self._refuse(packet, segment, now)
        else:
            connection.receive_segment(segment, now)

    def _accept(self, packet: ipv6.Packet, segment: Segment, now: float) -> Connection | None:
        """A connection that a peer begins, if it may. It is as if both had opened at once (RFC 9293 §3.5, figure 7):
        only that our SYN has not gone out before."""
        if segment.flags & (SYN | ACK | RST | FIN) != SYN or not icmpv6.is_unicast(packet.source):
            return None
        if not self._accepts(segment.destination_port):
            return None
        try:
            self._make_room()
        except OutOfPorts:
            raise Dropped(Drop.QUEUE_FULL) from None
        flow = Flow(self._address, segment.destination_port, packet.source, segment.source_port)
        connection = self._open(flow, now, DEFAULT_SETTINGS, self._events)
        self._events.append(Accepted(connection))
        return connection

    def _refuse(self, packet: ipv6.Packet, segment: Segment, now: float) -> None:
        """A segment for nobody is answered by a reset (RFC 9293 §3.10.7.1). Always raises `Dropped`."""
        flags = segment.flags
        if flags & RST or not icmpv6.is_unicast(packet.source):
            raise Dropped(Drop.NO_SOCKET)
        self._limit(self._errors, now)
        flow = Flow(self._address, segment.destination_port, packet.source, segment.source_port)
        if flags & ACK:
            self._out.append(flow.encode(segment.ack, 0, RST, 0))
        else:
            length = len(segment.payload) + bool(flags & SYN) + bool(flags & FIN)
            self._out.append(flow.encode(0, segment.seq + length, RST | ACK, 0))
        raise Dropped(Drop.NO_SOCKET)

    def _receive_other(self, packet: ipv6.Packet, data: bytes, now: float) -> None:
        if packet.protocol == ipv6.UDP:
            self._receive_udp(packet, data, now)
        elif packet.protocol == ipv6.ICMPV6:
            self._receive_icmp(packet, now)
        else:
            problem = icmpv6.PARAMETER_PROBLEM, icmpv6.UNRECOGNISED_NEXT_HEADER
            self._complain(packet, data, *problem, now)
            raise Dropped(Drop.UNKNOWN_PROTOCOL)

    def _receive_udp(self, packet: ipv6.Packet, data: bytes, now: float) -> None:
        datagram = udp.parse(packet)
        socket = self._udp.get(packet.source + packet.payload[:_PORTS_LENGTH])
        if socket is None:
            self._complain(packet, data, icmpv6.UNREACHABLE, icmpv6.PORT_UNREACHABLE, now)
            raise Dropped(Drop.NO_SOCKET)
        if not socket.receive_datagram(datagram):
            raise Dropped(Drop.QUEUE_FULL)
        self._serve_lookups(now)

    def _complain(self, packet: ipv6.Packet, data: bytes, kind: int, code: int, now: float) -> None:
        """Tell the sender of an error, if it may be told."""
        if icmpv6.may_be_answered(packet):
            self._limit(self._errors, now)
            pointer = icmpv6.NEXT_HEADER_OFFSET if kind == icmpv6.PARAMETER_PROBLEM else 0
            self._out.append(icmpv6.encode_error(self._address, kind, code, pointer, data))

    def _limit(self, limiter: Limiter, now: float) -> None:
        if not limiter.allows(now):
            raise Dropped(Drop.RATE_LIMITED)

    def _receive_icmp(self, packet: ipv6.Packet, now: float) -> None:
        message = icmpv6.parse(packet)
        if isinstance(message, icmpv6.Error):
            self._receive_error(message, now)
        elif message.is_reply:
            ping = self._pings.get(message.identifier)
            if ping is None or not ping.receive_reply(packet.source, message.data, now):
                raise Dropped(Drop.UNEXPECTED)
            del self._pings[message.identifier]
        elif not icmpv6.is_unicast(packet.source):
            raise Dropped(Drop.BAD_SOURCE)
        else:
            self._limit(self._echoes, now)
            reply = icmpv6.Echo(
                is_reply=True,
                identifier=message.identifier,
                sequence=message.sequence,
                data=message.data,
            )
            self._out.append(icmpv6.encode_echo(self._address, packet.source, reply))

    # ------------------------------------------------------------ errors about packets of ours

    def _receive_error(self, error: icmpv6.Error, now: float) -> None:
        """Only who has seen a packet of ours can quote it so that a socket knows it (RFC 4443 §5.2, RFC 5927)."""
        quoted = error.quoted
        if quoted.source != self._address or len(quoted.payload) < 8:
            raise Dropped(Drop.FORGED_ERROR)
        ours, theirs = quoted.payload[:2], quoted.payload[2:4]
        key = quoted.destination + theirs + ours
        if quoted.protocol == ipv6.TCP and key in self._connections:
            number = int.from_bytes(quoted.payload[4:8], "big")
            self._connections[key].receive_error(error, number, now)
        elif quoted.protocol == ipv6.UDP and key in self._udp:
            if error.kind == icmpv6.PACKET_TOO_BIG:
                raise Dropped(Drop.UNEXPECTED)  # what we send by UDP fits everywhere
            self._udp[key].receive_error(error.reason)
            self._serve_lookups(now)
        else:
            self._receive_ping_error(error)

    def _receive_ping_error(self, error: icmpv6.Error) -> None:
        quoted = error.quoted
        ping = self._pings.get(int.from_bytes(quoted.payload[4:6], "big"))
        is_ours = quoted.protocol == ipv6.ICMPV6 and quoted.payload[0] == icmpv6.ECHO_REQUEST
        if not is_ours or ping is None or quoted.destination != ping.peer:
            raise Dropped(Drop.FORGED_ERROR)
        del self._pings[ping.identifier]
        ping.receive_error(error.reason)


def _check_peer(address: bytes, port: int) -> None:
    if len(address) != 16 or not icmpv6.is_unicast(address) or not 0 < port <= 0xFFFF:
        raise ValueError("cannot reach that: it is no address of one host with a port")
