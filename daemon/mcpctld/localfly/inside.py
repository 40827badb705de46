"""Behind the gateway: hosts of the private network, each with a stack of its own, and the resolver of its names."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from os import urandom
from typing import Protocol

import trio

from mcpctld.drivers.inet.host import Host
from mcpctld.drivers.inet.stream import TunnelStream
from mcpctld.protocols.inet import ipv6, udp
from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.dns.serving import MAX_UDP, encode_reply, read_question
from mcpctld.protocols.inet.drops import Dropped
from mcpctld.protocols.inet.stack import Stack

DNS_PORT = 53
TTL_S = 5
CONNECT_BOUND_S = 10.0
IDLE_BOUND_S = 30.0
"""For so long somebody may take to ask by TCP."""
MAX_WAITING = 4096
"""Packets that wait for a host; later ones are dropped."""
CHUNK = 256 * 1024


class Inside(Protocol):
    """What there is in the private network."""

    resolver: IPv6Address
    """Where names are asked for."""

    def knows(self, address: IPv6Address) -> bool:
        """Whether somebody has this address."""

    def names(self, name: str, kind: int) -> Sequence[bytes] | None:
        """What a name has: addresses of 16 bytes, texts for `Kind.TXT`; None: there is no such name."""

    def forward(self, address: IPv6Address, port: int) -> tuple[str, int] | None:
        """Where on this machine somebody listens for that; None: nobody does."""


class HostLink:
    """What carries packets of one host: see `drivers.inet.host.PacketLink`."""

    def __init__(self, send: Callable[[list[bytes]], None]) -> None:
        self.send = send
        self._packets: list[bytes] = []
        self._arrived = trio.Event()

    def take(self, packet: bytes) -> None:
        """A packet for this host."""
        if len(self._packets) < MAX_WAITING:
            self._packets.append(packet)
            self._arrived.set()

    async def receive(self) -> list[bytes]:
        """All that have come, at least one."""
        await self._arrived.wait()
        packets, self._packets = self._packets, []
        self._arrived = trio.Event()
        return packets


Accept = Callable[[TunnelStream, IPv6Address, int], None]


def make_host(address: bytes, mtu: int, link: HostLink, inside: Inside, accept: Accept) -> Host:
    """A host that takes connections to the ports behind which somebody is."""
    own = IPv6Address(address)

    def accepts(port: int) -> bool:
        return _is_resolver(inside, own, port) or inside.forward(own, port) is not None

    stack = Stack(address, mtu, urandom, accepts)
    return Host(stack, link, lambda stream: accept(stream, own, stream.connection.flow.local_port))


def _is_resolver(inside: Inside, address: IPv6Address, port: int) -> bool:
    return port == DNS_PORT and address == inside.resolver


# ---------------------------------------------------------------- connections


async def forward(stream: TunnelStream, address: IPv6Address, port: int, inside: Inside) -> None:
    """Carry a connection to where `inside` says, both ways, until both have ended."""
    async with stream:
        await stream.wait_connected()
        try:
            if _is_resolver(inside, address, port):
                await _answer_by_tcp(stream, inside)
            elif (target := inside.forward(address, port)) is not None:
                await _carry(stream, *target)
        except* (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            stream.connection.abort()  # nobody listens there any more, or one side has cut it


async def _carry(stream: TunnelStream, host: str, port: int) -> None:
    with trio.fail_after(CONNECT_BOUND_S):
        local = await trio.open_tcp_stream(host, port)
    async with local, trio.open_nursery() as nursery:
        nursery.start_soon(_copy, stream, local)
        nursery.start_soon(_copy, local, stream)


async def _copy(source: trio.abc.ReceiveStream, sink: trio.abc.HalfCloseableStream) -> None:
    while data := await source.receive_some(CHUNK):
        await sink.send_all(data)
    await sink.send_eof()


# ---------------------------------------------------------------- names


def serve_names(data: bytes, inside: Inside) -> bytes | None:
    """The packet that answers a question by UDP; None for what is none."""
    if data[24:40] != inside.resolver.packed:
        return None
    try:
        packet = ipv6.parse(data)
        if packet.protocol != ipv6.UDP:
            return None
        datagram = udp.parse(packet)
    except Dropped:
        return None
    if datagram.destination_port != DNS_PORT or (question := read_question(datagram.data)) is None:
        return None
    reply = encode_reply(question, _look_up(inside, question.name, question.kind), TTL_S, MAX_UDP)
    return udp.encode(packet.destination, packet.source, (DNS_PORT, datagram.source_port), reply)


def _look_up(inside: Inside, name: str, kind: int) -> Sequence[bytes] | None:
    """Kinds that we do not know are ones that no name has."""
    found = inside.names(name, kind)
    return found if found is None or kind in (Kind.AAAA, Kind.TXT) else []


async def _answer_by_tcp(stream: TunnelStream, inside: Inside) -> None:
    """RFC 7766 §8: each message behind its length."""
    data = b""
    with trio.move_on_after(IDLE_BOUND_S) as bound:
        while more := await stream.receive_some():
            data += more
            while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
                question = read_question(data[2:end])
                data = data[end:]
                if question is None:
                    return
                reply = encode_reply(
                    question, _look_up(inside, question.name, question.kind), TTL_S
                )
                await stream.send_all(len(reply).to_bytes(2, "big") + reply)
                bound.relative_deadline = IDLE_BOUND_S
