"""Datagrams by UDP, on a socket that is connected to the peer: so the kernel tells when nobody listens there."""

import errno
import socket
from collections.abc import Sequence

import trio

from mcpctld.drivers.carriers.carrier import Deliver, Kind
from mcpctld.errors import Unreachable

BUFFER = 4 * 1024 * 1024
"""Asked for both ways; the system may give less."""
BATCH = 64
"""Datagrams that are taken at once, before somebody else gets a turn."""
_LARGEST = 65535

# Of these a socket recovers by itself: nobody listens there yet, no room, too long for this way.
_PASSING = (errno.ECONNREFUSED, errno.ENOBUFS, errno.EMSGSIZE)


class UdpCarrier:
    """A socket, and what went wrong on it."""

    kind: Kind = "udp"

    def __init__(self, sock: socket.socket) -> None:
        """`sock`: connected, and non-blocking; it is ours now."""
        self._socket = sock
        self._broken = trio.Event()
        self._error = ""
        self.lost = 0
        """Datagrams that the socket did not take."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send them, as far as there is room."""
        for number, datagram in enumerate(datagrams):
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                self.lost += len(datagrams) - number
                return
            except OSError as exc:
                self.lost += 1
                self._note(exc)

    async def run(self, deliver: Deliver) -> None:
        """Deliver what comes. Raises `Unreachable` once the socket is of no use any more."""
        with self._socket:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, deliver)
                await self._broken.wait()
                nursery.cancel_scope.cancel()
        raise Unreachable(f"UDP does not get there any more: {self._error}")

    async def _receive(self, deliver: Deliver) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if datagrams := self._take():
                deliver(datagrams)

    def _take(self) -> list[bytes]:
        datagrams: list[bytes] = []
        while len(datagrams) < BATCH:
            try:
                datagrams.append(self._socket.recv(_LARGEST))
            except BlockingIOError:
                break
            except OSError as exc:
                self._note(exc)
                break
        return datagrams

    def _note(self, exc: OSError) -> None:
        if exc.errno not in _PASSING:
            self._error = exc.strerror or str(exc)
            self._broken.set()


async def open_udp(host: str, port: int) -> UdpCarrier:
    """A carrier to a host; the name is looked up anew. Raises `Unreachable`."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as exc:
        raise Unreachable(f"cannot look up {host}: {exc.strerror or exc}") from exc
    error = OSError(errno.EHOSTUNREACH, "no address of it can be reached")
    for family, kind, protocol, _, address in found:
        try:
            return UdpCarrier(_connect(socket.socket(family, kind, protocol), address))
        except OSError as exc:
            error = exc
    raise Unreachable(f"cannot send to {host}:{port} by UDP: {error.strerror or error}")


def widen(sock: socket.socket) -> None:
    """Ask for room for bursts, both ways."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)


def _connect(sock: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        sock.setblocking(False)
        widen(sock)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
