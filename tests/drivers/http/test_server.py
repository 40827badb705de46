"""`mcpctld.drivers.http.server` and its parts, over real sockets."""

import functools
import gc
import logging
import random
import re
import resource
import socket

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from harness import until
from leaks import open_fds
from mcpctld.drivers.http.server import Answer, HttpServer, Limits, serve_connection
from mcpctld.drivers.http.server_connection import MOST_DRAINED, MOST_PIPELINED
from mcpctld.protocols import http1
from mcpctld.protocols.http1_server import PREFACE

MIB = 1024 * 1024
TEXT = (("Content-Type", "text/plain"),)


class App:
    """Keeps what it is asked, and answers with `how`: at once with the request's body unless told otherwise."""

    def __init__(self):
        self.admitted = []
        self.requests = []
        self.replies = []
        self.gone = []
        self.refusal = None
        self.how = lambda request, reply: reply.send(200, TEXT, request.body)

    def admit(self, request):
        assert request.body == b""
        self.admitted.append(request.path)
        return self.refusal(request) if self.refusal else None

    def handle(self, request, reply):
        self.requests.append(request)
        self.replies.append(reply)
        reply.on_gone = lambda: self.gone.append(request.path)
        self.how(request, reply)

    def wait(self):
        """Have what comes answered by the test."""
        self.how = lambda request, reply: None


class Client:
    """Raw bytes out, responses in."""

    def __init__(self, stream):
        self.stream = stream
        self.reader = http1.ResponseReader()

    async def send(self, *pieces):
        for piece in pieces:
            await self.stream.send_all(piece)

    async def response(self, method="POST"):
        """The next response: its head and body; None if the connection ends instead."""
        self.reader.expect(method)
        head, body = None, bytearray()
        deadline = trio.current_time() + 20
        while True:
            event = self.reader.next_event()
            match event:
                case http1.Head():
                    head = event
                case http1.Data():
                    body += event.data
                case http1.End():
                    return head, bytes(body)
                case http1.Broken():
                    assert event.ended, event
                    return None
                case None:
                    with trio.fail_at(deadline):
                        await self._more()

    async def _more(self):
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if data:
            self.reader.receive_data(data)
        else:
            self.reader.receive_eof()

    async def ask(self, data, method="POST"):
        await self.send(data)
        return await self.response(method)

    async def rest(self):
        """All that comes until the end, as it is."""
        data = bytearray()
        with trio.fail_after(20):
            while more := await self.stream.receive_some():
                data += more
        return bytes(data)

    async def ended(self):
        """Whether the server has closed the connection, and said nothing before."""
        try:
            return await self.rest() == b""
        except trio.BrokenResourceError:
            return True

    def reset(self):
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.stream.socket.close()


class Rig:
    """A server and its clients."""

    def __init__(self, nursery, limits=None, on_http2=None):
        self.app = App()
        self.server = HttpServer(self.app, limits, on_http2)
        self.nursery = nursery
        self.clients = []
        self.stopped = trio.Event()

    async def start(self):
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = sock.getsockname()[1]
        await self.nursery.start(self._serve, sock)
        return self

    async def _serve(self, sock, *, task_status):
        try:
            await self.server.serve([sock], task_status=task_status)
        finally:
            self.stopped.set()

    async def connect(self):
        self.clients.append(Client(await trio.open_tcp_stream("127.0.0.1", self.port)))
        return self.clients[-1]

    async def asked(self, count=1):
        """Wait until so many requests are there to be answered."""
        await until(lambda: len(self.app.requests) >= count, f"{count} requests")
        return self.app.replies[-1]

    def close(self):
        for client in self.clients:
            client.stream.socket.close()


@pytest.fixture
async def make(nursery):
    made = []

    async def start(limits=None, on_http2=None):
        made.append(await Rig(nursery, limits, on_http2).start())
        return made[-1]

    yield start
    for rig in made:
        rig.close()


@pytest.fixture
async def rig(make):
    return await make()


def post(body=b"{}", *lines, path=b"/mcp", version=b"HTTP/1.1"):
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"POST " + path + b" " + version, b"Host: h", length, *lines, b"", body])


