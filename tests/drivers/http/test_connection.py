"""`mcpctld.drivers.http.connection`, `request` and `witness`: one connection, whatever comes on it."""

import gzip
import math
import socket
import tracemalloc
import zlib

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from harness import until
from mcpctld.drivers.http.connection import Connection, Opened
from mcpctld.drivers.http.request import Exchange, Origin, Request
from mcpctld.drivers.http.witness import Witness
from mcpctld.errors import PeerError, Unreachable
from mcpctld.protocols import http1
from peers import Peer, Told, post, response

ORIGIN = Origin("http", "h", 8080)
GET = Request("GET", "/mcp", (), repeatable=True)


class Rig:
    """A connection between a test that asks and a test that answers."""

    def __init__(self, nursery, ours, theirs):
        self.peer = Peer(theirs, 0)
        self.stream = ours
        self.idle = []
        self.lost = []
        self.ended = trio.Event()
        self.connection = Connection(
            nursery, ORIGIN, Opened(ours), on_idle=self.idle.append, on_lost=self._lose
        )
        self.exchange = None

    def _lose(self, exchange, error, harmless):
        self.lost.append((error, harmless))
        exchange.fail(error)

    async def run(self):
        await self.connection.run()
        self.ended.set()

    def ask(self, request=None):
        request = request or post()
        told = Told()
        head = http1.encode_head(request.method, request.target, request.headers)
        self.exchange = Exchange(request, head, told, 30)
        self.connection.start(self.exchange, head)
        return told

    async def exchange_one(self, *headers):
        """One request, answered."""
        told = self.ask()
        await self.peer.request()
        await self.peer.answer(b"first", *headers)
        assert await told.answer() == b"first"

    async def wait_ended(self):
        with trio.fail_after(5):
            await self.ended.wait()


@pytest.fixture
async def rig(nursery):
    made = Rig(nursery, *memory_stream_pair())
    nursery.start_soon(made.run)
    return made


async def tcp_pair():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream(*listener.socket.getsockname())
        return ours, await listener.accept()


@pytest.fixture
async def tcp_rig(nursery):
    made = Rig(nursery, *await tcp_pair())
    nursery.start_soon(made.run)
    yield made
    made.connection.close()
    made.peer.close()


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


# ---------------------------------------------------------------- requests


async def test_a_request_arrives_as_it_was_meant(rig):
    rig.ask(Request("POST", "/mcp?x", (("Host", "h:8080"), ("A", "b")), b"body"))
    head, body = await rig.peer.request()
    assert head == "POST /mcp?x HTTP/1.1\r\nHost: h:8080\r\nA: b\r\nContent-Length: 4"
    assert body == b"body"


async def test_an_empty_body_has_a_length_and_no_body_has_none(rig):
    rig.ask(post(b""))
    assert (await rig.peer.request())[0].endswith("Content-Length: 0")
    await rig.peer.answer()
    await wait_all_tasks_blocked()
    rig.ask(GET)
    assert await rig.peer.request() == ("GET /mcp HTTP/1.1", b"")


# ---------------------------------------------------------------- answers

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
KEPT = {
    "by length": (post(), response(b"hello"), [200, "data", "end"], b"hello"),
    "empty": (post(), response(), [200, "end"], b""),
    "chunked": (
        post(),
        CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        [200, "data", "end"],
        b"hello",
    ),
    "204": (post(), b"HTTP/1.1 204 No Content\r\n\r\n", [204, "end"], b""),
    "refused": (post(), response(b"no", status="404 Not Found"), [404, "data", "end"], b"no"),
    "after interim ones": (
        post(),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
        + response(b"hello"),
        [200, "data", "end"],
        b"hello",
    ),
    "gzip": (
        post(),
        response(gzip.compress(b"hello"), "Content-Encoding: gzip"),
        [200, "data", "end"],
        b"hello",
    ),
    "deflate": (
        post(),
        response(zlib.compress(b"hello"), "Content-Encoding: deflate"),
        [200, "data", "end"],
        b"hello",
    ),
    "gzip of nothing": (post(), response(b"", "Content-Encoding: gzip"), [200, "end"], b""),
}
CLOSED = {
    "close": (post(), response(b"hello", "Connection: close"), [200, "data", "end"], b"hello"),
    "1.0": (post(), b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", [200, "data", "end"], b"x"),
    "to HEAD": (
        Request("HEAD", "/", ()),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        [200, "end"],
        b"",
    ),
    "more than was asked for": (
        post(),
        response(b"hello") + b"HTTP/1.1 200 injected",
        [200, "data", "end"],
        b"hello",
    ),
}


async def send(peer, data, cut):
    for piece in bytewise(data) if cut else [data]:
        await peer.send(piece)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("request_", "data", "events", "body"), KEPT.values(), ids=KEPT)
