"""The gate lets one era through, byte by byte, and refuses the other."""

import functools
import json

import eragate
import pytest
import trio

MODERN_META = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
MODERN_HEADER = "MCP-Protocol-Version: 2026-07-28\r\n"


class Far:
    """The server behind the gate: what it was sent, and what it answers, as it is."""

    def __init__(self):
        self.received = b""
        self.gone = trio.Event()
        self.answers = [b"HTTP/1.1 200 OK\r\n\r\nfirst ", b"second"]

    async def serve(self, stream):
        self.received += await stream.receive_some(65536)
        for part in self.answers:
            await stream.send_all(part)
        async for more in stream:
            self.received += more
        self.gone.set()


async def listen(nursery, handler):
    listeners = await nursery.start(functools.partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    return listeners[0].socket.getsockname()[1]


@pytest.fixture
async def far():
    return Far()


@pytest.fixture
async def gate(nursery, far):
    """Connect to a gate of an era: `await gate("legacy")`."""
    port = await listen(nursery, far.serve)
    streams = []

    async def connect(era):
        handler = functools.partial(eragate.exchange, era, "127.0.0.1", port)
        streams.append(await trio.open_tcp_stream("127.0.0.1", await listen(nursery, handler)))
        return streams[-1]

    yield connect
    for stream in streams:
        await trio.aclose_forcefully(stream)


def request(message, headers="", method="POST"):
    body = b"" if message is None else json.dumps(message).encode()
    head = f"{method} /mcp HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def said(method, **params):
    return {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}


async def answer_to(stream, data):
    """What a refusal or an answer says, to the end of the connection: status and body."""
    with trio.fail_after(5):
        await stream.send_all(data)
        whole = b""
        async for part in stream:
            whole += part
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


@pytest.mark.parametrize(
    ("era", "data"),
    [
        ("legacy", request(said("initialize", protocolVersion="2025-11-25"))),
        ("legacy", request(said("tools/list"))),
        ("legacy", request(None, method="GET")),
        ("modern", request(said("tools/list", **MODERN_META))),
        (
            "modern",
            request(said("initialize"), MODERN_HEADER),
        ),  # the server says what it knows of it
        ("modern", request([], MODERN_HEADER)),
    ],
)
async def test_its_own_era_goes_through_and_the_answer_comes_as_it_is(gate, far, era, data):
    stream = await gate(era)
    with trio.fail_after(5):
        await stream.send_all(data)
        received = b""
        while not received.endswith(b"second"):
            received += await stream.receive_some()
        assert received == b"".join(far.answers)
        await stream.aclose()
        await far.gone.wait()  # the client's end is the server's: so a request is cancelled
    sent = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    assert far.received == sent


@pytest.mark.parametrize(
    "message", [said("tools/list", **MODERN_META), said("server/discover", **MODERN_META)]
)
async def test_a_legacy_server_refuses_what_has_no_session(gate, far, message):
    status, body = await answer_to(await gate("legacy"), request(message))
    assert (status, body["error"]["code"], body["id"]) == (400, -32000, None)
    assert far.received == b""


async def test_a_modern_server_names_its_version_to_a_handshake(gate):
    message = said("initialize", protocolVersion="2025-11-25", **MODERN_META)
    status, body = await answer_to(await gate("modern"), request(message))
    assert (status, body["id"]) == (400, "a")
    assert body["error"]["code"] == -32022
    assert body["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


async def test_a_modern_server_misses_its_header(gate):
    status, body = await answer_to(await gate("modern"), request(said("tools/list")))
    assert (status, body["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_modern_server_has_no_other_methods(gate, method):
    assert await answer_to(await gate("modern"), request(None, method=method)) == (405, None)


async def test_a_body_in_pieces_is_waited_for(gate, far):
    data = request(said("tools/list"))
    stream = await gate("legacy")
    with trio.fail_after(5):
        for byte in data:
            await stream.send_all(bytes([byte]))
        assert await stream.receive_some()
    assert far.received.endswith(data.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("cut", [b"POST /mcp HT", request(said("tools/list"))[:-3]])
async def test_half_a_request_goes_nowhere(gate, far, cut):
    stream = await gate("legacy")
    with trio.fail_after(5):
        await stream.send_all(cut)
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert far.received == b""
