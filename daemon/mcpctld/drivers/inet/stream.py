"""A connection of the stack as a trio stream."""

from collections.abc import Awaitable, Callable

import trio

from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.state import SYNCHRONIZING

CHUNK = 256 * 1024
"""What one `receive_some` takes, unless told otherwise."""


class TunnelStream(trio.abc.HalfCloseableStream):
    """Reads and writes a connection; `Host` makes it, and calls `notice` when something has happened.

    `send_all` returns once the send buffer has taken all of it, as that of a socket does.
    """

    def __init__(self, connection: Connection, flush: Callable[[], None]) -> None:
        self.connection = connection
        self._flush = flush
        self._noticed = trio.Event()
        self._is_closed = False
        self._has_ended = False  # we have sent the end
        self._is_sending = self._is_receiving = False

    def notice(self) -> None:
        """Something has happened to the connection."""
        self._noticed.set()
        self._noticed = trio.Event()

    async def wait_connected(self) -> None:
        """Wait until the handshake is over, or the connection is."""
        await trio.lowlevel.checkpoint()
        while self.connection.state in SYNCHRONIZING:
            await self._noticed.wait()

    # ------------------------------------------------------------ sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Raises `trio.BrokenResourceError` if the connection is over."""
        await self._send(lambda: self._write_all(memoryview(data)))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room. Raises as `send_all`."""
        await self._send(self._wait_room)

    async def send_eof(self) -> None:
        """Nothing will be sent any more. Harmless if that was said before."""
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise trio.ClosedResourceError
        self._has_ended = True
        self.connection.send_eof()
        self._flush()

    async def _send(self, work: Callable[[], Awaitable[None]]) -> None:
        """One task at a time."""
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._is_sending = True
        try:
            await trio.lowlevel.checkpoint()
            await work()
        finally:
            self._is_sending = False

    async def _write_all(self, view: memoryview) -> None:  # noqa: ASYNC910  (its caller has)
        self._check_sending()
        while view:
            view = view[self.connection.send_data(view) :]
            self._flush()
            if view:
                await self._noticed.wait()
            self._check_sending()

    async def _wait_room(self) -> None:  # noqa: ASYNC910  (its caller has)
        self._check_sending()
        while not self.connection.has_room():
            await self._noticed.wait()
            self._check_sending()

    def _check_sending(self) -> None:
        if self._is_closed or self._has_ended:
            raise trio.ClosedResourceError("this side of the stream is closed")
        self._check_connection()

    def _check_connection(self) -> None:
        if self.connection.outcome is not None:
            raise trio.BrokenResourceError(f"the connection is over: {why(self.connection)}")

    # ------------------------------------------------------------ receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; empty at the end of them. Raises `trio.BrokenResourceError` after a reset."""
        most = CHUNK if max_bytes is None else max_bytes
        if not isinstance(most, int):
            raise TypeError("max_bytes must be a number of bytes")
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._is_receiving = True
        try:
            await trio.lowlevel.checkpoint()
            return await self._read(most)
        finally:
            self._is_receiving = False

    async def _read(self, most: int) -> bytes:
        while True:
            if self._is_closed:
                raise trio.ClosedResourceError("this stream is closed")
            if (data := self.connection.receive_data(most)) is not None:
                self._flush()  # the window may have opened
                return data  # noqa: ASYNC910  (its caller has)
            self._check_connection()
            await self._noticed.wait()

    # ------------------------------------------------------------ the end

    async def aclose(self) -> None:
        """Close both sides, without waiting for the peer. What was sent still goes, unless something is unread."""
        if not self._is_closed:
            self._is_closed = True
            self.connection.close()
            self._flush()
            self.notice()
        await trio.lowlevel.checkpoint()


def why(connection: Connection) -> str:
    """How a connection that is over has ended, in words."""
    assert connection.outcome is not None
    words = connection.outcome.value
    return f"{words} ({connection.detail})" if connection.detail else words
