"""`mcpctld.drivers.carriers.websocket`: both sides against each other, and each against bytes."""

import functools
import random

import pytest
import trio
from websockets.frames import Frame, Opcode

from mcpctld.drivers.carriers import websocket
from mcpctld.drivers.carriers.websocket import accept_websocket, open_websocket
from mcpctld.errors import PeerError, Unreachable
from mcpctld.protocols.wireguard.carrier import KEEPALIVE, MAGIC

URL = "ws://192.0.2.1/"


async def shaken(near, far):
    """Carriers over both ends."""
    async with trio.open_nursery() as nursery:
        ends = []
        nursery.start_soon(keep, ends, 0, functools.partial(open_websocket, near, URL))
        nursery.start_soon(keep, ends, 1, functools.partial(accept_websocket, far))
    return [carrier for _, carrier in sorted(ends, key=lambda end: end[0])]


async def keep(ends, number, make) -> None:
    ends.append((number, await make()))


async def run(nursery, carrier):
    """What comes over it."""
    send, receive = trio.open_memory_channel[bytes](1000)

    def deliver(datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            send.send_nowait(datagram)

    nursery.start_soon(carrier.run, deliver)
    return receive


async def test_binary_within_text_both_ways(nursery):
    rng = random.Random(1)
    sent = [rng.randbytes(size) for size in (1, 32, 148, 1452, 65535)]
    client, gateway = await shaken(*trio.testing.memory_stream_pair())
    from_gateway, from_client = await run(nursery, client), await run(nursery, gateway)
    client.send(sent)
    gateway.send(sent[::-1])
    assert [await from_client.receive() for _ in sent] == sent
    assert [await from_gateway.receive() for _ in sent] == sent[::-1]
    nursery.cancel_scope.cancel()


async def test_byte_by_byte(nursery):
    near, far = trio.testing.memory_stream_pair()
    receive = far.receive_some
    far.receive_some = lambda size: receive(1)
    client, gateway = await shaken(near, far)
    await run(nursery, client)
    from_client = await run(nursery, gateway)
    client.send([b"\xff\xfe", b"x" * 300])
    assert [await from_client.receive() for _ in range(2)] == [b"\xff\xfe", b"x" * 300]
    nursery.cancel_scope.cancel()


async def test_the_client_asks_with_an_origin_and_begins_with_the_magic(nursery, autojump_clock):
    near, far = trio.testing.memory_stream_pair()
    seen: list[bytes] = []
    receive = far.receive_some

    async def watch(size: int | None = None) -> bytes:
        seen.append(await receive(size))
        return seen[-1]

    far.receive_some = watch
    client, gateway = await shaken(near, far)
    assert b"Origin: ws://192.0.2.1/\r\n" in seen[0]
    frames: list[Frame] = []
    recv = gateway._protocol.recv_frame
    gateway._protocol.recv_frame = lambda frame: (frames.append(frame), recv(frame))
    await run(nursery, client)
    await run(nursery, gateway)
    await trio.sleep(3.5)
    assert [bytes(frame.data) for frame in frames] == [MAGIC, KEEPALIVE, KEEPALIVE, KEEPALIVE]
    assert {frame.opcode for frame in frames} == {Opcode.TEXT}
    nursery.cancel_scope.cancel()


async def test_a_ping_is_answered(nursery):
    client, gateway = await shaken(*trio.testing.memory_stream_pair())
    await run(nursery, client)
    pongs = trio.Event()
    recv = gateway._protocol.recv_frame

    def watch(frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            pongs.set()
        recv(frame)

    gateway._protocol.recv_frame = watch
    await run(nursery, gateway)
    gateway._protocol.send_ping(b"there?")
    with trio.fail_after(30):
        await pongs.wait()
    nursery.cancel_scope.cancel()


async def test_datagrams_without_room_are_lost(monkeypatch):
    client, _ = await shaken(*trio.testing.memory_stream_pair())
    monkeypatch.setattr(websocket, "MAX_WAITING", 1000)
    client.send([b"x" * 400] * 5)
    assert client.lost == 3


# ---------------------------------------------------------------- ends


async def ended(carrier) -> str:
    with pytest.raises(Unreachable) as raised, trio.fail_after(30):
        await carrier.run(lambda came: None)
    return str(raised.value)


async def test_the_other_side_goes():
    near, far = trio.testing.memory_stream_pair()
    client, _ = await shaken(near, far)
    await far.aclose()
    assert "the WebSocket has ended" in await ended(client)


async def test_the_other_side_closes_with_a_reason():
    near, far = trio.testing.memory_stream_pair()
    client, gateway = await shaken(near, far)
    gateway._protocol.send_close(1001, "going away")
    await far.send_all(b"".join(gateway._protocol.data_to_send()))
    assert "closed it with code 1001 going away" in await ended(client)


async def test_frames_that_are_none():
    near, far = trio.testing.memory_stream_pair()
    client, _ = await shaken(near, far)
    await far.send_all(b"\xff\xff\xff\xff")
    assert "what came is no WebSocket" in await ended(client)


async def test_a_stream_that_is_no_wireguard():
    near, far = trio.testing.memory_stream_pair()
    client, gateway = await shaken(near, far)
    client._first = b"GET / HTTP/1.1"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_end, client)
        assert "not a stream of WireGuard datagrams" in await ended(gateway)
        nursery.cancel_scope.cancel()


async def expect_end(carrier) -> None:
    await ended(carrier)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", Unreachable, "hung up"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", PeerError, "HTTP 403"),
        (b"SSH-2.0-x\r\n\r\n", PeerError, "was refused"),
    ],
)
async def test_a_handshake_that_fails(answer, error, words):
    near, far = trio.testing.memory_stream_pair()
    if answer:
        await far.send_all(answer)
    await far.send_eof()
    with pytest.raises(error, match=words):
        await open_websocket(near, URL)
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")


async def test_a_gateway_is_asked_for_something_else():
    near, far = trio.testing.memory_stream_pair()
    await near.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(PeerError, match="was refused"):
        await accept_websocket(far)
