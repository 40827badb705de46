"""`mcpctld.drivers.http.pool`: who gets which connection, and what becomes of those who get none."""

import logging
import random
from collections import Counter

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from harness import until
from leaks import open_fds
from mcpctld.drivers.http.pool import Opened, Pool, PoolStatistics
from mcpctld.drivers.http.request import Origin, Request
from mcpctld.drivers.http.witness import Witness
from mcpctld.errors import InternalError, PeerError, TimedOut, Unreachable, UserError
from peers import Peer, Server, Told, connect, echo, post, response

ORIGIN = Origin("http", "h", 8080)


class Asker:
    """A pool and what was asked of it."""

    def __init__(self, nursery, origin, connect_, limit=512):
        self.pool = Pool(origin, connect_, nursery, lambda: limit)
        self.exchanges = []

    def ask(self, request=None, patience_s=30.0, told=None):
        told = told or Told()
        self.exchanges.append(self.pool.submit(request or post(), told, patience_s))
        return told

    async def until(self, **wanted):
        """Wait until the statistics are so."""
        with trio.fail_after(5):
            while any(
                getattr(self.pool.statistics(), name) != value for name, value in wanted.items()
            ):
                await trio.testing.wait_all_tasks_blocked(0.002)


@pytest.fixture
async def serve(nursery):
    """Starts a server, and a pool of connections to it."""

    async def start(script=echo, limit=512):
        server = Server(script)
        await nursery.start(server.run)
        return server, Asker(nursery, server.origin, connect, limit)

    return start


class Lab:
    """Servers behind memory streams, for virtual time: the test must name `autojump_clock`.

    `attempts` are the times at which a connection was tried.
    """

    def __init__(self, nursery):
        self.nursery = nursery
        self.attempts = []
        self.trouble = None
        self.script = echo
        self.peers = []
        self.slow = 0.0
        self.began = trio.current_time()
        self.trying = self.most_trying = 0

    def now(self):
        return round(trio.current_time() - self.began, 3)

    async def connect(self, origin):
        self.attempts.append(self.now())
        self.trying += 1
        self.most_trying = max(self.most_trying, self.trying)
        try:
            await trio.sleep(self.slow)
        finally:
            self.trying -= 1
        if self.trouble is not None:
            raise self.trouble
        ours, theirs = memory_stream_pair()
        self.peers.append(Peer(theirs, len(self.peers)))
        self.nursery.start_soon(self._serve, self.peers[-1])
        return Opened(ours)

    async def _serve(self, peer):
        try:
            await self.script(peer)
        except Exception as exc:  # the client closed
            if type(exc).__name__ not in ("Ended", "BrokenResourceError"):
                raise

    async def hold(self, peer):
        """Answer when `release` is set."""
        while True:
            await peer.request()
            await self.release.wait()
            await peer.answer()


@pytest.fixture
async def lab(nursery):
    made = Lab(nursery)
    made.release = trio.Event()
    return made


@pytest.fixture
async def asker(nursery, lab):
    return Asker(nursery, ORIGIN, lab.connect)


# ---------------------------------------------------------------- reuse


async def test_one_request_after_another_takes_one_connection(serve):
    server, asker = await serve()
    for number in range(20):
        assert await asker.ask(post(b"%d" % number)).answer() == b"%d" % number
    assert len(server.peers) == 1
    assert asker.pool.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


async def test_what_is_asked_at_the_end_of_an_answer_uses_the_same_connection(serve):
    server, asker = await serve()
    first, second = Told(), Told()
    real_end = first.on_end

    def on_end():
        real_end()
        asker.ask(post(b"second"), told=second)

    first.on_end = on_end
    asker.ask(told=first)
    assert await second.answer() == b"second"
    assert len(server.peers) == 1


async def test_64_at_once_take_64_connections_and_the_next_64_the_same(serve):
    server, asker = await serve()
    for _ in range(3):
        tolds = [asker.ask(post(b"%d" % number)) for number in range(64)]
        for number, told in enumerate(tolds):
            assert await told.answer() == b"%d" % number
    assert len(server.peers) == 64
    assert asker.pool.statistics() == PoolStatistics(open=64, idle=64, waiting=0)


async def test_the_connection_used_last_is_used_next(serve):
    async def tell(peer):
        while True:
            await peer.request()
            await peer.answer(b"%d" % peer.number)

    _, asker = await serve(tell)
    for told in [asker.ask() for _ in range(5)]:
        await told.answer()
    last = await asker.ask().answer()
    for _ in range(5):
        assert await asker.ask().answer() == last