def get(*lines, path=b"/", method=b"GET", version=b"HTTP/1.1"):
    return b"\r\n".join([method + b" " + path + b" " + version, b"Host: h", *lines, b"", b""])


CHUNKED = get(b"Transfer-Encoding: chunked", path=b"/chunked", method=b"POST")


def bodies(data):
    """The numbers in the bodies of many answers."""
    return [int(number) for number in re.findall(rb"<(\d+)>", data)]


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


# ---------------------------------------------------------------- requests and answers


async def test_a_request_arrives_as_it_was_sent(rig):
    client = await rig.connect()
    head, body = await client.ask(post(b"hello", b"X-A: 1", path=b"/a%20b?c=d?e"))
    assert (head.status, body) == (200, b"hello")
    assert head.headers.get("content-type") == "text/plain"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", head.headers.get("date"))
    (request,) = rig.app.requests
    assert (request.method, request.path, request.query) == ("POST", "/a%20b", "c=d?e")
    assert (request.headers.get("x-a"), request.body) == ("1", b"hello")
    assert (request.peer, request.local) == ("127.0.0.1", ("127.0.0.1", rig.port))
    assert "hello" not in repr(request)
    assert "c=d" not in repr(request)


async def test_a_connection_is_kept(rig):
    client = await rig.connect()
    for number in range(20):
        _, body = await client.ask(post(b"%d" % number))
        assert body == b"%d" % number
    assert rig.server.connections == 1


async def test_it_does_not_matter_how_a_request_is_cut(rig):
    client = await rig.connect()
    for data in (post(b"hello"), CHUNKED + b"2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n"):
        await client.send(*bytewise(data))
        assert (await client.response())[1] == b"hello"


