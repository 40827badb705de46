"""What every transport must do, whatever stands in `upstreams/`: run over each of them, through a whole session."""

import base64
import json
import os
import re
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from mcpctld.upstreams import upstreams
from sessions.client import Attachment, attached, bounded, error_of, journal
from upstreams.stands import STANDS, HttpStand, Stand, StdioStand

MiB = 1024 * 1024


def test_every_transport_has_a_stand():
    assert {transport for transport, _ in STANDS.values()} == set(upstreams())


@pytest.fixture(params=STANDS)
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    _, serve = STANDS[request.param]
    async with serve() as made:
        yield made


@pytest.fixture
async def client(stand: Stand) -> AsyncIterator[Attachment]:
    """Attached, greeted, and looked after: a second answer to anything fails the test."""
    with journal() as log:
        async with attached(stand.spec, max_message_bytes=16 * MiB) as made:
            await made.initialize()
            if isinstance(stand, StdioStand):
                stand.pid = (await made.ask("pid", "pid"))["result"]
            yield made
    assert log.of("server.garbage") == []


def encoded(*lines: bytes) -> list[str]:
    return [base64.b64encode(line).decode() for line in lines]


def as_heard(stand: Stand, line: bytes) -> bytes:
    """What is to be equal in what a client said and in what the server heard."""
    return re.sub(rb'("id"\s*:\s*)("[^"]*"|\d+)', rb"\1", line) if stand.sees_our_ids else line


async def heard(client: Attachment) -> list[bytes]:
    """What the server has heard, byte for byte."""
    result = (await client.ask("heard", "heard"))["result"]
    return [base64.b64decode(text) for text in result]


@bounded
async def test_each_request_is_answered_once(client: Attachment):
    for number in range(100):
        await client.send(id=number, method="hello")
    answers = [await client.message() for _ in range(100)]
    assert sorted(answer["id"] for answer in answers) == list(range(100))
    assert (await client.ask("last", "hello"))["id"] == "last"
    assert client.waiting == []


@bounded
async def test_string_and_number_ids_do_not_meet(client: Attachment):
    for ident in (1, "1", 0, -5, "", 12345678901234567890, "é"):
        assert (await client.ask(ident, "hello"))["result"] == {}


@bounded
async def test_messages_of_the_server_come_before_the_answer_and_in_order(client: Attachment):
    said = [b'{"jsonrpc":"2.0","method":"n/%d"}' % number for number in range(50)]
    await client.send(id=1, method="hello", params={"say": encoded(*said)})
    assert [await client.line() for _ in said] == said
    assert (await client.message())["id"] == 1


@bounded
async def test_notifications_arrive_in_order_and_before_what_follows(client: Attachment):
    for number in range(20):
        await client.send(method="notifications/n", params={"number": number})
    numbers = [
        json.loads(line)["params"]["number"]
        for line in await heard(client)
        if b"notifications/n" in line
    ]
    assert numbers == list(range(20))


@bounded
async def test_a_request_of_the_server_is_answered_by_the_client(client: Attachment):
    question = b'{"jsonrpc":"2.0","id":"s-1","method":"roots/list"}'
    await client.send(id=1, method="hello", params={"say": encoded(question)})
    assert await client.line() == question
    await client.send(id="s-1", result={"roots": []})
    lines = [json.loads(line) for line in await heard(client)]
    assert {"jsonrpc": "2.0", "id": "s-1", "result": {"roots": []}} in lines


ODD = b'{ "z":1.0, "a":[1e2,-0,12345678901234567890,"\\ud800","\\u2028\xe2\x80\xa8"], "a":null }'


@bounded
async def test_bytes_arrive_as_they_were_sent(stand: Stand, client: Attachment):
    answer = b'{"x":1.50 ,"result":%s,"id":"odd","jsonrpc":"2.0"}' % ODD
    request = b'{"y":%s,"params":{"answer":"%s"},"method":"raw", "id":"odd","jsonrpc":"2.0"}' % (
        ODD,
        base64.b64encode(answer),
    )
    await client.write(request + b"\n")
    assert await client.line() == answer
    assert as_heard(stand, request) in [as_heard(stand, line) for line in await heard(client)]


