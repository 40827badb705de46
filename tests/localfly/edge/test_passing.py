"""Whatever is sent through the edge arrives, however it is cut: random bodies, and WebSocket as it is in use."""

import random

import pytest
import trio
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from localfly.edge.town import Caller, Town, Visit, calling, echo, open_town, request


def cut(data: bytes, chance: random.Random, most: int) -> list[bytes]:
    """Pieces of at most `most` bytes."""
    pieces = []
    while data:
        size = chance.randint(1, most)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def framed(body: bytes, chance: random.Random) -> bytes:
    """A request with this body, by length or in chunks."""
    if chance.random() < 0.5:
        return request("POST", "/x", body)
    chunks = [b"%x\r\n%s\r\n" % (len(each), each) for each in cut(body, chance, 5000)]
    return request("POST", "/x", Transfer_Encoding="chunked") + b"".join(chunks) + b"0\r\n\r\n"


async def mirror(visit: Visit) -> None:
    """Answers with the body, in one of the ways in which an answer ends."""
    body = await visit.body()
    chance = random.Random(len(body))
    stream = visit.stream
    match chance.choice(["length", "chunks", "close"]):
        case "length":
            await visit.answer(body)
        case "chunks":
            await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in cut(body, chance, 3000):
                await stream.send_all(b"%x\r\n%s\r\n" % (len(piece), piece))
            await stream.send_all(b"0\r\n\r\n")
        case _:
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            await stream.aclose()


@pytest.mark.parametrize("seed", range(12))
async def test_bodies_go_there_and_back_on_one_connection(autojump_clock, seed):
    chance = random.Random(seed)
    async with open_town() as fleet:
        await fleet.add_app().add("m1", mirror)
        bodies = [chance.randbytes(chance.choice([0, 1, 10, 9000, 70_000])) for _ in range(6)]
        async with calling(fleet) as caller:
            await _say_all(caller, bodies, chance)


async def _say_all(caller: Caller, bodies: list[bytes], chance: random.Random) -> None:
    most = chance.choice([1000, 100_000])

    async def send() -> None:
        for body in bodies:
            for piece in cut(framed(body, chance), chance, most):
                await caller.send(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for body in bodies:
            answer = await caller.answer()
            assert (answer.status, answer.whole) == (200, True)
            assert answer.body == body


async def test_a_request_may_come_byte_by_byte(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1", echo)
        wire = request("POST", "/x", b"hello") + framed(b"world", random.Random(1))
        async with calling(fleet) as caller:
            for at in range(len(wire)):
                await caller.send(wire[at : at + 1])
                await trio.sleep(0.01)
            assert [(await caller.answer()).told["body"] for _ in range(2)] == ["hello", "world"]


async def test_forty_clients_at_once_get_their_own(autojump_clock):
    async def one(fleet: Town, number: int) -> None:
        body = random.Random(number).randbytes(20_000)
        async with calling(fleet) as caller:
            for _ in range(3):
                await caller.send(framed(body, random.Random(number)))
                assert (await caller.answer()).body == body
        done.append(number)

    done: list[int] = []
    async with open_town() as fleet:
        app = fleet.add_app()
        for name in ("m1", "m2", "m3"):
            await app.add(name, mirror)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(one, fleet, number)
        assert len(done) == 40
        assert all(machine.visits and not machine.open for machine in app.machines.values())


# ---------------------------------------------------------------- WebSocket


async def web_socket(visit: Visit) -> None:
    """Says every message back, twice."""
    server = ServerProtocol()
    lines = [visit.line, *(f"{name}: {value}" for name, value in visit.fields)]
    server.receive_data("\r\n".join(lines).encode() + b"\r\n\r\n")
    (asked,) = server.events_received()
    server.send_response(server.accept(asked))
    while True:
        for data in server.data_to_send():
            await visit.stream.send_all(data)
        if server.close_expected():
            return
        server.receive_data(await visit.more())
        for frame in server.events_received():
            if frame.opcode is Opcode.TEXT:
                server.send_text(frame.data)
                server.send_text(frame.data)


async def _push(client: ClientProtocol, stream: trio.SocketStream) -> None:
    for data in client.data_to_send():
        await stream.send_all(data)


async def _pull(client: ClientProtocol, stream: trio.SocketStream, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        client.receive_data(await stream.receive_some())
        frames = [event for event in client.events_received() if hasattr(event, "opcode")]
        found += [frame.data for frame in frames if frame.opcode is Opcode.TEXT]
    return found


async def test_web_socket_works_and_ends_politely(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", web_socket)
        client = ClientProtocol(parse_uri("ws://time.localhost/socket"))
        stream = await trio.open_tcp_stream("127.0.0.1", fleet.edge_port)
        async with stream:
            client.send_request(client.connect())
            await _push(client, stream)
            while client.state is not OPEN:
                client.receive_data(await stream.receive_some())
                client.events_received()
            for text in (b"one", b"x" * 200_000):
                client.send_text(text)
                await _push(client, stream)
                assert await _pull(client, stream, 2) == [text, text]
            assert machine.open == 1
            client.send_close(1000)
            await _push(client, stream)
            while data := await stream.receive_some():
                client.receive_data(data)
            client.receive_eof()
            assert client.close_code == 1000