async def test_a_big_body_comes_and_goes(rig):
    client = await rig.connect()
    body = random.Random(1).randbytes(5 * MIB)
    rig.nursery.start_soon(client.send, post(body))
    assert (await client.response())[1] == body
    rig.nursery.start_soon(client.send, CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert (await client.response())[1] == body


async def test_an_answer_comes_in_one_piece(rig):
    """One system call, one packet: a second one would wait for the first one's ACK with other clients."""
    client = await rig.connect()
    for body in (b"", b"x", b"x" * 10_000):
        await client.send(post(body))
        await wait_all_tasks_blocked()
        data = await client.stream.receive_some(65536)
        assert data.endswith(b"\r\n\r\n" + body)


async def test_pipelined_requests_are_handled_one_after_another(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(post(b"1") + post(b"2", path=b"/two") + get(path=b"/three"))
    for number in (1, 2, 3):
        reply = await rig.asked(number)
        await wait_all_tasks_blocked()
        assert len(rig.app.requests) == number
        reply.send(200, (), b"%d" % number)
        assert (await client.response())[1] == b"%d" % number
    assert [request.path for request in rig.app.requests] == ["/mcp", "/two", "/three"]


async def test_thousands_of_pipelined_requests_are_answered_in_order(rig):
    client = await rig.connect()
    requests = [post(b"<%d>" % number) for number in range(3000)]
    rig.nursery.start_soon(client.send, b"".join(requests) + get(b"Connection: close"))
    assert bodies(await client.rest()) == list(range(3000))


async def test_not_more_is_read_ahead_than_bound(rig):
    rig.app.wait()
    client = await rig.connect()
    sent = trio.Event()

    async def send():
        await client.send(*[post(bytes(MIB))] * 40, get(b"Connection: close"))
        sent.set()

    rig.nursery.start_soon(send)
    reply = await rig.asked()
    for _ in range(20):
        await wait_all_tasks_blocked(0.005)
    (connection,) = rig.server._connections
    assert MOST_PIPELINED < connection._reader.buffered < 3 * MIB
    assert not sent.is_set()
    rig.app.how = lambda request, reply: reply.send(200, (), b"<%d>" % len(request.body))
    reply.send(200, (), b"<1>")
    assert bodies(await client.rest()) == [1, *[MIB] * 39, 0]


async def test_a_stream_of_chunks(rig):
    def stream(request, reply):
        reply.start(200, TEXT)
        for piece in (b"one", b"", b"two"):
            reply.write(piece)
        reply.end()

    rig.app.how = stream
    client = await rig.connect()
    for _ in range(2):
        head, body = await client.ask(get())
        assert (head.headers.get("transfer-encoding"), body) == ("chunked", b"onetwo")


async def test_what_is_written_goes_at_once(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get())
    reply = await rig.asked()
    reply.start(200, ())
    assert (await client.stream.receive_some()).endswith(b"\r\n\r\n")
    reply.write(b"data: x\n\n")
    assert await client.stream.receive_some() == b"9\r\ndata: x\n\n\r\n"
    reply.end()
    assert await client.stream.receive_some() == b"0\r\n\r\n"


def streamed(request, reply):
    reply.start(200, ())
    reply.write(b"body")
    reply.end()


V0 = {"version": b"HTTP/1.0"}


@pytest.mark.parametrize("how", [lambda request, reply: reply.send(200, (), b"body"), streamed])
@pytest.mark.parametrize(
    ("data", "connection", "body"),
    [
        (get(**V0), "close", b"body"),
        (get(b"Connection: close"), "close", b"body"),
        (get(b"Connection: close", method=b"HEAD"), "close", b""),
    ],
)
async def test_a_connection_is_closed_where_the_client_wants_it(rig, how, data, connection, body):
    rig.app.how = how
    client = await rig.connect()
    await client.send(data)
    head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert body in rest
    assert (b"chunked" in head) == (how is streamed and b"/1.1" in data)
    assert not rest or body


async def test_http_1_0_may_keep_the_connection_for_answers_with_a_length(rig):
    client = await rig.connect()
    for _ in range(2):
        head, body = await client.ask(post(b"a", b"Connection: keep-alive", **V0))
        assert (head.headers.get("connection"), body) == ("keep-alive", b"a")
    rig.app.how = streamed
    await client.send(post(b"a", b"Connection: keep-alive", **V0))
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert body == b"body"


@pytest.mark.parametrize("how", [lambda request, reply: reply.send(200, (), b"body"), streamed])
async def test_answers_to_head_have_no_body(rig, how):
    client = await rig.connect()
    rig.app.how = how
    await client.send(get(method=b"HEAD"))
    assert (await client.stream.receive_some()).endswith(b"\r\n\r\n")
    rig.app.how = lambda request, reply: reply.send(204, ())
    await client.send(get())
    assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 204 No Content\r\n")


async def test_an_answer_is_given_once_and_in_order(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get())
    reply = await rig.asked()
    for early in (lambda: reply.write(b""), reply.end):
        with pytest.raises(RuntimeError, match="fresh"):
            early()
    for bad in (reply.send, reply.start):
        with pytest.raises(ValueError, match="'X'"):
            bad(200, (("X", "a\r\nb: c"),))
    reply.start(200, ())
    with pytest.raises(RuntimeError, match="started"):
        reply.send(200, ())
    reply.end()
    with pytest.raises(RuntimeError, match="done"):
        reply.end()
    assert (await client.response())[1] == b""


# ---------------------------------------------------------------- what is not let in


async def test_a_body_is_asked_for_once_the_request_was_admitted(rig):
    client = await rig.connect()
    data = post(b"hello", b"Expect: 100-continue")
    await client.send(data[:-5])
    assert await client.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert rig.app.admitted == ["/mcp"]
    assert not rig.app.requests
    await client.send(data[-5:])
    assert (await client.response())[1] == b"hello"
    await client.send(data)  # it did not wait
    assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 200")


def refuse(request):
    return Answer(401, (("WWW-Authenticate", "Bearer"),), b"no")


async def test_a_refused_body_is_not_asked_for(rig):
    rig.app.refusal = refuse
    client = await rig.connect()
    await client.send(post(b"hello", b"Expect: 100-continue")[:-5])
    assert (await client.rest()).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("length", [0, 2, MOST_DRAINED])
async def test_a_refused_request_with_a_short_body_keeps_the_connection(rig, length):
    rig.app.refusal = refuse
    client = await rig.connect()
    data = post(bytes(length))
    await client.send(data[: len(data) - length])
    head, body = await client.response()
    assert (head.status, head.headers.get("www-authenticate"), body) == (401, "Bearer", b"no")
    await client.send(bytes(length))
    rig.app.refusal = None
    assert (await client.ask(post(b"hello")))[1] == b"hello"
    assert len(rig.app.requests) == 1


@pytest.mark.parametrize("data", [post(bytes(MOST_DRAINED + 1)), CHUNKED + b"1\r\nx\r\n"])
async def test_a_refused_request_with_another_body_closes_it(rig, data):
    rig.app.refusal = refuse
    client = await rig.connect()
    head, _ = await client.ask(data)
    assert (head.status, head.headers.get("connection")) == (401, "close")
    assert await client.ended()
    assert not rig.app.requests


async def test_a_body_of_65_mib_is_refused_unread(rig):
    client = await rig.connect()
    head, _ = await client.ask(get(b"Content-Length: %d" % (65 * MIB), method=b"POST"))
    assert (head.status, head.headers.get("connection")) == (413, "close")
    assert not rig.app.admitted


async def test_the_answer_arrives_while_the_client_still_sends(rig):
    """Closing at once would reset the connection, and the client might never see why."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{rig.port}") as client:
        refused = await client.post("/", content=bytes(65 * MIB))
        assert refused.status_code == 413
        assert refused.text == "mcpctl: the body is longer than 67108864 bytes\n"


async def test_chunks_that_are_too_much_are_refused_when_they_are(make):
    rig = await make(Limits(body=MIB))
    client = await rig.connect()

    async def send():
        await client.send(CHUNKED)
        for _ in range(65):
            await client.send(b"10000\r\n" + bytes(65536) + b"\r\n")

    rig.nursery.start_soon(send)
    head, _ = await client.response()
    assert (head.status, head.headers.get("connection")) == (413, "close")
    assert rig.app.admitted == ["/chunked"]
    assert not rig.app.requests


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01"),
        (400, b"GET / HTTP/1.1\n\n"),
        (400, get().replace(b"Host: h\r\n", b"")),
        (400, post(b"x", b"Transfer-Encoding: chunked")),
        (400, CHUNKED + b"zz\r\n"),
        (414, get(path=b"/" + b"a" * 9000)),
        (431, get(b"A: " + b"a" * 70_000)),
        (501, get(method=b"BREW")),
        (505, get(version=b"HTTP/3.0")),
        (505, PREFACE),
    ],
)
async def test_what_is_not_understood_is_answered_and_ends_it(rig, status, data):
    client = await rig.connect()
    head, body = await client.ask(data + get())
    assert (head.status, head.headers.get("connection")) == (status, "close")
    assert body.startswith(b"mcpctl: ")
    assert await client.ended()
    assert not rig.app.requests


# ---------------------------------------------------------------- clients that leave


@pytest.mark.parametrize("leave", [lambda client: client.stream.socket.close(), Client.reset])
@pytest.mark.parametrize("started", [False, True])
async def test_a_handler_hears_that_its_client_has_left(rig, leave, started):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get(path=b"/left"))
    reply = await rig.asked()
    if started:
        reply.start(200, ())
        await client.stream.receive_some()
    leave(client)
    await until(lambda: rig.app.gone, "the handler hears")
    assert reply.gone
    if not started:
        reply.start(200, ())
    reply.write(b"x")
    reply.end()
    reply.send(200, ())
    with trio.fail_after(5):
        await reply.wait_room()
    assert not reply.full
    await until(lambda: not rig.server.connections, "the connection ends")
    assert rig.app.gone == ["/left"]


async def test_a_client_that_left_with_requests_waiting_is_noticed(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get(path=b"/left") + get() + get()[:9])
    await rig.asked()
    client.stream.socket.close()
    await until(lambda: rig.app.gone, "the handler hears")
    assert len(rig.app.requests) == 1


@pytest.mark.parametrize("kept", [b"", bytes(9 * MIB)])
async def test_what_is_written_to_a_client_that_has_just_left_is_dropped(rig, kept):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get(path=b"/left"))
    reply = await rig.asked()
    reply.start(200, ())
    reply.write(kept)
    client.reset()
    reply.write(b"x")  # before the reader could see it
    assert not rig.app.gone
    await until(lambda: not rig.server.connections, "the connection ends")
    assert rig.app.gone == ["/left"]


async def test_the_last_answer_to_a_client_that_has_just_left_is_dropped(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get(b"Connection: close"))
    reply = await rig.asked()
    client.reset()
    reply.send(200, (), b"x")
    await until(lambda: not rig.server.connections, "the connection ends")
    assert not rig.app.gone  # it was answered


async def test_a_handler_that_was_answered_for_hears_nothing(rig):
    client = await rig.connect()
    await client.ask(get())
    client.stream.socket.close()
    await until(lambda: not rig.server.connections, "the connection ends")
    assert not rig.app.gone


async def test_a_client_that_only_closed_its_side_gets_what_was_answered(rig):
    client = await rig.connect()
    body = random.Random(2).randbytes(8 * MIB)
    rig.app.how = lambda request, reply: reply.send(200, (), body)
    await client.send(get())
    await client.stream.send_eof()
    await wait_all_tasks_blocked(0.01)
    assert (await client.rest()).endswith(body)


@pytest.mark.parametrize("data", [b"", get()[:7], post(b"hello")[:-1], CHUNKED + b"1\r\n"])
async def test_a_request_that_is_cut_off_is_forgotten(rig, data):
    client = await rig.connect()
    await client.send(data)
    await client.stream.send_eof()
    assert await client.ended()
    assert not rig.app.requests


# ---------------------------------------------------------------- clients that are slow


async def test_a_producer_waits_for_a_client_that_does_not_read(make):
    rig = await make(Limits(room=100_000))
    piece = bytes(50_000)
    kept = []

    async def produce(reply):
        reply.start(200, ())
        for _ in range(400):
            if reply.full:
                await reply.wait_room()
            reply.write(piece)
            kept.append(next(iter(rig.server._connections))._outbox.size)
        reply.end()

    rig.app.how = lambda request, reply: rig.nursery.start_soon(produce, reply)
    client = await rig.connect()
    await client.send(get())
    await rig.asked()
    for _ in range(5):
        await wait_all_tasks_blocked(0.005)
    assert len(kept) < 400
    assert rig.app.replies[0].full
    assert len((await client.response())[1]) == 400 * len(piece)
    assert max(kept) <= 200_000
    assert not rig.app.replies[0].full


async def test_a_client_that_takes_nothing_for_a_minute_is_given_up(make, mock_clock):
    rig = await make()
    rig.app.how = lambda request, reply: reply.start(200, ()) or reply.write(bytes(20 * MIB))
    client = await rig.connect()
    await client.send(get(path=b"/slow"))
    await until_blocked(lambda: rig.app.requests)
    (reply,) = rig.app.replies
    mock_clock.jump(50)
    for _ in range(100):  # some of it: patience begins anew
        await client.stream.receive_some(65536)
    await wait_all_tasks_blocked(0.01)
    mock_clock.jump(50)
    await wait_all_tasks_blocked(0.01)
    assert not reply.gone
    mock_clock.jump(20)
    await until_blocked(lambda: rig.app.gone == ["/slow"])
    await until_blocked(lambda: not rig.server.connections)


async def until_blocked(condition):
    """Wait where trio's clock stands still."""
    for _ in range(200):
        if condition():
            return
        await wait_all_tasks_blocked(0.005)
    raise AssertionError("it did not come to pass")


SLOW = {
    "silent": ([], [74, 2], []),
    "silent after a request": ([post()], [74, 2], [b"200"]),
    "head": ([get()[:20]], [9, 2], [b"408"]),
    "head by and by": ([get()[:5], get()[5:9], get()[9:20]], [4, 4, 3], [b"408"]),
    "head after a request": ([post() + get()[:9]], [9, 2], [b"200", b"408"]),
    "body": ([post(bytes(100))[:-1]], [29, 2], [b"408"]),
    "body, byte by byte": ([post(bytes(100))[:-50], b"x", b"x", b"x"], [10, 10, 8, 3], [b"408"]),
    "body in chunks": ([CHUNKED + b"1\r\n"], [29, 2], [b"408"]),
}


@pytest.mark.parametrize(("pieces", "waits", "status"), SLOW.values(), ids=SLOW)
async def test_a_slow_client_is_not_waited_for(rig, mock_clock, pieces, waits, status):
    client = await rig.connect()
    await until_blocked(lambda: rig.server.connections)
    for number, wait in enumerate(waits):
        assert rig.server.connections == 1
        await client.send(*pieces[number : number + 1])
        await wait_all_tasks_blocked(0.01)
        mock_clock.jump(wait)
        await wait_all_tasks_blocked(0.01)
    assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == status
    client.stream.socket.close()
    await until_blocked(lambda: not rig.server.connections)


async def test_a_body_that_makes_progress_may_take_long(rig, mock_clock):
    client = await rig.connect()
    await client.send(post(bytes(80_000))[:-80_000])
    for _ in range(10):
        await wait_all_tasks_blocked(0.01)
        mock_clock.jump(25)
        await client.send(bytes(8_000))
    assert len((await client.response())[1]) == 80_000


async def test_heads_that_overlap_have_their_time_each(rig, mock_clock):
    client = await rig.connect()
    whole = get()
    await client.send(whole[:9])
    for _ in range(5):
        await wait_all_tasks_blocked(0.01)
        mock_clock.jump(8)
        await client.send(whole[9:] + whole[:9])
        assert (await client.response())[0].status == 200


async def test_an_answer_may_take_hours(rig, mock_clock):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get())
    await until_blocked(lambda: rig.app.requests)
    mock_clock.jump(7200)
    await wait_all_tasks_blocked(0.01)
    rig.app.replies[0].send(200, (), b"at last")
    assert (await client.response())[1] == b"at last"


async def test_a_client_that_does_not_close_is_not_waited_for(rig, mock_clock):
    client = await rig.connect()
    await client.send(get(b"Connection: close"))
    await client.rest()
    await client.send(b"and on it goes")
    await wait_all_tasks_blocked(0.01)
    assert rig.server.connections == 1
    mock_clock.jump(4)
    await until_blocked(lambda: not rig.server.connections)


# ---------------------------------------------------------------- many


@pytest.mark.slow
async def test_a_thousand_idle_connections_are_no_burden(make):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    rig = await make()
    for _ in range(1000):
        await rig.connect()
    await until(lambda: rig.server.connections == 1000, "all are accepted")
    tasks = trio.lowlevel.current_statistics().tasks_living
    assert tasks < 1000 + 20
    assert (await rig.clients[500].ask(post(b"hello")))[1] == b"hello"
    late = await rig.connect()
    assert (await late.ask(post(b"late")))[1] == b"late"
    rig.server.drain()
    with trio.fail_after(10):
        await rig.stopped.wait()


async def test_connections_above_the_limit_are_turned_away(make):
    rig = await make(Limits(connections=2))
    for _ in range(2):
        assert (await (await rig.connect()).ask(post(b"in")))[1] == b"in"
    late = await rig.connect()
    head, body = await late.ask(post(b"late"))
    assert (head.status, head.headers.get("retry-after")) == (503, "1")
    assert b"too many connections" in body
    assert await late.ended()
    rig.clients[0].stream.socket.close()
    late.stream.socket.close()
    await until(lambda: rig.server.connections == 1, "there is room again")
    assert (await (await rig.connect()).ask(post(b"in")))[1] == b"in"


async def test_connections_far_above_the_limit_are_closed_without_a_word(make):
    rig = await make(Limits(connections=0))
    for _ in range(64):
        await rig.connect()
    await until(lambda: rig.server.connections == 64, "they are told")
    assert await (await rig.connect()).ended()


# ---------------------------------------------------------------- the end


async def test_draining_lets_answers_finish(rig):
    idle, busy, streaming, partial = [await rig.connect() for _ in range(4)]
    assert (await idle.ask(get()))[0].status == 200
    rig.app.wait()
    await streaming.send(get())
    streamed_reply = await rig.asked(2)
    streamed_reply.start(200, ())
    await busy.send(get())
    reply = await rig.asked(3)
    await partial.send(get()[:9])
    await wait_all_tasks_blocked(0.01)
    rig.server.drain()
    assert await idle.ended()
    with pytest.raises(OSError, match="failed"):
        await rig.connect()
    reply.send(200, (), b"last")
    head, body = await busy.response()
    assert (head.headers.get("connection"), body) == ("close", b"last")
    assert await busy.ended()
    streamed_reply.end()
    assert (await streaming.response())[1] == b""
    assert await streaming.ended()
    rig.app.how = lambda request, reply: reply.send(200, (), b"too")
    head, body = await partial.ask(get()[9:])
    assert (head.headers.get("connection"), body) == ("close", b"too")
    rig.close()
    with trio.fail_after(5):
        await rig.stopped.wait()


async def test_draining_ends_a_refused_request_with_its_body(rig):
    rig.app.refusal = refuse
    client = await rig.connect()
    await client.send(post(b"hello")[:-1])
    assert (await client.response())[0].status == 401
    rig.server.drain()
    await client.send(b"o")
    assert await client.ended()


async def test_draining_leaves_requests_that_wait_unanswered(rig):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get())
    reply = await rig.asked()
    await client.send(get() * 3)
    await wait_all_tasks_blocked(0.01)
    rig.server.drain()
    reply.send(200, (), b"last")
    head, body = await client.response()
    assert (head.headers.get("connection"), body) == ("close", b"last")
    assert await client.ended()
    assert len(rig.app.requests) == 1


