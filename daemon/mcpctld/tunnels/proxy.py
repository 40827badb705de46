"""Through an HTTP proxy: `HTTPS_PROXY` and its relatives, read as curl and requests read them."""

import base64
import os
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import trio

from mcpctld.drivers.http.request import Origin
from mcpctld.errors import Denied, PeerError, Unreachable, UserError
from mcpctld.tunnels import direct

MAX_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy and, if it wants them, credentials."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def for_origin(origin: Origin) -> Proxy | None:
    """The proxy for an origin, from the environment; none for this machine. Raises `UserError`."""
    if origin.host in ("localhost", "::1") or origin.host.startswith("127."):
        return None
    proxies = urllib.request.getproxies_environment()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass_environment(f"{origin.host}:{origin.port}", proxies):
        return None
    return _parse(url)


def _parse(url: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UserError(
            f"cannot use a {parts.scheme} proxy: HTTPS_PROXY must begin with http:// and name a host"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


async def open_stream(proxy: Proxy, host: str, port: int) -> trio.abc.Stream:
    """A tunnel through the proxy (RFC 9110 §9.3.6, CONNECT). Raises `Unreachable`, `Denied` or `PeerError`."""
    stream = await direct.open_stream(proxy.host, proxy.port)
    try:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        await stream.send_all(f"{head}\r\n".encode())
        _check(await _read_head(stream), proxy, authority)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _read_head(stream: trio.SocketStream) -> bytes:
    """The proxy's answer, up to the empty line; it sends nothing after it before we do."""
    head = b""
    while b"\r\n\r\n" not in head:
        try:
            data = await stream.receive_some(4096)
        except trio.BrokenResourceError as exc:
            raise Unreachable("the proxy hung up during CONNECT") from exc
        if not data:
            raise Unreachable("the proxy hung up during CONNECT")
        head += data
        if len(head) > MAX_HEAD:
            raise PeerError("the proxy's answer to CONNECT is too long")
    return head


def _check(head: bytes, proxy: Proxy, authority: str) -> None:
    status = head.split(b" ", 2)[1:2]
    code = (
        status[0].decode(errors="replace")
        if head.startswith(b"HTTP/1.") and status
        else "nothing sensible"
    )
    if code == "407":
        raise Denied(
            f"the proxy {proxy.host}:{proxy.port} wants credentials: put them into HTTPS_PROXY as user:password@"
        )
    if not (len(code) == 3 and code.startswith("2")):
        raise Unreachable(
            f"the proxy {proxy.host}:{proxy.port} answered {code} to CONNECT {authority}"
        )


def environment_names() -> list[str]:
    """The variables that decide, for documentation and for the status."""
    return sorted(name for name in os.environ if name.lower().endswith("_proxy"))
