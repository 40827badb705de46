"""`mcpctld.tunnels.direct`: plain TCP, and what it says when there is none."""

import socket

import pytest
import trio

from leaks import open_fds
from mcpctld.errors import NotFound, Unreachable
from mcpctld.tunnels import direct


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, and fails for others as it is told."""

    def __init__(self, errno=socket.EAI_NONAME, addresses=()):
        self.errno = errno
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if not self.addresses:
            raise socket.gaierror(self.errno, socket.gaierror(self.errno).strerror or "said why")
        return [(family_, type, proto, "", (address, port)) for family_, address in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def listen(host):
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    return listener, listener.socket.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_a_connection_is_made_and_probed_by_the_kernel_when_silent(host):
    listener, port = await listen("::1" if host == "::1" else "127.0.0.1")
    async with listener, await direct.open_stream(host, port) as stream:
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        async with await listener.accept() as other:
            await other.send_all(b"x")
            assert await stream.receive_some() == b"x"


async def test_the_next_address_of_a_name_is_tried():
    listener, port = await listen("127.0.0.1")
    trio.socket.set_custom_hostname_resolver(
        Resolver(addresses=[(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")])
    )
    async with listener, await direct.open_stream("name.example", port):
        pass


async def test_nobody_there_may_get_better():
    listener, port = await listen("127.0.0.1")
    await listener.aclose()
    before = open_fds()
    with pytest.raises(
        Unreachable, match=rf"cannot connect to 127.0.0.1:{port}: Connection refused; is it running"
    ):
        await direct.open_stream("127.0.0.1", port)
    assert open_fds() == before


async def test_several_refusals_are_told_once():
    listener, port = await listen("127.0.0.1")
    await listener.aclose()
    trio.socket.set_custom_hostname_resolver(
        Resolver(addresses=[(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")])
    )
    with pytest.raises(Unreachable, match=r":\d+: Connection refused; is"):
        await direct.open_stream("name.example", port)


async def test_a_name_that_does_not_exist_will_not_get_better():
    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(NotFound, match=r"no such host: name\.example .*check the URL"):
        await direct.open_stream("name.example", 80)


async def test_a_name_server_that_is_out_of_reach_may_get_better():
    trio.socket.set_custom_hostname_resolver(Resolver(socket.EAI_AGAIN))
    with pytest.raises(Unreachable, match=r"cannot look up name\.example: .*is the network up"):
        await direct.open_stream("name.example", 80)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_what_cannot_be_a_name_is_told(host):
    with pytest.raises(NotFound, match="no such host"):
        await direct.open_stream(host, 80)


@pytest.mark.parametrize("host", ["time.localhost", "a.flycast.localhost", "TIME.LocalHost."])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_names_below_localhost_are_this_machine_and_nobody_is_asked(host, address):
    trio.socket.set_custom_hostname_resolver(Resolver(socket.EAI_AGAIN))
    listener, port = await listen(address)
    async with listener, await direct.open_stream(host, port) as stream:
        assert stream.socket.getpeername()[0] == address


async def test_nobody_there_on_this_machine_is_told():
    listener, port = await listen("127.0.0.1")
    await listener.aclose()
    with pytest.raises(Unreachable, match=rf"cannot connect to time.localhost:{port}: .*refused"):
        await direct.open_stream("time.localhost", port)


async def test_names_that_only_look_like_it_are_asked_for():
    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(NotFound):
        await direct.open_stream("notlocalhost", 80)
