"""From here to an HTTP server, one layer at a time: its name, TCP, TLS, one GET. No credentials are ever sent.

The daemon goes the same way with code of its own; this is for finding out where the way ends.
"""

import http.client
import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

BOUND_S = 10.0
"""For one step."""
MAX_BODY = 64 * 1024
LOOPBACK = ["127.0.0.1", "::1"]
DAY_S = 86400.0
_PORTS = {"http": 80, "https": 443}

T = TypeVar("T")


class Target(NamedTuple):
    """Where a URL leads, without what may be secret in it: see `path`."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query: it is sent, and never shown."""

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name."""
        name = self.host.rstrip(".")
        named = name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3
        return named or self.host == "::1" or self.host.startswith("127.")


class Reply(NamedTuple):
    """The beginning of an HTTP answer."""

    status: int
    media_type: str
    location: str
    body: bytes


def target(url: str) -> Target:
    """Where `url` leads. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is not http:// or https:// with a host")
    query = f"?{parts.query}" if parts.query else ""
    port = parts.port or _PORTS[parts.scheme]
    return Target(parts.scheme, parts.hostname, port, f"{parts.path or '/'}{query}")


def is_proxied(at: Target) -> bool:
    """Whether the environment sends requests for it through a proxy; never those for this machine."""
    proxies = urllib.request.getproxies_environment()
    if at.is_loopback or not (proxies.get(at.scheme) or proxies.get("all")):
        return False
    return not urllib.request.proxy_bypass(at.authority)


def within(function: Callable[[], T], bound_s: float = BOUND_S) -> T:
    """What `function` answers or raises. Raises `TimeoutError` when it takes longer: it is left to itself then."""
    outcome: queue.SimpleQueue[tuple[list[T], Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(([function()], None))
        except Exception as exc:
            outcome.put(([], exc))

    # Of the system's resolver there is no other way to let go.
    threading.Thread(target=run, daemon=True).start()
    try:
        answers, error = outcome.get(timeout=bound_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {bound_s:g} s") from None
    if error is not None:
        raise error
    return answers[0]


def resolve(at: Target) -> list[str]:
    """The addresses of the host. Raises `OSError`, and `UnicodeError` for what is no name."""
    if at.host.rstrip(".").endswith(".localhost"):
        return LOOPBACK
    found = socket.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(at: Target, addresses: list[str]) -> socket.socket:
    """A TCP connection to the first address that takes one. Raises `OSError`: that of the last one."""
    failure: OSError = OSError("there is no address")
    for address in addresses:
        try:
            return socket.create_connection((address, at.port), timeout=BOUND_S / len(addresses))
        except OSError as exc:
            failure = exc
    raise failure


def secure(at: Target, plain: socket.socket) -> ssl.SSLSocket:
    """TLS on a connection, the chain and the name verified. Raises `OSError`, `ssl.SSLError` among them."""
    plain.settimeout(BOUND_S)
    context = ssl.create_default_context()
    try:
        return context.wrap_socket(plain, server_hostname=at.host.rstrip("."))
    except BaseException:
        plain.close()
        raise


def days_left(secured: ssl.SSLSocket, now: float | None = None) -> float:
    """Until the certificate ends."""
    ends = str((secured.getpeercert() or {}).get("notAfter"))
    return (ssl.cert_time_to_seconds(ends) - (time.time() if now is None else now)) / DAY_S


def get(at: Target, addresses: list[str], path: str, accept: str) -> Reply:
    """One GET. The body is read of JSON only: a stream has no end. Raises `OSError`, `HTTPException`."""
    plain = connect(at, addresses)
    channel = secure(at, plain) if at.scheme == "https" else plain
    connection = http.client.HTTPConnection(at.host, at.port, timeout=BOUND_S)
    connection.sock = channel
    with channel:
        connection.request("GET", path, headers={"Host": at.authority, "Accept": accept})
        answer = connection.getresponse()
        kind = answer.headers.get_content_type()
        body = answer.read(MAX_BODY) if kind == "application/json" else b""
        location = answer.headers.get("Location") or ""
        answer.close()
        return Reply(answer.status, kind, location, body)