async def test_an_answer_is_told_and_the_connection_kept(rig, request_, data, events, body, cut):
    for turn in range(3):
        told = rig.ask(request_)
        await rig.peer.request()
        await send(rig.peer, data, cut)
        await told.wait()
        assert (told.events, told.body, told.error) == (events, body, None)
        assert rig.idle == [rig.connection] * (turn + 1)
        assert rig.connection.is_usable()
    assert not rig.lost


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("request_", "data", "events", "body"), CLOSED.values(), ids=CLOSED)
async def test_an_answer_is_told_and_the_connection_closed(rig, request_, data, events, body, cut):
    told = rig.ask(request_)
    await rig.peer.request()
    try:
        await send(rig.peer, data, cut)
    except trio.BrokenResourceError:
        pass  # closed before all of what was not asked for was sent
    await told.wait()
    assert (told.events, told.body, told.error) == (events, body, None)
    await rig.wait_ended()
    assert not rig.connection.is_usable()
    assert not rig.lost


async def test_a_body_without_a_length_ends_with_the_connection(rig):
    told = rig.ask()
    await rig.peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    await wait_all_tasks_blocked()
    assert (told.events, told.body) == ([200, "data"], b"all of it")
    await rig.peer.stream.aclose()
    assert await told.answer() == b"all of it"
    await rig.wait_ended()
    assert not rig.idle


async def test_the_connection_is_offered_before_the_end_is_told(rig):
    """So that what is asked next from within `on_end` can use it."""
    told = rig.ask()
    told.on_end = lambda: told.events.append(list(rig.idle))
    await rig.peer.request()
    await rig.peer.answer()
    await wait_all_tasks_blocked()
    assert told.events == [200, [rig.connection]]


@pytest.mark.parametrize("taken_after_s", [0.2, None])
async def test_an_answer_before_all_of_the_request_was_sent(nursery, autojump_clock, taken_after_s):
    """A server that refuses a large body may read the rest of it, or close: it is given a moment."""
    ours, theirs = memory_stream_pair()

    async def late():
        await trio.sleep(math.inf if taken_after_s is None else taken_after_s)

    ours.send_stream.send_all_hook = late
    rig = Rig(nursery, ours, theirs)
    nursery.start_soon(rig.run)
    told = rig.ask(post(bytes(100_000)))
    await rig.peer.answer(b"too large", status="413 Content Too Large")
    assert await told.answer() == b"too large"
    assert not rig.idle
    if taken_after_s is None:
        await rig.wait_ended()
        assert not rig.idle
    else:
        await trio.sleep(3 * taken_after_s)
        assert rig.idle == [rig.connection]
        assert rig.connection.is_usable()


async def test_an_answer_that_closes_is_not_waited_with_for_the_rest_of_the_request(
    nursery, autojump_clock
):
    ours, theirs = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    rig = Rig(nursery, ours, theirs)
    nursery.start_soon(rig.run)
    told = rig.ask(post(bytes(100_000)))
    began = trio.current_time()
    await rig.peer.answer(b"", "Connection: close", status="413 Content Too Large")
    await told.answer()
    await rig.wait_ended()
    assert trio.current_time() == began