@pytest.mark.parametrize(
    "answer",
    [
        response(b"x", "Connection: close"),
        b"HTTP/1.0 200 OK\r\n\r\nx",
        response(b"x") + b"HTTP/1.1 200 injected",
    ],
)
async def test_a_connection_that_is_over_is_not_used_again(serve, answer):
    async def once(peer):
        await peer.request()
        await peer.send(answer)

    server, asker = await serve(once)
    for count in range(1, 4):
        assert await asker.ask().answer() == b"x"
        assert len(server.peers) == count
    await asker.until(open=0, idle=0)


async def test_idle_connections_can_be_closed(serve):
    _, asker = await serve()
    for told in [asker.ask() for _ in range(3)]:
        await told.answer()
    asker.pool.close_idle()
    await asker.until(open=0, idle=0)
    await asker.ask().answer()


# ---------------------------------------------------------------- the limit


@pytest.mark.parametrize("limit", [1, 2])
async def test_beyond_the_limit_requests_wait_and_are_served_in_order(serve, limit):
    order = []
    release = trio.Event()

    async def hold(peer):
        while True:
            _, body = await peer.request()
            order.append(body)
            await release.wait()
            await peer.answer(body)

    server, asker = await serve(hold, limit=limit)
    tolds = [asker.ask(post(b"%d" % number)) for number in range(9)]
    await asker.until(open=limit, waiting=9 - limit)
    release.set()
    for told in tolds:
        await told.answer()
    assert len(server.peers) == limit
    assert sorted(order) == [b"%d" % number for number in range(9)]
    assert limit > 1 or order == sorted(order)  # the connections have no order among them


async def test_answers_that_last_do_not_count(serve):
    async def mixed(peer):
        head, body = await peer.request()
        if head.startswith("GET"):
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\ndata")
            await trio.sleep_forever()
        await peer.answer(body)
        await mixed(peer)

    _, asker = await serve(mixed, limit=2)
    streams = [asker.ask(Request("GET", "/", (), lasting=True)) for _ in range(5)]
    for told in streams:
        with trio.fail_after(5):
            await told.began.wait()
    for told in [asker.ask() for _ in range(4)]:
        await told.answer()
    assert asker.pool.statistics() == PoolStatistics(open=7, idle=2, waiting=0)
    asker.exchanges[0].cancel()
    await asker.until(open=6)


async def test_a_lasting_answer_that_ends_gives_an_ordinary_connection_back(serve):
    _, asker = await serve(limit=1)
    for _ in range(3):
        await asker.ask(Request("GET", "/", (), lasting=True)).answer()
        await asker.ask().answer()
    assert asker.pool.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


async def test_waiting_for_a_busy_connection_costs_no_patience(nursery, lab, autojump_clock):
    lab.script = lab.hold
    asker = Asker(nursery, ORIGIN, lab.connect, limit=1)
    first, second = asker.ask(), asker.ask(patience_s=1)
    await trio.sleep(100)
    assert not second.done.is_set()
    lab.release.set()
    await first.done.wait()
    assert await second.answer() == b""


async def test_patience_begins_when_the_busy_connection_is_lost(nursery, lab, autojump_clock):
    lab.script = lab.hold
    asker = Asker(nursery, ORIGIN, lab.connect, limit=1)
    asker.ask()
    second = asker.ask(patience_s=3)
    await trio.sleep(100)
    lab.trouble = Unreachable("gone")
    await lab.peers[0].stream.aclose()
    await second.done.wait()
    assert (type(second.error), str(second.error)) == (Unreachable, "gone")
    assert lab.now() == 103


# ---------------------------------------------------------------- giving up


async def test_a_cancelled_request_in_the_queue_is_never_sent(serve):
    seen = []
    release = trio.Event()

    async def hold(peer):
        while True:
            _, body = await peer.request()
            seen.append(body)
            await release.wait()
            await peer.answer()

    _, asker = await serve(hold, limit=1)
    tolds = [asker.ask(post(b"%d" % number)) for number in range(3)]
    await asker.until(waiting=2)
    asker.exchanges[1].cancel()
    assert asker.pool.statistics().waiting == 1
    release.set()
    await tolds[0].answer()
    await tolds[2].answer()
    assert seen == [b"0", b"2"]
    assert tolds[1].events == []