@bounded
async def test_big_messages_arrive(client: Attachment):
    size = 3 * MiB
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: client.send(id=1, method="big", params={"size": size, "padding": "y" * size})
        )
        assert len((await client.answer(1))["result"]) == size


@bounded
async def test_an_answer_over_the_limit_fails_its_call_and_no_other(client: Attachment):
    error = error_of(await client.ask(1, "big", size=17 * MiB))
    assert "max_message_bytes" in error["message"]
    assert (await client.ask(2, "hello"))["result"] == {}


@bounded
async def test_a_batch_is_answered_by_a_batch(stand: Stand, client: Attachment):
    """Revision 2025-03-26 has them."""
    batch = b'[{"jsonrpc":"2.0","id":1,"method":"hello"},{"jsonrpc":"2.0","id":2,"method":"hello"}]'
    await client.write(batch + b"\n")
    assert [answer["id"] for answer in json.loads(await client.line())] == [1, 2]
    assert as_heard(stand, batch) in [as_heard(stand, line) for line in await heard(client)]


@bounded
async def test_a_cancelled_call_is_told_to_the_server_and_costs_nothing(client: Attachment):
    await client.send(id=1, method="never")
    await client.send(method="notifications/cancelled", params={"requestId": 1})
    assert any(b"notifications/cancelled" in line for line in await heard(client))
    assert client.session.info()["figures"]["in_flight"] == 0


@bounded
async def test_the_end_of_the_server_fails_its_calls_by_name(stand: Stand, client: Attachment):
    await client.send(id="one", method="never")
    await heard(client)
    await client.send(id="two", method="die")
    for ident in ("one", "two"):
        error = error_of(await client.answer(ident))
        assert error["data"]["kind"] in ("unreachable", "timeout")
    if isinstance(stand, StdioStand):
        assert "exited with code 3: struck by lightning" in error["message"]


@bounded
async def test_the_end_of_the_client_leaves_no_connection_and_no_process(
    stand: Stand, client: Attachment
):
    await client.send(id=1, method="never")
    await heard(client)
    await client.kill()
    await client.ended.wait()
    if isinstance(stand, HttpStand):
        client.http.close_idle()
        while stand.open:
            await trio.testing.wait_all_tasks_blocked(0.01)
    elif isinstance(stand, StdioStand):
        with pytest.raises(ProcessLookupError):
            os.kill(stand.pid, 0)


def resident() -> int:
    """Our memory in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@bounded
async def test_a_client_that_does_not_read_holds_the_server_back(client: Attachment):
    """64 MiB are on their way; between the server's pipe and the client's there is room for a few."""
    count, size = 1024, 64 * 1024
    before = resident()
    await client.send(id=1, method="flood", params={"count": count, "size": size})
    await trio.testing.wait_all_tasks_blocked(0.3)
    grown = resident() - before
    assert client.session._io.buffered < 4 * MiB
    for number in range(count):
        assert (await client.message())["params"]["number"] == number
    assert (await client.message())["id"] == 1
    # The HTTP stands are in this process, and keep what they have not sent: 64 MiB, and what makes it.
    if client.session.info()["transport"] == "stdio":
        assert grown < 16 * MiB


@bounded
async def test_a_server_that_does_not_read_holds_the_client_back(stand: Stand, client: Attachment):
    stand.deafen()
    sent = 0

    async def write() -> None:
        nonlocal sent
        for number in range(64):
            await client.send(id=number, method="hello", params={"padding": "." * MiB})
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked(0.3)
        held_back_after = sent
        stand.listen()
        assert {(await client.message())["id"] for _ in range(64)} == set(range(64))
    assert held_back_after < 40


@bounded
async def test_nothing_is_sent_after_the_end(stand: Stand, client: Attachment):
    assert await client.finish() == (0, "")
    await client.ended.wait()
    upstream = client.session._upstream
    assert upstream is not None
    with trio.fail_after(1):
        await upstream.aclose()