# ---------------------------------------------------------------- what goes wrong

BROKEN = {
    "no HTTP": (
        b"SSH-2.0-OpenSSH_9\r\n",
        PeerError,
        "cannot read the answer of http://h:8080: not an HTTP",
    ),
    "another transfer coding": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        PeerError,
        "transfer coding",
    ),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        PeerError,
        "switches protocols",
    ),
    "an endless head": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, PeerError, "longer than"),
    "a bad chunk": (CHUNKED + b"zz\r\n", PeerError, "cannot read the answer"),
    "an unknown coding": (
        response(b"x", "Content-Encoding: br"),
        PeerError,
        "'br' is not supported",
    ),
    "corrupt": (response(b"x" * 30, "Content-Encoding: gzip"), PeerError, "corrupt"),
    "cut short": (
        response(gzip.compress(b"hello")[:-3], "Content-Encoding: gzip"),
        PeerError,
        "the gzip body is cut short",
    ),
}


@pytest.mark.parametrize(("data", "error", "text"), BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_cannot_be_read_is_a_failure_and_never_asked_for_again(
    rig, data, error, text
):
    told = rig.ask(GET)
    await rig.peer.send(data)
    await told.wait()
    assert told.events[-1] == "failure"
    assert isinstance(told.error, error)
    assert text in str(told.error)
    assert not any(harmless for _, harmless in rig.lost)


async def test_a_coding_that_cannot_be_read_costs_the_connection(rig):
    told = rig.ask()
    await rig.peer.answer(b"x" * 30, "Content-Encoding: gzip")
    await told.wait()
    await rig.wait_ended()
    assert not rig.idle


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1", CHUNKED, CHUNKED + b"2\r\nhe\r\n", response(b"hello")[:-1]]
)
async def test_an_answer_that_breaks_off_is_a_failure(rig, data):
    await rig.exchange_one()
    told = rig.ask(GET)
    await rig.peer.send(data)
    await rig.peer.stream.aclose()
    await told.wait()
    assert told.events[-1] == "failure"
    assert rig.lost == [(told.error, False)]
    assert isinstance(told.error, Unreachable)
    assert str(told.error) == "http://h:8080 closed the connection in the middle of its answer"
    await rig.wait_ended()


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("repeatable", [False, True])
async def test_no_answer_may_be_asked_for_again_where_that_does_no_harm(rig, repeatable, used):
    if used:
        await rig.exchange_one()
    told = rig.ask(post(repeatable=repeatable))
    await rig.peer.stream.aclose()
    await told.wait()
    assert rig.lost == [(told.error, repeatable and used)]
    assert isinstance(told.error, Unreachable)
    assert "closed the connection without an answer" in str(told.error)
    assert ("may have been carried out, so it was not sent again" in str(told.error)) == (
        not repeatable
    )


@pytest.mark.parametrize("data", [b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"x", b""])
async def test_an_idle_connection_on_which_something_comes_is_closed(rig, data):
    await rig.exchange_one()
    await (rig.peer.send(data) if data else rig.peer.stream.aclose())
    await rig.wait_ended()
    assert not rig.connection.is_usable()
    assert not rig.lost


async def test_a_cancelled_exchange_hears_nothing_and_costs_the_connection(rig):
    told = rig.ask()
    await rig.peer.send(response(b"hello")[:-1])
    await wait_all_tasks_blocked()
    rig.exchange.cancel()
    assert not rig.connection.is_usable()
    await rig.wait_ended()
    assert told.events == [200, "data"]
    assert not rig.lost
    rig.exchange.cancel()  # again: nothing happens


async def test_an_exchange_may_be_cancelled_from_within_its_own_handler(rig):
    told = rig.ask()
    told.on_head = lambda head: rig.exchange.cancel()
    await rig.peer.answer(b"hello")
    await rig.wait_ended()
    assert told.events == []
    assert not rig.idle