async def test_cancelling_a_request_under_way_lets_the_next_have_its_place(serve):
    async def hold(peer):
        _, body = await peer.request()
        if body == b"stuck":
            await trio.sleep_forever()
        await peer.answer(body)

    server, asker = await serve(hold, limit=1)
    stuck, next_ = asker.ask(post(b"stuck")), asker.ask(post(b"next"))
    await asker.until(open=1, waiting=1)
    asker.exchanges[0].cancel()
    assert await next_.answer() == b"next"
    assert stuck.events == []
    assert len(server.peers) == 2


async def test_a_request_that_is_cancelled_at_once_opens_nothing(
    nursery, lab, asker, autojump_clock
):
    asker.ask()
    asker.exchanges[0].cancel()
    await trio.sleep(1)
    assert lab.attempts == []
    assert asker.pool.statistics() == PoolStatistics(0, 0, 0)


async def test_a_connection_made_for_a_request_that_was_cancelled_is_kept_for_the_next(
    lab, asker, autojump_clock
):
    lab.slow = 1.0
    asker.ask()
    await trio.sleep(0.5)
    asker.exchanges[0].cancel()
    await trio.sleep(1)
    assert asker.pool.statistics() == PoolStatistics(open=1, idle=1, waiting=0)
    await asker.ask(post(b"x")).done.wait()
    assert lab.attempts == [0]


# ---------------------------------------------------------------- an origin that is not there (yet)


async def test_requests_wait_for_an_origin_that_comes_up_and_one_task_probes(
    lab, asker, autojump_clock
):
    lab.trouble = Unreachable("refused")
    tolds = [asker.ask() for _ in range(50)]
    await trio.sleep(0.05)
    burst = len(lab.attempts)
    assert burst == 50  # all at once, before anything was known
    await trio.sleep(5)
    tolds += [asker.ask() for _ in range(50)]  # these do not try for themselves
    lab.most_trying = 0
    await trio.sleep(0.05)
    lab.trouble = None
    for told in tolds:
        await told.done.wait()
        assert told.error is None
    probes = lab.attempts[burst:]
    assert probes[:6] == [0.1, 0.3, 0.7, 1.5, 3.1, 5.1]
    assert lab.now() == 5.1


async def test_probes_do_not_overlap_however_slow_they_are(lab, asker, autojump_clock):
    lab.trouble = Unreachable("refused")
    lab.slow = 3.0
    asker.ask(patience_s=60)
    await trio.sleep(3.01)
    lab.most_trying = 0
    for _ in range(40):
        asker.ask(patience_s=60)
        await trio.sleep(1)
    assert lab.most_trying == 1


async def test_each_request_fails_when_its_own_patience_ends_with_what_was_wrong(
    lab, asker, autojump_clock
):
    lab.trouble = Unreachable("cannot connect: refused")
    tolds = {patience_s: asker.ask(patience_s=patience_s) for patience_s in (5, 0.05, 1, 30)}
    for patience_s in sorted(tolds):
        await tolds[patience_s].done.wait()
        error = tolds[patience_s].error
        assert (type(error), str(error)) == (Unreachable, "cannot connect: refused")
        assert error.unprocessed
        assert error.exhausted
        assert lab.now() == patience_s
    assert not lab.trouble.unprocessed  # the pool's own, and not of one request
    assert asker.pool.statistics() == PoolStatistics(0, 0, 0)


async def test_a_request_that_may_have_arrived_is_not_called_unseen_for_want_of_another_connection(
    lab, asker, autojump_clock
):
    await asker.ask().done.wait()
    told = asker.ask(post(b"x", repeatable=True), patience_s=2)
    lab.trouble = Unreachable("gone")
    await lab.peers[0].stream.aclose()
    await told.done.wait()
    assert told.error.exhausted
    assert not told.error.unprocessed


async def test_patience_ends_even_while_an_attempt_hangs(lab, asker, autojump_clock):
    lab.slow = 15.0
    short, long = asker.ask(patience_s=2), asker.ask(patience_s=20)
    await short.done.wait()
    assert lab.now() == 2
    assert isinstance(short.error, TimedOut)
    assert str(short.error) == "cannot connect to http://h:8080: no answer within 2 s"
    await long.done.wait()
    assert long.error is None
    assert lab.now() == 15


async def test_a_new_request_is_tried_at_once_when_nobody_waited_any_more(
    lab, asker, autojump_clock
):
    lab.trouble = Unreachable("refused")
    impatient = asker.ask(patience_s=5.2)
    await impatient.done.wait()
    lab.trouble = None
    began = lab.now()
    await asker.ask().done.wait()
    assert lab.now() == began


