"""Messages arrive as they were sent, whatever they look like and however large they are."""

import abc
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from e2e.rawclient import RawClient
from e2e.stage import Stage
from fixtures import scripted

MiB = 1024 * 1024


class Wire(abc.ABC):
    """One kind of server, as far as these tests steer it."""

    @abc.abstractmethod
    def prepare(self, *lines: bytes) -> None:
        """Answer the next request with exactly these messages."""

    @abc.abstractmethod
    def heard(self) -> bytes:
        """The last message that arrived, as it arrived."""


class StdioWire(Wire):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, *lines: bytes) -> None:
        (self.folder / "answer").write_bytes(b"".join(line + b"\n" for line in lines))

    def heard(self) -> bytes:
        return (self.folder / "heard").read_bytes().splitlines()[-1]


class HttpWire(Wire):
    def __init__(self, upstream: scripted.Upstream, kind: str) -> None:
        self.upstream = upstream
        self.kind = kind
        self.lines: tuple[bytes, ...] = ()
        upstream.on("tools/call")(self.answer)

    def prepare(self, *lines: bytes) -> None:
        self.lines = lines

    def heard(self) -> bytes:
        return self.upstream.calls("tools/call")[-1].body

    async def answer(self, exchange: scripted.Exchange) -> None:
        if self.kind == "json":
            *_, last = self.lines
            await exchange.answer(200, last, scripted.JSON)
            return
        await exchange.start_events()
        for line in self.lines:
            await exchange.chunk(b"event: message\r\ndata: " + line + b"\r\n\r\n")
        await exchange.end()


KINDS = ["stdio", "json", "events"]


@contextlib.asynccontextmanager
async def wired(stage: Stage, kind: str) -> AsyncIterator[tuple[RawClient, Wire]]:
    """An attached client and the server behind it."""
    async with stage.upstream() as upstream:
        wire: Wire
        if kind == "stdio":
            wire = StdioWire(stage.parrot(name="wired"))
        else:
            stage.remote(upstream, name="wired")
            wire = HttpWire(upstream, kind)
        async with stage.session("wired") as client:
            yield client, wire


ODD = [
    pytest.param(rb'{"z":1,"a":2,"m":{"z":1,"a":2}}', id="key order"),
    pytest.param(rb'{"n":[1.0,1e2,1E+2,-0,-0.0,0.10,12345678901234567890,1e400]}', id="numbers"),
    pytest.param(rb'{"s":["\ud800","\udc00\ud800","\u0000","\/","\u00e9"]}', id="escapes"),
    pytest.param('{"s":"\u2028\u2029\u0085 é 漢 😀 \u200d"}'.encode(), id="raw unicode"),
    pytest.param(rb'{ "spaced" :  [ 1 ,2 ]	, "tab":{} }', id="white space"),
    pytest.param(rb'{"id":7,"method":"x","result":{"id":8},"jsonrpc":"1.0"}', id="decoys inside"),
    pytest.param(rb'{"twice":1,"twice":2}', id="a key twice"),
    pytest.param(b'{"deep":' + b"[" * 200 + b"]" * 200 + b"}", id="deep"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ODD)
async def test_what_is_not_ours_to_change_arrives_bit_identical(
    stage: Stage, kind: str, value: bytes
) -> None:
    request = (
        b'{"x-unknown":[1,2.50],"params":%s,"method":"tools/call","id":"odd","jsonrpc":"2.0"}'
        % value
    )
    answer = b'{ "x-unknown": 1.50, "result":%s,"id": "odd" ,"jsonrpc":"2.0"}' % value
    async with wired(stage, kind) as (client, wire):
        wire.prepare(answer)
        await client.write(request + b"\n")
        assert await client.line() == answer
        assert wire.heard() == request


IDS = [
    *(b"1", b'"1"', b"0", b"-5", b"9007199254740993", b"123456789012345678901"),
    *(b'""', b'"a b"', b'"\xc3\xa9"', b'"\\u0041"', b'"\\ud800"', b'"1.0"'),
]


async def test_ids_keep_their_spelling_and_do_not_meet(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        for number, ident in enumerate(IDS):
            params = b'{"count":%d,"number":%d}' % (len(IDS), number)
            line = b'{"jsonrpc":"2.0","id":%s,"method":"test/hold","params":%s}\n' % (ident, params)
            await client.write(line)
        answers = [await client.line() for _ in IDS]
    seen = [re.search(rb'"id":(.*?),"result":.*"number": (\d+)', line) for line in answers]
    assert {(found[1], int(found[2])) for found in seen if found} == set(
        zip(IDS, range(len(IDS)), strict=True)
    )


@pytest.mark.parametrize("size", [int(1.5 * MiB), 12 * MiB], ids=["1.5 MiB", "12 MiB"])
@pytest.mark.parametrize("kind", KINDS)
async def test_large_messages_arrive_whole_in_both_directions(
    stage: Stage, kind: str, size: int
) -> None:
    # Not one byte repeated: a piece lost or twice would not show.
    text = "".join(f"{number:08x}é" for number in range(size // 10)).encode()
    request = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"text":"%s"}}' % text
    answer = b'{"jsonrpc":"2.0","id":1,"result":{"text":"%s"}}' % text
    async with wired(stage, kind) as (client, wire):
        wire.prepare(answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.write, request + b"\n")
            assert await client.line() == answer
        assert wire.heard() == request


@pytest.mark.parametrize("kind", ["stdio", "events"])
async def test_what_belongs_to_a_request_arrives_in_order_and_before_its_answer(
    stage: Stage, kind: str
) -> None:
    steps = [
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":%d}}'
        % step
        for step in range(500)
    ]
    lines = [*steps, b'{"jsonrpc":"2.0","id":1,"result":{}}']
    async with wired(stage, kind) as (client, wire):
        wire.prepare(*lines)
        await client.request(1, "tools/call", {"_meta": {"progressToken": 1}})
        assert [await client.line() for _ in lines] == lines


async def test_an_event_of_several_data_lines_is_one_message(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    @upstream.on("tools/call")
    async def pretty(exchange: scripted.Exchange) -> None:
        message = {"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"pretty": [1, "a b"]}}
        await exchange.start_events()
        lines = json.dumps(message, indent=2).splitlines()
        await exchange.chunk("".join(f"data: {line}\n" for line in lines).encode() + b"\n")
        await exchange.end()

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert (await client.call(1, "pretty"))["result"] == {"pretty": [1, "a b"]}


async def test_200_calls_at_once_on_one_session_over_http(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    together = trio.Event()

    @upstream.on("tools/call")
    async def hold(exchange: scripted.Exchange) -> None:
        if len(upstream.calls("tools/call")) == 200:
            together.set()
        await together.wait()
        await exchange.reply({"number": exchange.message["params"]["arguments"]["number"]})

    stage.remote(upstream)
    async with stage.session("remote") as client:
        for number in range(200):
            params = {"name": "hold", "arguments": {"number": number}}
            await client.request(number, "tools/call", params)
        answers = [await client.message() for _ in range(200)]
    seen = {answer["id"]: answer["result"]["number"] for answer in answers}
    assert seen == {number: number for number in range(200)}


async def test_200_calls_at_once_on_one_session_over_stdio(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        for number in range(200):
            await client.request(number, "test/hold", {"count": 200, "number": number})
        answers = [await client.message() for _ in range(200)]
    # As the server said them: the last one first.
    assert [answer["id"] for answer in answers] == list(reversed(range(200)))
    assert all(answer["result"]["number"] == answer["id"] for answer in answers)