async def test_a_server_without_connections_is_drained_at_once(rig):
    rig.server.drain()
    with trio.fail_after(5):
        await rig.stopped.wait()


async def test_a_cancelled_server_leaves_nothing():
    gc.collect()
    before = open_fds()
    async with trio.open_nursery() as nursery:
        rig = await Rig(nursery).start()
        rig.app.how = lambda request, reply: reply.start(200, ()) or reply.write(bytes(9 * MIB))
        clients = [await rig.connect() for _ in range(5)]
        for client, data in zip(clients, (b"", get(), get()[:9], post()[:-1], b"\0"), strict=True):
            await client.send(data)
        await rig.asked()
        nursery.cancel_scope.cancel()
    rig.close()
    assert rig.app.gone == ["/"]
    assert rig.server.connections == 0
    assert open_fds() == before


# ---------------------------------------------------------------- bugs of others


async def test_a_bug_ends_its_connection_and_no_other(rig, caplog):
    def fail(request, reply=None):
        raise KeyError("bug")

    def fail_late(request, reply):
        reply.start(200, ())
        fail(request)

    def fail_last(request, reply):
        reply.send(200, (), b"done")
        fail(request)

    bystander = await rig.connect()
    for how in (fail, fail_late):
        rig.app.how = how
        client = await rig.connect()
        await client.send(get())
        found = await client.rest()
        assert found.startswith(b"HTTP/1.1 500" if how is fail else b"HTTP/1.1 200")
        assert not found.endswith(b"0\r\n\r\n")
    rig.app.how = fail_last
    for _ in range(2):
        assert (await bystander.ask(get()))[1] == b"done"
    rig.app.refusal = fail
    assert (await (await rig.connect()).ask(get()))[0].status == 500
    rig.app.refusal = lambda request: Answer(401, (("X", "\n"),))
    assert (await bystander.ask(get()))[0].status == 500
    assert len(caplog.records) == 6
    assert not rig.app.gone