async def test_probing_ends_when_nobody_waits(lab, asker, autojump_clock):
    lab.trouble = Unreachable("refused")
    asker.ask(patience_s=1)
    await trio.sleep(100)
    assert max(lab.attempts) < 1
    asker.ask()
    asker.exchanges[1].cancel()
    await trio.sleep(100)
    assert len([time for time in lab.attempts if time >= 100]) <= 1


@pytest.mark.parametrize("error", [PeerError("no trust"), UserError("no such proxy")])
async def test_what_will_not_get_better_fails_all_at_once(lab, asker, error, autojump_clock):
    lab.trouble = error
    tolds = [asker.ask() for _ in range(3)]
    for told in tolds:
        await told.done.wait()
        assert told.error is error
    assert lab.now() == 0
    lab.trouble = None
    await asker.ask().done.wait()


async def test_all_who_waited_get_a_connection_of_their_own_once_it_is_up(
    lab, asker, autojump_clock
):
    """A stream that lasts must not keep the others waiting."""

    async def hold_first(peer):
        while True:
            await peer.request()
            if peer.number == 0:
                await trio.sleep_forever()
            await peer.answer()

    lab.script = hold_first
    lab.trouble = Unreachable("refused")
    tolds = [asker.ask() for _ in range(3)]
    await trio.sleep(1)
    lab.trouble = None
    for told in tolds[1:]:
        await told.done.wait()
        assert told.error is None


async def test_a_refused_connection_is_tried_again_until_somebody_listens(nursery):
    """The same with real sockets."""
    with trio.socket.socket() as reserved:
        await reserved.bind(("127.0.0.1", 0))
        origin = Origin("http", "127.0.0.1", reserved.getsockname()[1])
        asker = Asker(nursery, origin, connect)
        told, hasty = asker.ask(post(b"x")), asker.ask(patience_s=0.01)
        await hasty.wait()
        assert isinstance(hasty.error, Unreachable)
        assert "Connection refused; is it running?" in str(hasty.error)
        reserved.listen(10)
        nursery.start_soon(trio.serve_listeners, _echo, [trio.SocketListener(reserved)])
        assert await told.answer() == b"x"
        nursery.cancel_scope.cancel()


async def _echo(stream):
    await echo(Peer(stream, 0))


# ---------------------------------------------------------------- connections that rested


async def test_idle_connections_expire(lab, asker, autojump_clock):
    for told in [asker.ask() for _ in range(3)]:
        await told.done.wait()
    assert asker.pool.statistics() == PoolStatistics(open=3, idle=3, waiting=0)
    await trio.sleep(89)
    assert asker.pool.statistics().idle == 3
    await trio.sleep(2)
    assert asker.pool.statistics() == PoolStatistics(0, 0, 0)


async def test_a_connection_that_came_too_late_is_not_kept_for_long(lab, asker, autojump_clock):
    lab.slow = 1.0
    first, _ = asker.ask(), asker.ask()
    await trio.sleep(0.5)
    asker.exchanges[1].cancel()
    await first.done.wait()
    await trio.sleep(4.5)
    assert asker.pool.statistics().idle == 2
    await trio.sleep(1)
    assert asker.pool.statistics().idle == 1
    await asker.ask().done.wait()
    assert len(lab.peers) == 2


async def test_each_connection_expires_in_its_own_time(lab, asker, autojump_clock):
    async def tell(peer):
        while True:
            await peer.request()
            await peer.answer(b"", f"Keep-Alive: timeout={11 * (3 - peer.number)}")

    lab.script = tell
    for told in [asker.ask() for _ in range(3)]:
        await told.done.wait()
    left = []
    for _ in range(4):
        left.append(asker.pool.statistics().open)
        await trio.sleep(10.9)
    assert left == [3, 2, 1, 0]


async def test_a_connection_past_its_time_is_not_used_even_if_it_is_still_there(
    lab, asker, monkeypatch, autojump_clock
):
    await asker.ask().done.wait()
    monkeypatch.setattr(asker.pool, "_close_expired", lambda: None)
    (connection,) = asker.pool._idle
    connection._keep_alive_s = 0
    await asker.ask().done.wait()
    assert len(lab.peers) == 2


async def test_a_connection_that_the_server_closed_while_it_rested_is_dropped(serve):
    server, asker = await serve()
    await asker.ask().answer()
    server.peers[0].close()
    await asker.until(open=0, idle=0)
    assert await asker.ask(post(b"x")).answer() == b"x"


