"""`mcpctld.drivers.inet.stream`: a connection as a trio stream, between two hosts, over a link in memory."""

import contextlib
import itertools
import math
from collections.abc import AsyncIterator
from ipaddress import IPv6Address

import pytest
import trio
from trio.testing import check_half_closeable_stream

from mcpctld.drivers.inet.host import Host
from mcpctld.drivers.inet.stream import TunnelStream
from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.inet.tcp.state import Settings
from netsim.network import LEFT, MTU, RIGHT, entropy

SMALL = 16 * 1024
ports = itertools.count(41000)


class MemoryLink:
    """One end of a link; the other's `incoming` is where packets go."""

    def __init__(self) -> None:
        self.other: MemoryLink | None = None
        self._send, self._receive = trio.open_memory_channel[list[bytes]](math.inf)

    def send(self, packets: list[bytes]) -> None:
        assert self.other is not None
        self.other._send.send_nowait(packets)

    async def receive(self) -> list[bytes]:
        return await self._receive.receive()


@contextlib.asynccontextmanager
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    left, right = MemoryLink(), MemoryLink()
    left.other, right.other = right, left
    async with trio.open_nursery() as nursery:
        made = (
            Host(Stack(LEFT, MTU, entropy(next(ports))), left),
            Host(Stack(RIGHT, MTU, entropy(next(ports))), right),
        )
        for host in made:
            nursery.start_soon(host.run)
        yield made
        nursery.cancel_scope.cancel()


async def connect(left: Host, right: Host) -> tuple[TunnelStream, TunnelStream]:
    """Both open at once."""
    port = next(ports)
    settings = Settings(local_port=port, send_buffer=SMALL, receive_buffer=SMALL)
    found: dict[Host, TunnelStream] = {}

    async def open_one(host: Host, address: bytes) -> None:
        found[host] = await host.open_tcp_stream(IPv6Address(address), port, settings)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_one, left, RIGHT)
        nursery.start_soon(open_one, right, LEFT)
    return found[left], found[right]


@pytest.fixture
async def pair(autojump_clock):
    async with hosts() as (left, right):
        yield await connect(left, right)


async def clog(stream: TunnelStream) -> None:
    """Send until nothing is taken any more."""
    with trio.move_on_after(0.05):
        while True:
            await stream.send_all(bytes(4096))


async def test_it_is_a_stream_as_trio_wants_them(autojump_clock):
    async with hosts() as (left, right):

        async def make():
            return await connect(left, right)

        async def make_clogged():
            streams = await connect(left, right)
            for stream in streams:
                await clog(stream)
            return streams

        await check_half_closeable_stream(make, make_clogged)


async def test_back_pressure_reaches_the_writer(pair):
    writer, reader = pair
    await clog(writer)
    assert reader.connection.statistics().unread <= SMALL
    with trio.move_on_after(0.05) as scope:
        await writer.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    got = 0
    while got < SMALL:
        got += len(await reader.receive_some())
    with trio.fail_after(5):
        await writer.wait_send_all_might_not_block()


async def test_much_goes_both_ways_at_once(pair):
    one, two = pair
    data = bytes(range(256)) * 2000

    async def send(stream):
        await stream.send_all(data)
        await stream.send_eof()

    async def receive(stream):
        assert b"".join([piece async for piece in stream]) == data

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for stream in (one, two):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)


async def test_a_reset_breaks_it_and_says_why(pair):
    one, two = pair
    one.connection.abort()
    one._flush()
    with trio.fail_after(5), pytest.raises(trio.BrokenResourceError, match="reset by the peer"):
        await two.receive_some()
    with pytest.raises(trio.BrokenResourceError, match="reset by the peer"):
        await two.send_all(b"x")


async def test_closing_twice_is_harmless_and_the_end_is_not_to_be_said_after_it(pair):
    one, _ = pair
    await one.aclose()
    await one.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await one.send_eof()


async def test_one_task_at_a_time(pair):
    one, _ = pair
    await clog(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.receive_some)
        nursery.start_soon(one.wait_send_all_might_not_block)
        await trio.testing.wait_all_tasks_blocked()
        for again in (one.receive_some(), one.send_all(b"x"), one.send_eof()):
            with pytest.raises(trio.BusyResourceError):
                await again
        nursery.cancel_scope.cancel()


async def test_a_cancelled_read_loses_nothing(pair):
    one, two = pair
    with trio.move_on_after(0.01):
        await two.receive_some()
    await one.send_all(b"abc")
    assert await two.receive_some() == b"abc"