async def test_a_bug_in_hearing_that_a_client_left_is_logged(rig, caplog):
    rig.app.wait()
    client = await rig.connect()
    await client.send(get())
    reply = await rig.asked()
    reply.on_gone = lambda: {}["bug"]
    client.stream.socket.close()
    await until(lambda: not rig.server.connections, "the connection ends")
    assert [record.name for record in caplog.records] == ["mcpctld.http.server"]


# ---------------------------------------------------------------- HTTP/2, other sockets, other clients


async def test_http_2_is_handed_over(make, caplog):
    got = []

    async def serve(stream, data):
        while len(data) < len(PREFACE) + 6:
            data += await stream.receive_some()
        got.append(data)
        await stream.send_all(b"settings")
        if len(got) == 2:
            raise OSError("a bug")

    rig = await make(on_http2=serve)
    for cut in (len(PREFACE) + 6, 3):
        client = await rig.connect()
        whole = PREFACE + b"SM\r\n\r\n"
        await client.send(whole[:cut])
        await wait_all_tasks_blocked()
        await client.send(whole[cut:])
        assert await client.rest() == b"settings"
    assert got == [whole, whole]
    assert len(caplog.records) == 1
    assert not rig.app.requests


async def test_one_connection_can_be_served_by_itself(nursery):
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in socket.socketpair()
    )
    app = App()
    nursery.start_soon(serve_connection, theirs, app)
    client = Client(ours)
    assert (await client.ask(post(b"hello")))[1] == b"hello"
    assert (app.requests[0].peer, app.requests[0].local) == ("", ("",))
    assert (await client.ask(post(b"", b"Connection: close")))[0].status == 200
    assert await client.ended()
    await ours.aclose()


