"""`mcpctld.tunnels.proxy`: the way the environment says, for those it is meant for."""

import base64
import functools
import re

import pytest
import trio

from leaks import open_fds
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.request import Origin
from mcpctld.errors import Denied, PeerError, Unreachable, UserError
from mcpctld.tunnels import direct, proxy
from mcpctld.tunnels.origin import open_origin
from mcpctld.tunnels.proxy import Proxy
from peers import Server, Told, echo, post

HTTP = Origin("http", "mcp.example", 80)
HTTPS = Origin("https", "mcp.example", 8443)


# ---------------------------------------------------------------- which one


@pytest.mark.parametrize(
    ("environment", "origin", "found"),
    [
        ({}, HTTPS, None),
        ({"HTTPS_PROXY": ""}, HTTPS, None),
        ({"HTTPS_PROXY": "http://p:3128"}, HTTPS, Proxy("http", "p", 3128)),
        ({"HTTPS_PROXY": "http://p:3128"}, HTTP, None),
        ({"https_proxy": "http://p:3128/"}, HTTPS, Proxy("http", "p", 3128)),
        ({"HTTPS_PROXY": "http://p"}, HTTPS, Proxy("http", "p", 80)),
        ({"HTTPS_PROXY": "https://p"}, HTTPS, Proxy("https", "p", 443)),
        ({"HTTPS_PROXY": "p:3128"}, HTTPS, Proxy("http", "p", 3128)),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, HTTPS, Proxy("http", "::1", 3128)),
        ({"HTTP_PROXY": "http://p:3128"}, HTTP, Proxy("http", "p", 3128)),
        ({"ALL_PROXY": "http://a:1"}, HTTP, Proxy("http", "a", 1)),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://p:2"}, HTTPS, Proxy("http", "p", 2)),
        # this machine
        ({"ALL_PROXY": "http://a:1"}, Origin("http", "localhost", 80), None),
        ({"ALL_PROXY": "http://a:1"}, Origin("http", "x.localhost", 80), None),
        ({"ALL_PROXY": "http://a:1"}, Origin("http", "127.1.2.3", 80), None),
        ({"ALL_PROXY": "http://a:1"}, Origin("http", "::1", 80), None),
        (
            {"ALL_PROXY": "http://a:1"},
            Origin("http", "127.example.com", 80),
            Proxy("http", "a", 1),
        ),
    ],
)
def test_the_environment_names_the_proxy(monkeypatch, environment, origin, found):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy.for_origin(origin) == found