async def test_a_connection_that_the_server_closes_just_before_we_send_is_not_used(serve):
    server, asker = await serve()
    await asker.ask().answer()
    server.peers[0].close()  # and nobody has had a turn since
    told = asker.ask(post(b"x"))
    assert await told.answer() == b"x"
    assert asker.exchanges[-1].attempts == 1


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_that_crosses_the_close_is_sent_again_whatever_it_is(
    serve, monkeypatch, how
):
    """As when the FIN arrives between our look and our write."""
    server, asker = await serve()
    await asker.ask().answer()
    monkeypatch.setattr(Witness, "has_news", lambda self: False)
    getattr(server.peers[0], how)()
    told = asker.ask(post(b"x"))
    assert await told.answer() == b"x"
    assert asker.exchanges[-1].attempts == 2
    assert len(server.peers) == 2


async def read_and_die(peer):
    """Answer once; read the next request and close."""
    if peer.number == 0:
        await peer.request()
        await peer.answer()
        await peer.request()
    else:
        await echo(peer)


async def test_a_request_that_was_read_by_a_server_that_died_fails_by_name(serve):
    _, asker = await serve(read_and_die)
    await asker.ask().answer()
    told = asker.ask()
    await told.wait()
    assert isinstance(told.error, Unreachable)
    assert "may have been carried out, so it was not sent again" in str(told.error)


async def test_a_repeatable_request_that_was_read_by_a_server_that_died_is_sent_again(serve):
    server, asker = await serve(read_and_die)
    await asker.ask().answer()
    assert await asker.ask(post(b"x", repeatable=True)).answer() == b"x"
    assert len(server.peers) == 2


async def test_a_server_that_never_answers_is_not_asked_for_ever(serve):
    async def die(peer):
        await peer.request()

    server, asker = await serve(die)
    told = asker.ask(post(repeatable=True))
    await told.wait()
    assert isinstance(told.error, Unreachable)
    assert len(server.peers) == 1


# ---------------------------------------------------------------- proxies, mistakes, bugs


async def test_behind_a_plain_proxy_the_whole_url_is_sent(nursery):
    ours, theirs = memory_stream_pair()
    opened = Opened(ours, absolute_form=True, proxy_authorization="Basic eA==")

    async def connect_(origin):
        return opened

    asker = Asker(nursery, ORIGIN, connect_)
    asker.ask(Request("GET", "/mcp?x", (("A", "b"),)))
    head, _ = await Peer(theirs, 0).request()
    assert head == (
        "GET http://h:8080/mcp?x HTTP/1.1\r\nHost: h:8080\r\nA: b\r\n"
        "Proxy-Authorization: Basic eA=="
    )


async def test_behind_a_proxy_without_credentials_none_are_sent(nursery):
    ours, theirs = memory_stream_pair()

    async def connect_(origin):
        return Opened(ours, absolute_form=True)

    Asker(nursery, ORIGIN, connect_).ask(Request("GET", "/", ()))
    head, _ = await Peer(theirs, 0).request()
    assert head == "GET http://h:8080/ HTTP/1.1\r\nHost: h:8080"


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/", (("Authorization", "hush\n"),)),
        Request("POST", "/a b", ()),
        Request("POST", "/", (("A", "\u20ac"),)),
    ],
)
async def test_a_request_that_cannot_be_sent_fails_and_shows_no_value(
    lab, asker, request_, autojump_clock
):
    told = asker.ask(request_)
    assert not told.events  # not before the caller has the exchange
    await told.done.wait()
    assert isinstance(told.error, UserError)
    assert "http://h:8080" in str(told.error)
    assert "hush" not in str(told.error)
    assert lab.attempts == []


async def test_a_bug_in_one_handler_costs_the_others_nothing(serve, caplog):
    _, asker = await serve()
    bad = Told()
    bad.on_head = lambda head: 1 // 0
    asker.ask(told=bad)
    others = [asker.ask(post(b"%d" % number)) for number in range(3)]
    await bad.wait()
    for number, told in enumerate(others):
        assert await told.answer() == b"%d" % number
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[0] is ZeroDivisionError
    assert isinstance(bad.error, Unreachable)


async def test_a_bug_in_opening_fails_those_who_wait(lab, asker, caplog, autojump_clock):
    lab.trouble = ZeroDivisionError()
    told = asker.ask()
    await told.done.wait()
    assert isinstance(told.error, InternalError)
    assert "log" in str(told.error)
    lab.trouble = None
    await asker.ask().done.wait()


