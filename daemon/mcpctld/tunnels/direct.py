"""Plain TCP from this machine: the way to everything that has no other."""

import os
import socket

import trio

from mcpctld.drivers.keepalive import STEADY, set_pace
from mcpctld.errors import NotFound, Unreachable

_LOOPBACK = ("127.0.0.1", "::1")


async def open_stream(host: str, port: int) -> trio.SocketStream:
    """A TCP connection; all addresses of the name are tried, a little apart (RFC 8305).

    Names below `localhost` are this machine, and nobody is asked for them (RFC 6761 §6.3).

    Raises `NotFound` for a name that does not exist, `Unreachable` for all else.
    """
    try:
        stream = await _connect(host, port)
    except socket.gaierror as exc:
        if exc.errno == socket.EAI_AGAIN:
            raise Unreachable(f"cannot look up {host}: {exc.strerror}; is the network up?") from exc
        raise NotFound(f"no such host: {host} ({exc.strerror}); check the URL") from exc
    except UnicodeError as exc:  # a label that is empty or too long (RFC 1035 §2.3.4)
        raise NotFound(f"no such host: {host} (not a name); check the URL") from exc
    except OSError as exc:
        reason = _reason(exc)
        raise Unreachable(f"cannot connect to {host}:{port}: {reason}; is it running?") from exc
    set_pace(stream, STEADY)
    return stream


async def _connect(host: str, port: int) -> trio.SocketStream:
    if not host.lower().removesuffix(".").endswith(".localhost"):
        return await trio.open_tcp_stream(host, port)
    first, second = _LOOPBACK
    try:
        return await trio.open_tcp_stream(first, port)
    except OSError:
        return await trio.open_tcp_stream(second, port)


def _reason(exc: OSError) -> str:
    """Why: trio wraps the refusals of several addresses in one error, and repeats the address in each."""
    causes = exc.__cause__.exceptions if isinstance(exc.__cause__, BaseExceptionGroup) else [exc]
    errors = [cause for cause in causes if isinstance(cause, OSError)]
    return "; ".join(sorted({os.strerror(e.errno) if e.errno else str(e) for e in errors}))
