"""`mcpctld.tunnels.tls` and `origin`: the peer is who it should be, or there is no connection."""

import datetime as dt
import functools
import ssl

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair

from leaks import open_fds
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.request import Origin
from mcpctld.drivers.http.witness import Witness
from mcpctld.errors import PeerError, Unreachable, UserError
from mcpctld.tunnels import direct
from mcpctld.tunnels.origin import CONNECT_BOUND_S, open_origin
from mcpctld.tunnels.tls import make_context, start_tls
from peers import Server, Told, post


@pytest.fixture
async def ask(nursery, trusting):
    """Sends a request to an origin."""
    client = HttpClient(nursery, functools.partial(open_origin, context=trusting), lambda: 10)

    def submit(origin, body=b"x", **options):
        told = Told()
        client.submit(origin, post(body, **options), told, patience_s=5)
        return told

    submit.client = client
    return submit


# ---------------------------------------------------------------- good ones


async def test_requests_go_over_tls_one_after_another_on_one_connection(serve_tls, ask):
    origin, peers = await serve_tls()
    for size in (1, 100_000, 3_000_000, 0, 10):
        body = bytes(range(256)) * (size // 256 + 1)
        assert await ask(origin, body).answer() == body
    assert len(peers) == 1


async def test_many_requests_at_once_each_get_their_own_answer(serve_tls, ask):
    origin, _ = await serve_tls()
    for _ in range(3):
        tolds = [ask(origin, b"%d" % number) for number in range(40)]
        for number, told in enumerate(tolds):
            assert await told.answer() == b"%d" % number


async def test_the_name_is_asked_for_and_checked(serve_tls, ask):
    origin, _ = await serve_tls("localhost")
    assert await ask(origin._replace(host="localhost")).answer() == b"x"


async def test_a_connection_closed_while_it_rested_is_noticed(serve_tls, ask):
    origin, peers = await serve_tls()
    await ask(origin).answer()
    await trio.aclose_forcefully(peers[0].stream)
    assert await ask(origin).answer() == b"x"
    assert len(peers) == 2


async def test_a_request_that_crosses_the_close_is_sent_again(serve_tls, ask, monkeypatch):
    origin, peers = await serve_tls()
    await ask(origin).answer()
    monkeypatch.setattr(Witness, "has_news", lambda self: False)
    peers[0].stream.transport_stream.socket.close()  # and nobody has had a turn since
    assert await ask(origin).answer() == b"x"
    assert len(peers) == 2


async def test_http_1_1_is_agreed_upon(serve_tls, authority):
    origin, _ = await serve_tls()
    context = make_context()
    authority.configure_trust(context)
    opened = await open_origin(origin, context)
    assert opened.stream.selected_alpn_protocol() is None  # the server has no opinion
    assert opened.stream.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    await trio.aclose_forcefully(opened.stream)


# ---------------------------------------------------------------- bad ones


async def refused(origin, context, error, text):
    before = open_fds()
    with trio.fail_after(5), pytest.raises(error, match=text):
        await open_origin(origin, context)
    with trio.fail_after(5):
        while open_fds() - before:
            await trio.testing.wait_all_tasks_blocked()  # the server's end closes, too


async def test_a_certificate_for_another_name_is_refused(serve_tls, trusting):
    origin, _ = await serve_tls("other.example")
    await refused(origin, trusting, PeerError, r"not valid for '127\.0\.0\.1'; check the URL")
    origin = origin._replace(host="localhost")
    await refused(origin, trusting, PeerError, r"not valid for 'localhost'; check the URL")


async def test_an_expired_certificate_is_refused(serve_tls, authority, trusting):
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    certificate = authority.issue_cert(
        "127.0.0.1", not_before=past - dt.timedelta(days=2), not_after=past
    )
    origin, _ = await serve_tls(certificate=certificate)
    await refused(origin, trusting, PeerError, "certificate has expired; it must be renewed")


async def test_a_certificate_of_an_unknown_authority_is_refused(serve_tls, trusting):
    origin, _ = await serve_tls(certificate=trustme.CA().issue_cert("127.0.0.1"))
    await refused(origin, trusting, PeerError, "name it in SSL_CERT_FILE and restart")


async def test_without_a_context_the_system_decides(serve_tls):
    origin, _ = await serve_tls()
    await refused(origin, None, PeerError, "cannot trust the TLS certificate of 127")


async def test_plain_http_on_a_port_for_tls_is_told(nursery, trusting):
    async def refuse(peer):
        await peer.stream.receive_some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = Server(refuse)
    await nursery.start(server.run)
    origin = server.origin._replace(scheme="https")
    await refused(origin, trusting, PeerError, "does the URL need http:// or another port")


async def test_a_peer_that_hangs_up_in_the_handshake_may_get_better(nursery, trusting):
    async def hang_up(peer):
        await peer.stream.receive_some()

    async def reset(peer):
        await peer.stream.receive_some(1)
        peer.reset()

    for script in (hang_up, reset):
        server = Server(script)
        await nursery.start(server.run)
        origin = server.origin._replace(scheme="https")
        await refused(origin, trusting, Unreachable, "hung up during the TLS handshake")


async def test_a_handshake_that_hangs_is_given_up(autojump_clock, monkeypatch, trusting):
    ours, theirs = memory_stream_pair()

    async def silent(host, port):
        return ours

    monkeypatch.setattr(direct, "open_stream", silent)
    began = trio.current_time()
    with pytest.raises(Unreachable, match="cannot connect to https://h: no answer within 15 s"):
        await open_origin(Origin("https", "h", 443), trusting)
    assert trio.current_time() - began == CONNECT_BOUND_S
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")
    assert await theirs.receive_some()  # the hello, and then the end
    assert await theirs.receive_some() == b""


async def test_a_handshake_that_is_cancelled_closes_the_stream(trusting):
    ours, _ = memory_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await start_tls(ours, "h", trusting)
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


# ---------------------------------------------------------------- whom we trust


async def test_ssl_cert_file_names_who_is_trusted(serve_tls, authority, tmp_path, monkeypatch):
    origin, _ = await serve_tls()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    opened = await open_origin(origin, make_context())
    await trio.aclose_forcefully(opened.stream)


def test_an_ssl_cert_file_that_cannot_be_read_is_told(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    with pytest.raises(UserError, match=r"cannot read /no/such\.pem, which SSL_CERT_FILE names"):
        make_context()


def test_certificates_and_names_are_always_checked():
    context = make_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
