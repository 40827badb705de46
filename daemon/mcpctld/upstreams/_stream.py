"""An HTTP answer that a task waits for: the long streams of the transports, and small questions off the data path."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.upstreams._base import Downstream
from mcpctld.upstreams._http import MAX_ERROR_BODY, Endpoint, Refusal


class Stream:
    """An answer whose body is handed to `take` as it comes; a refusal's body is kept instead."""

    def __init__(self, take: Callable[[bytes], None], downstream: Downstream) -> None:
        self._take = take
        self._downstream = downstream
        self._head: Head | None = None
        self._refused = b""
        self._opened = trio.Event()
        self._ended = trio.Event()
        self.error: McpctlError | None = None

    async def wait_head(self) -> Refusal | None:
        """Wait for the status; the whole refusal when it is not a success. Raises what made it fail."""
        await self._opened.wait()
        if self._head is not None and 200 <= self._head.status < 300:
            return None
        await self._ended.wait()
        if self._head is None:
            assert self.error is not None
            raise self.error
        return Refusal(self._head, self._refused)

    @property
    def head(self) -> Head:
        """The status and headers; only after `wait_head`."""
        assert self._head is not None
        return self._head

    async def wait_end(self) -> None:
        """Wait until the body has ended, or broke: then `error` says why."""
        await self._ended.wait()

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """True when the client lags behind."""
        return self._downstream.full

    async def wait_room(self) -> None:
        """Wait until the client has caught up."""
        await self._downstream.wait_room()

    def on_head(self, head: Head) -> None:
        """Wake who waits for the status."""
        self._head = head
        self._opened.set()

    def on_data(self, data: bytes) -> None:
        """Hand it on."""
        if self._head is not None and 200 <= self._head.status < 300:
            self._take(data)
        elif len(self._refused) < MAX_ERROR_BODY:
            self._refused += data

    def on_end(self) -> None:
        """Wake everybody."""
        self._opened.set()
        self._ended.set()

    def on_failure(self, error: McpctlError) -> None:
        """Wake everybody, with the reason."""
        self.error = error
        self.on_end()


@asynccontextmanager
async def open_stream(
    endpoint: Endpoint,
    headers: Iterable[tuple[str, str]],
    take: Callable[[bytes], None],
    downstream: Downstream,
) -> AsyncIterator[Stream]:
    """A GET under way; its connection is closed when the block ends."""
    stream = Stream(take, downstream)
    exchange = endpoint.submit("GET", headers, None, stream, repeatable=True)
    try:
        yield stream
    finally:
        exchange.cancel()


async def ask(
    endpoint: Endpoint, method: str, headers: Iterable[tuple[str, str]], downstream: Downstream
) -> int:
    """Send a small request and read its answer to the end: the status. Raises what made it fail."""
    stream = Stream(lambda data: None, downstream)
    exchange = endpoint.submit(method, headers, None, stream, repeatable=True)
    try:
        await stream.wait_head()
        await stream.wait_end()
    finally:
        exchange.cancel()
    return stream.head.status
