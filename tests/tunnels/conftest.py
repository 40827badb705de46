"""An authority of our own, and servers that speak TLS with its certificates."""

import functools
import ssl

import pytest
import trio
import trustme

from mcpctld.drivers.http.request import Origin
from peers import Peer, echo


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority):
    """A context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)


async def _play(script, peers, stream):
    peer = Peer(stream, len(peers))
    peers.append(peer)
    try:
        await script(peer)
        await stream.aclose()
    except (Exception, trio.Cancelled) as exc:
        await trio.aclose_forcefully(stream)
        if type(exc).__name__ not in ("Ended", "BrokenResourceError"):
            raise


@pytest.fixture
async def serve_tls(nursery, authority):
    """Starts a TLS server with a certificate for `names`; gives its origin and its connections."""

    async def start(*names, script=echo, certificate=None):
        certificate = certificate or authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        peers = []
        (listener,) = await nursery.start(
            functools.partial(
                trio.serve_ssl_over_tcp,
                functools.partial(_play, script, peers),
                0,
                context,
                host="127.0.0.1",
                https_compatible=True,
            )
        )
        port = listener.transport_listener.socket.getsockname()[1]
        return Origin("https", "127.0.0.1", port), peers

    return start
