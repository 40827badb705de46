"""`mcpctld.drivers.inet.host`: connecting, names, echoes; and the kernel's own TCP behind a TUN interface."""

import os
import random
import struct
import time
from ipaddress import IPv6Address

import pytest
import trio

from mcpctld.drivers.inet.host import Host
from mcpctld.errors import Unreachable
from mcpctld.protocols.inet import udp
from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.icmpv6 import encode_error
from mcpctld.protocols.inet.ipv6 import UDP, parse
from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.inet.tcp.state import Settings
from netsim.kernel import OURS, THEIRS, kernel_peer, unavailable
from netsim.kernel_side import ECHO, SOURCE
from netsim.network import LEFT, MTU, RIGHT, entropy

WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "never")
PEER, KERNEL = IPv6Address(RIGHT), IPv6Address(THEIRS)


class Silence:
    """A link on which nothing comes, unless `answer` makes it of what is sent."""

    def __init__(self, answer=lambda _: []) -> None:
        self._answer = answer
        self._send, self._receive = trio.open_memory_channel[list[bytes]](1000)

    def send(self, packets: list[bytes]) -> None:
        for packet in packets:
            if answers := self._answer(packet):
                self._send.send_nowait(answers)

    async def receive(self) -> list[bytes]:
        return await self._receive.receive()


@pytest.fixture
def make_host(nursery):
    def make(answer=lambda _: []) -> Host:
        host = Host(Stack(LEFT, MTU, entropy(1)), Silence(answer))
        nursery.start_soon(host.run)
        return host

    return make


def refuse(packet: bytes) -> list[bytes]:
    return [encode_error(RIGHT, 1, 0, 0, packet)]


def answer_name(packet: bytes) -> list[bytes]:
    read = parse(packet)
    assert read.protocol == UDP
    query = udp.parse(read)
    question = query.data[12:-11]
    record = b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 5, 16) + RIGHT
    head = query.data[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
    return [udp.encode(RIGHT, LEFT, (53, query.source_port), head + question + record)]


async def test_nobody_answers(make_host, autojump_clock):
    with pytest.raises(Unreachable, match=r"cannot connect to \[fdaa:.*\]:80: timed out"):
        await make_host().open_tcp_stream(PEER, 80)
    assert 63 <= trio.current_time() < 64


async def test_a_router_refuses(make_host):
    host = make_host(refuse)
    with pytest.raises(Unreachable, match=r"unreachable \(no route\)"):
        await host.open_tcp_stream(PEER, 80)
    with pytest.raises(Unreachable, match=r"cannot reach fdaa.*: no route"):
        await host.ping(PEER)
    with pytest.raises(Unreachable, match=r"cannot look up 'app.internal'.*no route"):
        await host.resolve("app.internal", Kind.AAAA, [PEER])


async def test_what_cannot_be_tried(make_host):
    host = make_host()
    with pytest.raises(Unreachable, match="no address of one host"):
        await host.open_tcp_stream(IPv6Address("ff02::1"), 80)
    with pytest.raises(ValueError, match="not a host name"):
        await host.resolve("a b", Kind.AAAA, [PEER])


async def test_a_cancelled_attempt_leaves_nothing(make_host, autojump_clock):
    host = make_host()
    with trio.move_on_after(0.5):
        await host.open_tcp_stream(PEER, 80)
    assert host.stack.statistics().connections == 0


async def test_a_cancelled_question_leaves_nothing(make_host, autojump_clock):
    host = make_host()
    with trio.move_on_after(0.5):
        await host.resolve("app.internal", Kind.AAAA, [PEER])
    assert host.stack.next_timer() is None


async def test_when_the_tunnel_closes_whoever_waits_hears_of_it(nursery, autojump_clock):
    host, heard = Host(Stack(LEFT, MTU, entropy(1)), Silence()), []

    async def expect(attempt, *arguments) -> None:
        with pytest.raises(Unreachable) as raised:
            await attempt(*arguments)
        heard.append(raised.value.message)

    async with trio.open_nursery() as waiting:
        with trio.move_on_after(0.5):
            for attempt in (
                (host.open_tcp_stream, PEER, 80),
                (host.resolve, "app.internal", Kind.AAAA, [PEER]),
                (host.ping, PEER),
            ):
                waiting.start_soon(expect, *attempt)
            await host.run()
    assert len(heard) == 3
    assert all("the tunnel is closed" in message for message in heard)
    for late in (host.open_tcp_stream(PEER, 80), host.ping(PEER)):
        with pytest.raises(Unreachable, match="the tunnel is closed"):
            await late


async def test_a_name(make_host):
    answer = await make_host(answer_name).resolve("app.internal", Kind.AAAA, [PEER])
    assert (answer.records, answer.ttl) == ((RIGHT,), 5)


class TunLink:
    """A TUN interface. Its descriptor must not block."""

    def __init__(self, tun: int) -> None:
        self._tun = trio.lowlevel.FdStream(tun)

    def send(self, packets: list[bytes]) -> None:
        for packet in packets:
            os.write(self._tun.fileno(), packet)

    async def receive(self) -> list[bytes]:
        return [bytes(await self._tun.receive_some(65536))]


@needs_kernel
async def test_the_kernel_is_reached(nursery):
    with kernel_peer() as peer:
        stack = Stack(OURS, MTU, entropy(time.monotonic_ns()))
        host = Host(stack, TunLink(os.dup(peer.tun)))
        nursery.start_soon(host.run)
        with trio.fail_after(30):
            assert await host.ping(KERNEL) < 30
            stream = await host.open_tcp_stream(KERNEL, ECHO, Settings())
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await stream.aclose()
            stream = await host.open_tcp_stream(KERNEL, SOURCE)
            await stream.send_all((200_000).to_bytes(8, "big"))
            got = b"".join([piece async for piece in stream])
            assert got == random.Random(200_000).randbytes(200_000)
            with pytest.raises(Unreachable, match="refused"):
                await host.open_tcp_stream(KERNEL, 4444)
        nursery.cancel_scope.cancel()
