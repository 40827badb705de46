"""Through an HTTP proxy: `HTTPS_PROXY` and its relatives, read as curl and requests read them.

Supported: `http://` and `https://` proxies, basic credentials in the URL, CONNECT for https, absolute-form requests
for http, NO_PROXY with names, suffixes, ports, addresses and networks. Not supported, and an error: SOCKS.
"""

import base64
import ipaddress
import re
import ssl
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import trio

from mcpctld.drivers.http.request import DEFAULT_PORTS, Origin
from mcpctld.errors import Denied, McpctlError, PeerError, Unreachable, UserError
from mcpctld.tunnels import direct
from mcpctld.tunnels.tls import start_tls

MAX_HEAD = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy and, if it wants them, credentials."""

    scheme: str
    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The proxy as it is shown."""
        return f"the proxy {self.host}:{self.port}"


# ---------------------------------------------------------------- which one


def for_origin(origin: Origin) -> Proxy | None:
    """The proxy for an origin, from the environment; none for this machine. Raises `UserError`."""
    if _is_this_machine(origin.host):
        return None
    proxies = urllib.request.getproxies_environment()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url or _is_excepted(origin, proxies.get("no", "")):
        return None
    return _parse(url, f"{origin.scheme.upper()}_PROXY or ALL_PROXY")


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_excepted(origin: Origin, no_proxy: str) -> bool:
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_matches(entry, origin) for entry in entries if entry)


def _matches(entry: str, origin: Origin) -> bool:
    """`*`, a host and what is below it, either with a port, an address, or a network (10.0.0.0/8)."""
    address = _address(origin.host)
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.startswith("[")):
        if int(port) != origin.port:
            return False
        entry = name
    entry = entry.strip("[]").lstrip("*").lstrip(".")
    if address is not None:
        return address == _address(entry)
    return origin.host == entry or (entry != "" and origin.host.endswith(f".{entry}"))


def _parse(url: str, variable: str) -> Proxy:
    """Errors show nothing of the URL but its scheme: it may hold a password."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError as exc:
        raise UserError(f"cannot use the proxy of {variable}: its port is not a number") from exc
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UserError(
            f"cannot use a {parts.scheme} proxy: {variable} must begin with http:// or https:// and name a host"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], authorization)


# ---------------------------------------------------------------- through it


async def connect(proxy: Proxy, context: ssl.SSLContext | None = None) -> trio.abc.Stream:
    """A stream to the proxy itself."""
    try:
        stream = await direct.open_stream(proxy.host, proxy.port)
    except McpctlError as exc:
        raise type(exc)(f"cannot reach the proxy that is set in the environment: {exc}") from exc
    if proxy.scheme == "https":
        return await start_tls(stream, proxy.host, context)
    return stream


async def open_stream(
    proxy: Proxy, host: str, port: int, context: ssl.SSLContext | None = None
) -> trio.abc.Stream:
    """A tunnel through the proxy (RFC 9110 §9.3.6, CONNECT). Raises `Unreachable`, `Denied` or `PeerError`."""
    stream = await connect(proxy, context)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if proxy.authorization:
        head += f"Proxy-Authorization: {proxy.authorization}\r\n"
    try:
        await stream.send_all(f"{head}\r\n".encode())
        _check(await _read_head(stream, proxy), proxy, authority)
    except BaseException as exc:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        if isinstance(exc, trio.BrokenResourceError):
            raise Unreachable(f"{proxy} hung up during CONNECT") from exc
        raise
    return stream


async def _read_head(stream: trio.abc.Stream, proxy: Proxy) -> bytes:
    """The proxy's answer, with the empty line; the server behind it says nothing before we do."""
    head = b""
    while True:
        data = await stream.receive_some(MAX_HEAD)
        head += data
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return head
        if not data:
            raise Unreachable(f"{proxy} hung up during CONNECT")
        if len(head) > MAX_HEAD:
            raise PeerError(f"{proxy} answered CONNECT with something that is not HTTP")


def _check(head: bytes, proxy: Proxy, authority: str) -> None:
    status = _STATUS.match(head)
    if status is None:
        raise PeerError(f"{proxy} answered CONNECT with something that is not HTTP")
    code = int(status[1])
    if code == 407:
        raise Denied(
            f"{proxy} wants credentials: put them into HTTPS_PROXY as http://user:password@host"
        )
    if 200 <= code < 300:
        if not head.endswith(b"\r\n\r\n"):
            raise PeerError(f"{proxy} sent something behind its answer to CONNECT")
        return
    error = Denied if 400 <= code < 500 else Unreachable
    raise error(f"{proxy} answered {code} to CONNECT {authority}")