async def test_one_connection_has_its_time_limits(nursery, mock_clock):
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in socket.socketpair()
    )
    nursery.start_soon(functools.partial(serve_connection, theirs, App(), Limits(head_s=3)))
    async with ours:
        await ours.send_all(b"GET")
        await wait_all_tasks_blocked(0.01)
        mock_clock.jump(4)
        assert (await Client(ours).response())[0].status == 408


async def test_a_client_that_is_gone_before_it_is_looked_at(nursery):
    sock = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(sock.getsockname())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    accepted, _ = sock.accept()
    client.close()
    sock.close()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
    with trio.fail_after(5):
        await serve_connection(stream, App())
    assert stream.socket.fileno() == -1


async def test_httpx_gets_what_it_asks_for(rig, caplog):
    caplog.set_level(logging.WARNING)

    async def pieces():
        for number in range(100):
            yield b"%d," % number

    expected = b"".join([piece async for piece in pieces()])
    base = f"http://127.0.0.1:{rig.port}"
    async with httpx.AsyncClient(base_url=base) as client:

        async def ask(number):
            answer = await client.post(f"/{number}", content=b"%d" % number)
            assert (answer.status_code, answer.content) == (200, b"%d" % number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert (await client.post("/", content=pieces())).content == expected
        rig.app.how = streamed
        async with client.stream("GET", "/") as answer:
            assert [piece async for piece in answer.aiter_bytes()] == [b"body"]
        assert (await client.head("/")).content == b""


PARTS = [
    get(), post(), post(b"x" * 300), CHUNKED, b"1\r\nx\r\n", b"0\r\n\r\n", b"\r\n", b"\r", b"\n", b"\0", b"x",
    PREFACE, b"GET / HTTP/1.1\r\nHost: h\r\n", b"Content-Length: 3\r\n", get(method=b"HEAD"), get(**V0),
    get(b"Connection: close"),
]  # fmt: skip


async def speak(data, step):
    """All that one connection answers to `data`, sent in pieces."""
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in socket.socketpair()
    )
    answered = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, App())
        for at in range(0, len(data), step):
            try:
                await ours.send_all(data[at : at + step])
            except trio.BrokenResourceError:
                break
            await trio.lowlevel.checkpoint()
        await ours.send_eof()
        with trio.fail_after(5):
            while more := await ours.receive_some():
                answered += more
        await ours.aclose()
    return re.sub(rb"Date: [^\r]*\r\n", b"", answered)


async def test_any_bytes_are_answered_the_same_whole_and_in_pieces(caplog):
    choose = random.Random(4)
    for _ in range(25):
        data = b"".join(choose.choices(PARTS, k=choose.randrange(1, 8)))
        whole = await speak(data, len(data))
        assert await speak(data, 1) == whole
        assert not whole or whole.startswith(b"HTTP/1.1 ")
    assert not caplog.records