# ---------------------------------------------------------------- a server that does what it likes


class Whim:
    """Answers, closes, resets and breaks off at any time, announced or not; knows what it carried out."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.carried_out = Counter()

    async def serve(self, peer):
        for _ in range(self.random.randrange(1, 6)):
            if self.random.random() < 0.1:
                await peer.stream.receive_some(self.random.randrange(1, 50))
                break  # in the middle of a request
            _, body = await peer.request()
            self.carried_out[body] += 1
            if not await self.answer(peer, body):
                break
        if self.random.random() < 0.3:
            peer.reset()

    async def answer(self, peer, body):
        match self.random.randrange(10):
            case 0:
                return False
            case 1:
                await peer.send(response(body)[: self.random.randrange(1, 60)])
                return False
            case 2:
                await peer.answer(body, "Connection: close")
                return False
            case _:
                await peer.answer(body)
                return True


@pytest.mark.parametrize("looking", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_no_request_is_carried_out_twice_and_each_ends_once(
    serve, monkeypatch, seed, looking
):
    whim = Whim(seed)
    _, asker = await serve(whim.serve, limit=20)
    if not looking:  # every close is met by a request, as if they had crossed on the way
        monkeypatch.setattr(Witness, "has_news", lambda self: False)
    served = 0
    for turn in range(30):
        bodies = [b"%d-%d-" % (turn, n) + bytes(whim.random.choice([1, 90_000])) for n in range(10)]
        tolds = [asker.ask(post(body)) for body in bodies]
        for body, told in zip(bodies, tolds, strict=True):
            await told.wait()
            assert isinstance(told.error, Unreachable | None)
            assert told.error or (told.body, whim.carried_out[body]) == (body, 1)
            served += told.error is None
    assert set(whim.carried_out.values()) == {1}
    assert served > 150
    assert looking or any(exchange.attempts > 1 for exchange in asker.exchanges)


# ---------------------------------------------------------------- nothing is left


async def test_a_thousand_requests_leave_no_task_and_no_descriptor():
    async with trio.open_nursery() as nursery:
        server = Server()
        await nursery.start(server.run)
        before = open_fds()
        async with trio.open_nursery() as inner:
            asker = Asker(inner, server.origin, connect, limit=20)
            tasks = len(inner.child_tasks)
            random_ = random.Random(7)
            for _ in range(20):
                tolds = [
                    asker.ask(post(random_.randbytes(random_.randrange(3000)))) for _ in range(50)
                ]
                for exchange in random_.sample(asker.exchanges[-50:], 5):
                    exchange.cancel()
                for told, exchange in zip(tolds, asker.exchanges[-50:], strict=True):
                    if exchange.handler is not None or told.events:
                        assert await told.answer() == exchange.request.body
            asker.pool.close_idle()
            await asker.until(open=0)
            await wait_all_tasks_blocked()
            assert len(inner.child_tasks) <= tasks + 2  # the two alarms
            inner.cancel_scope.cancel()
        await until(lambda: open_fds() == before, "the server closed its ends")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("request_", [post(), post(repeatable=True)])
async def test_when_everything_is_cancelled_each_request_fails_once(request_):
    async def hold(peer):
        while True:
            _, body = await peer.request()
            if body != b"first":
                await trio.sleep_forever()
            await peer.answer()

    before = open_fds()
    async with trio.open_nursery() as nursery:
        server = Server(hold)
        await nursery.start(server.run)
        async with trio.open_nursery() as inner:
            asker = Asker(inner, server.origin, connect, limit=2)
            for told in [asker.ask(post(b"first")) for _ in range(2)]:
                await told.answer()
            tolds = [asker.ask(request_) for _ in range(4)]
            await asker.until(open=2, idle=0, waiting=2)
            inner.cancel_scope.cancel()
        for told in tolds:
            assert told.events == ["failure"]
            assert isinstance(told.error, Unreachable)
        nursery.cancel_scope.cancel()
    assert open_fds() == before


async def test_cancelling_while_connections_are_made_leaves_nothing():
    before = open_fds()
    async with trio.open_nursery() as nursery:
        server = Server()
        await nursery.start(server.run)
        async with trio.open_nursery() as inner:
            asker = Asker(inner, server.origin, connect)
            tolds = [asker.ask() for _ in range(10)]
            await trio.lowlevel.checkpoint()
            inner.cancel_scope.cancel()
        assert all(told.done.is_set() for told in tolds)
        nursery.cancel_scope.cancel()
    assert open_fds() == before
