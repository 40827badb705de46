"""After a change of network: which connections are closed, cut, probed and made ahead of need."""

import socket

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mcpctld.drivers.http.client import URGENCY_S, HttpClient
from mcpctld.drivers.http.pool import AHEAD_BOUND_S, Opened, PoolStatistics
from mcpctld.drivers.http.request import Origin, Request
from mcpctld.drivers.keepalive import STEADY, URGENT
from mcpctld.errors import NotFound, Unreachable
from peers import Ended, Peer, Server, Told, connect, post

FAR = Origin("http", "far.example", 80)
NEAR = Origin("http", "127.0.0.1", 80)
STREAM = Request("GET", "/", (), repeatable=True, lasting=True, renewable=True)
SOLE_STREAM = Request("GET", "/", (), repeatable=True, lasting=True)
"""One whose owner would lose by its end."""


class Net:
    """A network whose servers echo what is posted, and never end an answer to GET; tests name `autojump_clock`."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.client = HttpClient(nursery, self.connect, lambda: 10)
        self.attempts = []
        self.trouble = None
        self.hang = False
        self.peers = []

    async def connect(self, origin):
        self.attempts.append(trio.current_time())
        if self.hang:
            await trio.sleep_forever()
        if self.trouble is not None:
            raise self.trouble
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self.peers.append(Peer(theirs, len(self.peers)))
        self.nursery.start_soon(self.serve, self.peers[-1])
        return Opened(ours)

    async def serve(self, peer):
        try:
            while True:
                head, body = await peer.request()
                if head.startswith("GET"):
                    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
                elif body == b"slow":
                    await trio.sleep(30)
                    await peer.answer(body)
                else:
                    await peer.answer(body)
        except (Ended, trio.BrokenResourceError):
            pass

    def ask(self, request=None, origin=FAR, told=None):
        told = told or Told()
        self.client.submit(origin, request or post(b"x"), told, patience_s=30)
        return told

    async def listen(self, request=STREAM, origin=FAR):
        told = self.ask(request, origin)
        await wait_all_tasks_blocked()
        assert told.body == b"first"
        return told

    def statistics(self, origin=FAR):
        return self.client.pool(origin).statistics()


@pytest.fixture
async def net(nursery):
    return Net(nursery)


async def test_an_idle_connection_is_replaced_before_it_is_needed(net, autojump_clock):
    await net.ask().answer()
    net.client.renew("the network has changed")
    await wait_all_tasks_blocked()
    assert net.statistics() == PoolStatistics(open=1, idle=1, waiting=0)
    assert len(net.peers) == 2
    await net.ask().answer()
    assert len(net.peers) == 2
    with pytest.raises(Ended):
        await net.peers[0].request()


async def test_many_idle_connections_are_replaced_by_one(net, autojump_clock):
    for told in [net.ask() for _ in range(8)]:
        await told.answer()
    net.client.renew("x")
    await wait_all_tasks_blocked()
    assert net.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


async def test_where_nothing_was_open_nothing_is_opened(net, autojump_clock):
    net.client.pool(FAR)
    net.client.renew("x")
    await wait_all_tasks_blocked()
    assert net.attempts == []


async def test_what_stays_on_this_machine_is_not_concerned(net, autojump_clock):
    stream = await net.listen(origin=NEAR)
    await net.ask(origin=NEAR).answer()
    before = net.statistics(NEAR)
    net.client.renew("x")
    await wait_all_tasks_blocked()
    assert stream.error is None
    assert net.statistics(NEAR) == before
    assert len(net.peers) == 2


async def test_a_stream_that_is_asked_for_again_is_cut_at_once(net, autojump_clock):
    stream = await net.listen()
    net.client.renew("the network has changed")
    assert isinstance(stream.error, Unreachable)
    assert "http://far.example was cut: the network has changed" in str(stream.error)
    await wait_all_tasks_blocked()
    assert net.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


async def test_its_owner_may_ask_again_from_within_and_gets_a_new_connection(net, autojump_clock):
    first, second = Told(), Told()
    first.on_failure = lambda error: net.ask(STREAM, told=second)
    net.ask(STREAM, told=first)
    await wait_all_tasks_blocked()
    net.client.renew("x")
    await wait_all_tasks_blocked()
    assert second.body == b"first"
    assert len(net.peers) == 2


async def test_requests_under_way_and_streams_that_cannot_be_had_again_are_left_to_finish(
    net, autojump_clock
):
    stream = await net.listen(SOLE_STREAM)
    call = net.ask(post(b"slow"))
    await wait_all_tasks_blocked()
    net.client.renew("x")
    await call.done.wait()
    assert call.body == b"slow"
    assert stream.error is None


async def test_a_connection_being_made_is_made_again_over_the_new_network(net, autojump_clock):
    net.hang = True
    told = net.ask()
    await wait_all_tasks_blocked()
    net.hang = False
    began = trio.current_time()
    net.client.renew("x")
    await told.answer()
    assert trio.current_time() - began < 0.2


async def test_who_waits_for_the_next_attempt_does_not_wait_any_longer(net, autojump_clock):
    net.trouble = Unreachable("no network")
    told = net.ask()
    await trio.sleep(4)  # two seconds lie between attempts by now
    net.trouble = None
    began = trio.current_time()
    net.client.renew("x")
    await told.answer()
    assert trio.current_time() == began


async def test_a_network_that_needs_a_moment_gets_it(net, autojump_clock):
    await net.ask().answer()
    net.trouble = Unreachable("no route yet")
    net.client.renew("x")
    await trio.sleep(AHEAD_BOUND_S / 2)
    net.trouble = None
    await trio.sleep(AHEAD_BOUND_S / 2)
    assert net.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


@pytest.mark.parametrize("trouble", [Unreachable("down"), NotFound("no such host")])
async def test_but_not_for_ever(net, autojump_clock, trouble):
    await net.ask().answer()
    net.trouble = trouble
    net.client.renew("x")
    await trio.sleep(3600)
    assert net.attempts[-1] - net.attempts[0] <= AHEAD_BOUND_S + 2
    assert net.statistics() == PoolStatistics(open=0, idle=0, waiting=0)
    net.trouble = None
    await net.ask().answer()


async def test_a_request_that_comes_meanwhile_takes_what_is_made_ahead(net, autojump_clock):
    await net.ask().answer()
    net.trouble = Unreachable("no route yet")
    net.client.renew("x")
    await trio.sleep(1)
    told = net.ask()
    net.trouble = None
    await told.answer()
    await wait_all_tasks_blocked()
    assert net.statistics() == PoolStatistics(open=1, idle=1, waiting=0)


async def test_whoever_pauses_is_told(net, autojump_clock, nursery):
    woken = []

    async def wait(since):
        await net.client.wait_renewed(since)
        woken.append(since)

    nursery.start_soon(wait, 0)
    nursery.start_soon(wait, 1)
    await trio.sleep(10)
    assert woken == []
    net.client.renew("x")
    await wait_all_tasks_blocked()
    assert woken == [0]
    with trio.fail_after(1):
        await net.client.wait_renewed(0)  # what has been is not waited for


# ---------------------------------------------------------------- over TCP


class Sockets:
    """Opens connections under a name that is not this machine's, and keeps them."""

    def __init__(self, server):
        self.server = server
        self.made = []

    async def connect(self, origin):
        opened = await connect(self.server.origin)
        self.made.append(opened.stream)
        return opened

    def idle_s(self):
        """After how much silence each is probed."""
        return [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) for s in self.made]


@pytest.mark.parametrize("request_", [post(b"x"), SOLE_STREAM], ids=["call", "stream"])
async def test_connections_under_way_are_probed_more_often_for_a_while(
    nursery, mock_clock, request_
):
    server_has_it = trio.Event()

    async def never(peer):
        await peer.request()
        server_has_it.set()
        await trio.sleep_forever()

    server = Server(never)
    await nursery.start(server.run)
    sockets = Sockets(server)
    client = HttpClient(nursery, sockets.connect, lambda: 10)
    client.submit(FAR, request_, Told(), patience_s=5)
    await server_has_it.wait()
    assert sockets.idle_s() == [STEADY.idle_s]
    client.renew("x")
    assert sockets.idle_s() == [URGENT.idle_s]
    mock_clock.jump(URGENCY_S / 2)
    client.renew("again")
    await wait_all_tasks_blocked(0.01)
    mock_clock.jump(URGENCY_S * 0.75)
    await wait_all_tasks_blocked(0.01)
    assert sockets.idle_s() == [URGENT.idle_s]
    mock_clock.jump(URGENCY_S / 2)
    await wait_all_tasks_blocked(0.01)
    assert sockets.idle_s() == [STEADY.idle_s]
