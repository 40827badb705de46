"""The other end of a connection, played by the test: a TCP server whose connections follow a script."""

import re
import socket
from collections.abc import Awaitable, Callable

import trio

from mcpctld.drivers.http.connection import Opened
from mcpctld.drivers.http.request import Origin, Request
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.tunnels import direct


class Ended(Exception):
    """The client closed the connection."""


class Peer:
    """One connection, seen from the server."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._data = b""

    async def request(self) -> tuple[str, bytes]:
        """The next request: its head and body. Raises `Ended`."""
        while b"\r\n\r\n" not in self._data:
            await self._more()
        head, _, rest = self._data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: (\d+)", head)
        count = int(length[1]) if length else 0
        self._data = rest
        while len(self._data) < count:
            await self._more()
        body, self._data = self._data[:count], self._data[count:]
        return head.decode("latin-1"), body

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise Ended from exc
        if not data:
            raise Ended
        self._data += data

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def answer(self, body: bytes = b"", *headers: str, status: str = "200 OK") -> None:
        """A response with a length."""
        await self.send(response(body, *headers, status=status))

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close now, without waiting for anything."""
        self.stream.socket.close()


def response(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A response with a length, as bytes."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


Script = Callable[[Peer], Awaitable[None]]


async def echo(peer: Peer) -> None:
    """Answer each request with its own body."""
    while True:
        _, body = await peer.request()
        await peer.answer(body)


class Server:
    """Listens on loopback; every connection follows `script`, and is closed when that ends."""

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.origin = Origin("http", "127.0.0.1", 0)

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=512)
        self.origin = Origin("http", "127.0.0.1", listener.socket.getsockname()[1])
        await trio.serve_listeners(self._serve, [listener], task_status=task_status)

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer = Peer(stream, len(self.peers))
        self.peers.append(peer)
        async with stream:
            try:
                await self.script(peer)
            except (Ended, trio.BrokenResourceError, trio.ClosedResourceError):
                pass


async def connect(origin: Origin) -> Opened:
    """How a pool under test gets its streams."""
    return Opened(await direct.open_stream(origin.host, origin.port))


def post(body: bytes = b"{}", **options: object) -> Request:
    """A POST."""
    return Request("POST", "/mcp", (("A", "b"),), body, **options)  # type: ignore[arg-type]


class Told:
    """A handler that keeps what it hears, and complains of anything after the end."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.head: Head | None = None
        self.body = b""
        self.error: McpctlError | None = None
        self.began = trio.Event()
        self.done = trio.Event()
        self.full = False
        self.room = trio.Event()
        self.waited = 0

    def _hear(self, event: object) -> None:
        assert not self.done.is_set(), f"{event} after the end"
        self.events.append(event)

    def on_head(self, head: Head) -> None:
        self._hear(head.status)
        self.head = head
        self.began.set()

    def on_data(self, data: bytes) -> None:
        if not self.body:
            self._hear("data")
        assert not self.done.is_set()
        self.body += data

    def on_end(self) -> None:
        self._hear("end")
        self.done.set()

    def on_failure(self, error: McpctlError) -> None:
        self._hear("failure")
        self.error = error
        self.done.set()

    async def wait_room(self) -> None:
        self.waited += 1
        await self.room.wait()

    async def wait(self) -> None:
        """Wait for the end of it, which may be a failure."""
        with trio.fail_after(5):
            await self.done.wait()

    async def answer(self) -> bytes:
        """Wait for the end, which must be a good one."""
        await self.wait()
        assert self.error is None, self.error
        return self.body
