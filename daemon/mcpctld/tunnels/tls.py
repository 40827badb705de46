"""TLS over any stream, with the peer's certificate checked: always."""

import functools
import os
import ssl
import sys

import trio

from mcpctld.errors import McpctlError, PeerError, Unreachable, UserError

_EXPIRED = 10  # X509_V_ERR_*, <openssl/x509_vfy.h>
_OTHER_NAME = (62, 64)  # of a host, of an address


async def start_tls(
    stream: trio.abc.Stream, host: str, context: ssl.SSLContext | None = None
) -> trio.SSLStream[trio.abc.Stream]:
    """TLS over `stream`, with the peer's certificate checked for `host`. Closes `stream` on failure.

    Without a `context` the system's is used. Raises `PeerError` for a certificate that cannot be trusted and for what
    is no TLS, `Unreachable` where trying again may help.
    """
    try:
        if context is None:
            context = await trio.to_thread.run_sync(system_context)
        tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        await tls.do_handshake()
    except BaseException as exc:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        if isinstance(exc, trio.BrokenResourceError):
            raise _explain(host, exc.__cause__) from exc
        raise
    return tls


def make_context() -> ssl.SSLContext:
    """Trusts the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR; reading them takes some 20 ms."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file and not os.access(file, os.R_OK):
        raise UserError(f"cannot read {file}, which SSL_CERT_FILE names; correct it or take it out")
    if sys.platform == "darwin" and not (file or folder):
        import truststore

        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.create_default_context()
    # Said, for what is the default differs: Python leaves it to OpenSSL, and that to the distribution.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def system_context() -> ssl.SSLContext:
    """The same one each time; read once in the life of a daemon."""
    return make_context()


def _explain(host: str, cause: BaseException | None) -> McpctlError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = cause.verify_message.rstrip(".")
        return PeerError(f"cannot trust the TLS certificate of {host}: {why}; {_advice(cause)}")
    # Which of the two an end without `close_notify` becomes depends on Python and OpenSSL.
    hung_up = isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if isinstance(cause, ssl.SSLError) and not hung_up:
        return PeerError(
            f"TLS with {host} failed: {cause.reason or cause}; does the URL need http:// or another port?"
        )
    return Unreachable(f"{host} hung up during the TLS handshake")


def _advice(cause: ssl.SSLCertVerificationError) -> str:
    if cause.verify_code == _EXPIRED:
        return "it must be renewed there, unless the clock here is wrong"
    if cause.verify_code in _OTHER_NAME:
        return "check the URL"
    return "if its authority is your own, name it in SSL_CERT_FILE and restart the daemon"
