"""`mcpctld.drivers.carriers.udp` on real sockets."""

import errno
import socket

import pytest
import trio

from mcpctld.drivers.carriers import udp
from mcpctld.drivers.carriers.udp import BATCH, UdpCarrier, open_udp
from mcpctld.errors import Unreachable


@pytest.fixture
def far():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


async def carried(nursery, far) -> tuple[UdpCarrier, trio.MemoryReceiveChannel, tuple]:
    """A carrier that runs, what comes over it, and where it is."""
    carrier = await open_udp("localhost", far.getsockname()[1])
    send, receive = trio.open_memory_channel[list[bytes]](100)
    nursery.start_soon(carrier.run, send.send_nowait)
    carrier.send([b"hello"])
    data, address = far.recvfrom(100)
    assert data == b"hello"
    return carrier, receive, address


async def test_there_and_back(nursery, far):
    _, receive, address = await carried(nursery, far)
    for number in range(BATCH + 1):
        far.sendto(b"%d" % number, address)
    came = []
    with trio.fail_after(10):
        while len(came) <= BATCH:
            came += await receive.receive()
    assert came == [b"%d" % number for number in range(BATCH + 1)]
    nursery.cancel_scope.cancel()


async def test_nobody_listens_there_for_a_while(nursery, far):
    carrier, receive, address = await carried(nursery, far)
    port = far.getsockname()[1]
    far.close()
    for _ in range(3):
        carrier.send([b"into the void"])
        await trio.sleep(0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
        again.sendto(b"back", address)
        with trio.fail_after(10):
            assert await receive.receive() == [b"back"]
    nursery.cancel_scope.cancel()


class Broken:
    """A socket whose network has gone."""

    def __init__(self, error: int) -> None:
        self.error = error

    def send(self, data: bytes) -> None:
        raise OSError(self.error, "the network is gone")

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        pass


async def test_a_network_that_has_gone_is_the_end(monkeypatch):
    async def sleep(carrier, deliver) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(UdpCarrier, "_receive", sleep)
    carrier = UdpCarrier(Broken(errno.ENETUNREACH))
    carrier.send([b"x", b"y"])
    assert carrier.lost == 2
    with pytest.raises(Unreachable, match="the network is gone"):
        await carrier.run(lambda came: None)


async def test_what_is_too_long_is_lost_alone(nursery, far):
    carrier, _, _ = await carried(nursery, far)
    carrier.send([b"x" * 65600, b"after"])
    assert far.recv(100) == b"after"
    assert carrier.lost == 1
    nursery.cancel_scope.cancel()


async def test_where_it_cannot_go(monkeypatch):
    with pytest.raises(Unreachable, match=r"cannot look up nowhere\.invalid"):
        await open_udp("nowhere.invalid", 1)

    def refuse(sock, address):
        sock.close()
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(udp, "_connect", refuse)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 by UDP: Network is unreachable"):
        await open_udp("127.0.0.1", 1)
