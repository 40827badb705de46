"""Open a stream to an origin: choose the tunnel, go through a proxy where one is set, lay TLS over it."""

import functools
import ssl
import sys

import trio

from mcpctld.drivers.http.pool import Opened
from mcpctld.drivers.http.request import Origin
from mcpctld.errors import PeerError, TimedOut, Unreachable
from mcpctld.tunnels import direct, proxy

CONNECT_BOUND_S = 15.0
"""A handshake that takes longer is given up; the pool tries again while somebody waits."""


async def open_origin(origin: Origin) -> Opened:
    """A stream to `origin`, TLS verified. Raises `Unreachable` where trying again may help, other errors elsewhere."""
    with trio.move_on_after(CONNECT_BOUND_S):
        return await _open(origin)
    raise Unreachable(
        f"cannot connect to {origin.host}:{origin.port}: no answer within {CONNECT_BOUND_S:.0f} s"
    )


async def _open(origin: Origin) -> Opened:
    through = proxy.for_origin(origin)
    if through is None:
        stream: trio.abc.Stream = await direct.open_stream(origin.host, origin.port)
    elif origin.scheme == "http":
        stream = await direct.open_stream(through.host, through.port)
        return Opened(stream, absolute_form=True, proxy_authorization=through.authorization)
    else:
        stream = await proxy.open_stream(through, origin.host, origin.port)
    if origin.scheme == "https":
        stream = await start_tls(stream, origin.host)
    return Opened(stream)


async def start_tls(stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
    """TLS over `stream`, with the peer's certificate checked for `host`. Closes `stream` on failure."""
    tls = trio.SSLStream(
        stream, await trio.to_thread.run_sync(_context), server_hostname=host, https_compatible=True
    )
    try:
        await tls.do_handshake()
    except BaseException as exc:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(tls)
        if isinstance(exc, trio.BrokenResourceError):
            raise _explain(host, exc) from exc
        raise
    return tls


def _explain(host: str, exc: trio.BrokenResourceError) -> Exception:
    cause = exc.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return PeerError(
            f"cannot trust the TLS certificate of {host}: {cause.verify_message}; "
            "if its authority is your own, name it in SSL_CERT_FILE and restart the daemon"
        )
    if isinstance(cause, ssl.SSLError):
        return PeerError(
            f"TLS with {host} failed: {cause.reason or cause}; does the URL need http:// or another port?"
        )
    return Unreachable(f"{host} hung up during the TLS handshake")


@functools.cache
def _context() -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR; reading them takes some 20 ms, once."""
    if sys.platform == "darwin":
        import truststore

        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return context
    return ssl.create_default_context()


__all__ = ["open_origin", "start_tls", "TimedOut"]