@pytest.mark.parametrize(
    ("no_proxy", "host", "excepted"),
    [
        ("*", "mcp.example", True),
        ("", "mcp.example", False),
        ("mcp.example", "mcp.example", True),
        ("other, mcp.example ,", "mcp.example", True),
        ("MCP.Example", "mcp.example", True),
        ("example", "mcp.example", True),
        (".example", "mcp.example", True),
        ("*.example", "mcp.example", True),
        (".mcp.example", "mcp.example", True),
        ("p.example", "mcp.example", False),
        ("example.mcp", "mcp.example", False),
        ("mcp.example:8443", "mcp.example", True),
        ("mcp.example:443", "mcp.example", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8443", "10.1.2.3", True),
        ("10.1.2.3:1", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("11.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/x", "10.1.2.3", False),
        ("10.0.0.0/8", "mcp.example", False),
        ("1.2.3", "10.1.2.3", False),
        ("fdaa::/16", "fdaa:0:1::3", True),
        ("fdaa:0:1::3", "fdaa:0:1::3", True),
        ("fdaa:0:1:0::3", "fdaa:0:1::3", True),
        ("[fdaa:0:1::3]", "fdaa:0:1::3", True),
        ("[fdaa:0:1::3]:8443", "fdaa:0:1::3", True),
        ("[fdaa:0:1::3]:1", "fdaa:0:1::3", False),
        ("fdaa:0:1::4", "fdaa:0:1::3", False),
        (".", "mcp.example", False),
    ],
)
def test_no_proxy_excepts_names_suffixes_ports_addresses_and_networks(
    monkeypatch, no_proxy, host, excepted
):
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy.for_origin(Origin("https", host, 8443)) is None) == excepted


def test_credentials_are_decoded_and_never_shown(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://us%40er:p%3Ass@p:3128")
    found = proxy.for_origin(HTTPS)
    assert found.authorization == "Basic " + base64.b64encode(b"us@er:p:ss").decode()
    assert found.authorization not in repr(found)
    assert str(found) == "the proxy p:3128"
    monkeypatch.setenv("HTTPS_PROXY", "http://user@p:3128")
    assert proxy.for_origin(HTTPS).authorization == "Basic " + base64.b64encode(b"user:").decode()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "socks5://u:hush@p:1080",
            "cannot use a socks5 proxy: HTTPS_PROXY or ALL_PROXY must begin",
        ),
        ("http://u:hush@:3128", "name a host"),
        ("http://u:hush@p:x", "its port is not a number"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(monkeypatch, url, text):
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(UserError, match=text) as caught:
        proxy.for_origin(HTTPS)
    assert "hush" not in str(caught.value)


# ---------------------------------------------------------------- CONNECT


class ProxyServer(Server):
    """Relays what it is asked to CONNECT to; `seen` are the heads it got."""

    def __init__(self, target=None, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
        super().__init__(self._relay)
        self.target = target
        self.answer = answer
        self.seen = []

    async def _relay(self, peer):
        head, _ = await peer.request()
        self.seen.append(head)
        await peer.send(self.answer)
        if self.target is not None:
            other = await trio.open_tcp_stream(self.target.host, self.target.port)
            async with other, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, peer.stream, other, nursery.cancel_scope)
                nursery.start_soon(_copy, other, peer.stream, nursery.cancel_scope)


async def _copy(source, sink, scope):
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


@pytest.fixture
async def proxied(nursery, monkeypatch):
    """Starts a proxy and puts it into the environment."""

    async def start(server, credentials=""):
        await nursery.start(server.run)
        monkeypatch.setenv("ALL_PROXY", f"http://{credentials}127.0.0.1:{server.origin.port}")
        return server

    return start


async def fetch(nursery, origin, context, body=b"x"):
    client = HttpClient(nursery, functools.partial(open_origin, context=context), lambda: 10)
    told = Told()
    client.submit(origin, post(body), told, patience_s=1)
    return await told.answer()


async def test_https_goes_through_a_tunnel(nursery, proxied, serve_tls, trusting):
    target, _ = await serve_tls("mcp.example")
    server = await proxied(ProxyServer(target))
    body = bytes(500_000)
    assert await fetch(nursery, HTTPS, trusting, body) == body
    assert server.seen == ["CONNECT mcp.example:8443 HTTP/1.1\r\nHost: mcp.example:8443"]


async def test_a_tunnel_to_an_ipv6_address(nursery, proxied, serve_tls, trusting):
    target, _ = await serve_tls("fdaa::3")
    server = await proxied(ProxyServer(target), "user:pass@")
    assert await fetch(nursery, Origin("https", "fdaa::3", 443), trusting) == b"x"
    assert server.seen == [
        "CONNECT [fdaa::3]:443 HTTP/1.1\r\nHost: [fdaa::3]:443\r\n"
        "Proxy-Authorization: Basic dXNlcjpwYXNz"
    ]


async def test_the_certificate_is_that_of_the_server_not_of_the_proxy(
    nursery, proxied, serve_tls, trusting
):
    target, _ = await serve_tls("127.0.0.1")
    await proxied(ProxyServer(target))
    with pytest.raises(PeerError, match=r"not valid for 'mcp\.example'"):
        await open_origin(HTTPS, trusting)


async def test_plain_http_is_asked_of_the_proxy_with_the_whole_url(nursery, proxied):
    async def answer(peer):
        head, _ = await peer.request()
        server.seen.append(head)
        await peer.answer(b"from the proxy")

    server = ProxyServer()
    server.script = answer
    await proxied(server, "user:pass@")
    assert await fetch(nursery, HTTP, None) == b"from the proxy"
    (head,) = server.seen
    assert head.startswith("POST http://mcp.example/mcp HTTP/1.1\r\nHost: mcp.example\r\n")
    assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head


async def test_a_proxy_may_itself_speak_tls(nursery, serve_tls, trusting, monkeypatch):
    seen = []

    async def relay(peer):
        head, _ = await peer.request()
        seen.append(head)
        await peer.send(b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n")
        async with (
            await trio.open_tcp_stream(target.host, target.port) as other,
            trio.open_nursery() as inner,
        ):
            inner.start_soon(_copy, peer.stream, other, inner.cancel_scope)
            inner.start_soon(_copy, other, peer.stream, inner.cancel_scope)

    target, _ = await serve_tls("mcp.example")
    through, _ = await serve_tls("127.0.0.1", script=relay)
    monkeypatch.setenv("HTTPS_PROXY", str(through))
    assert await fetch(nursery, HTTPS, trusting) == b"x"
    assert seen[0].startswith("CONNECT mcp.example:8443")


async def test_this_machine_is_reached_without_the_proxy(nursery, proxied):
    server = await proxied(ProxyServer())
    direct_ = Server(echo)
    await nursery.start(direct_.run)
    assert await fetch(nursery, direct_.origin, None) == b"x"
    assert server.seen == []


ANSWERS = {
    "wants credentials": (b"HTTP/1.1 407 Who\r\n\r\n", Denied, "wants credentials: put them into"),
    "forbids": (b"HTTP/1.1 403 No\r\n\r\n", Denied, r"answered 403 to CONNECT mcp\.example:8443"),
    "cannot": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Unreachable, "answered 502 to CONNECT"),
    "is silent and goes": (b"", Unreachable, "hung up during CONNECT"),
    "breaks off": (b"HTTP/1.1 200 OK\r\n", Unreachable, "hung up during CONNECT"),
    "speaks something else": (b"SSH-2.0-x\r\n\r\n", PeerError, "something that is not HTTP"),
    "never ends its head": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, PeerError, "not HTTP"),
    "has an odd status": (b"HTTP/1.1 abc\r\n\r\n", PeerError, "not HTTP"),
    "says too much": (b"HTTP/1.1 200 OK\r\n\r\nhello", PeerError, "sent something behind"),
}


@pytest.mark.parametrize(("answer", "error", "text"), ANSWERS.values(), ids=ANSWERS)
async def test_a_proxy_that(proxied, trusting, answer, error, text):
    server = await proxied(ProxyServer(answer=answer), "user:hush@")
    before = open_fds()
    with trio.fail_after(5), pytest.raises(error, match=text) as caught:
        await open_origin(HTTPS, trusting)
    assert re.search(r"the proxy 127\.0\.0\.1:\d+ ", str(caught.value))
    assert "hush" not in str(caught.value)
    with trio.fail_after(5):
        while open_fds() - before:
            await trio.testing.wait_all_tasks_blocked()
    assert len(server.seen) == 1


async def test_a_proxy_that_resets_is_out_of_reach(proxied, trusting):
    async def reset(peer):
        await peer.stream.receive_some(1)
        peer.reset()

    server = ProxyServer()
    server.script = reset
    await proxied(server)
    with pytest.raises(Unreachable, match="hung up during CONNECT"):
        await open_origin(HTTPS, trusting)


@pytest.mark.parametrize("origin", [HTTP, HTTPS])
async def test_a_proxy_that_is_not_there_is_told_to_be_the_proxy(monkeypatch, origin):
    async def refuse(host, port):
        raise Unreachable(f"cannot connect to {host}:{port}: Connection refused")

    monkeypatch.setattr(direct, "open_stream", refuse)
    monkeypatch.setenv("ALL_PROXY", "http://p:3128")
    with pytest.raises(Unreachable, match=r"cannot reach the proxy .* cannot connect to p:3128"):
        await open_origin(origin)


async def test_a_connect_that_is_cancelled_closes_the_stream(proxied, trusting):
    async def hang(peer):
        await trio.sleep_forever()

    server = ProxyServer()
    server.script = hang
    await proxied(server)
    before = open_fds()
    with trio.move_on_after(0.05) as scope:
        await open_origin(HTTPS, trusting)
    assert scope.cancelled_caught
    assert len(open_fds() - before) <= 1  # the server's end