async def test_cancelling_after_the_end_does_not_touch_the_connection(rig):
    await rig.exchange_one()
    rig.exchange.cancel()
    await wait_all_tasks_blocked()
    assert rig.connection.is_usable()


async def test_a_bug_in_a_handler_ends_the_connection_and_fails_the_exchange():
    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            rig = Rig(nursery, *memory_stream_pair())
            nursery.start_soon(rig.run)
            told = rig.ask()
            told.on_head = lambda head: 1 // 0
            await rig.peer.answer(b"hello")
            await trio.sleep_forever()
    assert told.events == ["failure"]
    assert rig.lost == [(told.error, False)]


async def test_an_exchange_fails_when_everything_is_cancelled():
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery, *memory_stream_pair())
        nursery.start_soon(rig.run)
        told = rig.ask(GET)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told.events == ["failure"]
    assert rig.lost == [(told.error, False)]
    assert "given up" in str(told.error)


# ---------------------------------------------------------------- back-pressure


async def test_a_handler_that_is_full_stops_the_reading(tcp_rig):
    rig = tcp_rig
    told = rig.ask()
    told.full = True
    await rig.peer.request()
    sent = 0
    with trio.move_on_after(5) as scope:
        await rig.peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await told.began.wait()
        with trio.move_on_after(0.2):  # as long as it takes to fill the buffers of the kernel
            while True:
                await rig.peer.send(bytes(65536))
                sent += 65536
    assert not scope.cancelled_caught
    assert len(told.body) < sent < 50_000_000
    assert told.waited == 1
    told.full = False
    told.room.set()
    await rig.peer.stream.aclose()
    assert len(await told.answer()) >= sent


async def test_a_connection_that_waits_for_room_can_be_cancelled(rig):
    told = rig.ask()
    told.full = True
    await rig.peer.send(response(b"hello")[:-1])
    await wait_all_tasks_blocked()
    assert told.waited == 1
    rig.exchange.cancel()
    await rig.wait_ended()


async def test_a_bomb_is_handed_on_in_pieces_with_room_waited_for_between_them(rig):
    bomb = gzip.compress(bytes(200_000_000))
    told = rig.ask()
    told.full = True
    tracemalloc.start()
    try:
        await rig.peer.send(response(bomb, "Content-Encoding: gzip"))
        del bomb
        await wait_all_tasks_blocked()
        assert 0 < len(told.body) < 1_000_000
        assert told.waited == 1
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    rig.exchange.cancel()
    await rig.wait_ended()


async def test_a_handler_that_has_had_enough_of_a_bomb_gets_no_more(rig):
    told = rig.ask()
    pieces = []

    def take(data):
        pieces.append(len(data))
        if sum(pieces) > 1_000_000:
            rig.exchange.cancel()

    told.on_data = take
    await rig.peer.send(response(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip"))
    await rig.wait_ended()
    assert sum(pieces) < 1_500_000


# ---------------------------------------------------------------- how long it may be used


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 90),
        (["Keep-Alive: max=100"], 90),
        (["Keep-Alive: timeout=65"], 64),
        (["Keep-Alive: timeout=5, max=100"], 4),
        (["Keep-Alive: timeout=2"], 1),
        (["Keep-Alive: timeout=1"], 0.5),
        (["Keep-Alive: timeout=0"], 0),
    ],
)
async def test_a_connection_is_used_for_a_little_less_than_the_server_says(
    rig, autojump_clock, headers, seconds
):
    await rig.exchange_one(*headers)
    assert rig.connection.expires() == trio.current_time() + seconds
    if seconds:
        await trio.sleep(seconds - 0.1)
        assert rig.connection.is_usable()
        await trio.sleep(0.1)
    assert not rig.connection.is_usable()


async def test_each_answer_counts_anew(rig, autojump_clock):
    await rig.exchange_one("Keep-Alive: timeout=5")
    await trio.sleep(3)
    await rig.exchange_one()
    assert rig.connection.expires() == trio.current_time() + 90


# ---------------------------------------------------------------- what the kernel knows


async def test_a_connection_that_the_server_has_just_closed_is_not_usable(tcp_rig):
    await tcp_rig.exchange_one()
    assert tcp_rig.connection.is_usable()
    tcp_rig.peer.close()
    assert not tcp_rig.connection.closed  # the reader has not got to it yet
    assert not tcp_rig.connection.is_usable()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_that_met_a_closed_door_may_be_sent_again_whatever_it_is(tcp_rig, how):
    await tcp_rig.exchange_one()
    getattr(tcp_rig.peer, how)()
    told = tcp_rig.ask()
    await told.wait()
    assert tcp_rig.lost == [(told.error, True)]
    assert "not sent again" not in str(told.error)
    assert told.error.unprocessed


async def test_nor_did_a_server_see_anything_that_closed_a_fresh_connection_unread(tcp_rig):
    tcp_rig.peer.close()
    told = tcp_rig.ask()
    await told.wait()
    assert told.error.unprocessed
    assert tcp_rig.lost == [(told.error, False)]  # a server that does so once does so again


async def test_what_may_have_arrived_in_an_earlier_attempt_may_have_been_worked_on(tcp_rig):
    await tcp_rig.exchange_one()
    tcp_rig.peer.close()
    told = Told()
    head = http1.encode_head("POST", "/", ())
    exchange = Exchange(post(), head, told, 30)
    exchange.arrived = True
    tcp_rig.connection.start(exchange, head)
    await told.wait()
    assert not told.error.unprocessed


async def test_a_large_request_that_met_a_closed_door_may_be_sent_again(tcp_rig):
    await tcp_rig.exchange_one()
    tcp_rig.peer.close()
    told = tcp_rig.ask(post(bytes(5_000_000)))
    await told.wait()
    assert tcp_rig.lost == [(told.error, True)]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_that_was_read_is_not_sent_again(tcp_rig, how):
    """Even if nothing was acknowledged: the kernel takes its time with that, and a reset cuts it short."""
    await tcp_rig.exchange_one()
    told = tcp_rig.ask()
    await tcp_rig.peer.request()
    getattr(tcp_rig.peer, how)()
    await told.wait()
    assert tcp_rig.lost == [(told.error, False)]
    assert "may have been carried out, so it was not sent again" in str(told.error)
    assert not told.error.unprocessed
    assert tcp_rig.exchange.arrived


async def test_a_witness_counts_what_the_peer_acknowledged_and_sees_what_came():
    ours, theirs = await tcp_pair()
    witness = Witness(ours)
    before = witness.acked()
    assert not witness.has_news()
    await ours.send_all(b"12345")
    await until(lambda: witness.acked() == before + 5, "the kernel acknowledged")
    await theirs.send_all(b"x")
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(ours.socket)
    assert witness.has_news()
    await ours.aclose()
    assert witness.acked() is None
    await theirs.aclose()


async def test_a_witness_without_a_socket_knows_nothing():
    ours, _ = memory_stream_pair()
    assert Witness(ours).acked() is None
    assert not Witness(ours).has_news()
    left, right = socket.socketpair()
    with right:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(left)) as stream:
            assert Witness(stream).acked() is None  # a Unix socket


# ---------------------------------------------------------------- origins


@pytest.mark.parametrize(
    ("origin", "text", "authority"),
    [
        (Origin("http", "h", 80), "http://h", "h"),
        (Origin("http", "h", 443), "http://h:443", "h:443"),
        (Origin("https", "h", 443), "https://h", "h"),
        (Origin("https", "::1", 8443), "https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_an_origin_is_shown_as_in_a_url(origin, text, authority):
    assert str(origin) == text
    assert origin.authority == authority


def test_nothing_secret_is_shown():
    request = Request("POST", "/", (("Authorization", "hush"),), b"hush")
    assert "hush" not in repr(request)
    assert "hush" not in repr(Opened(None, proxy_authorization="hush"))
    assert "hush" not in repr(Exchange(request, b"hush", None, 1))
