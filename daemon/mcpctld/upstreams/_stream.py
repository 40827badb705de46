"""An HTTP answer that a task waits for: the long streams of the transports, and small questions off the data path."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

import trio

from mcpctld.drivers.http.connection import Exchange
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.upstreams._http import MAX_REDIRECTS, Endpoint
from mcpctld.upstreams._refusals import MAX_ERROR_BODY, Refusal


class Reader(Protocol):
    """Whoever is at the end of what is read, as a `Downstream` is."""

    @property
    def client_full(self) -> bool:
        """True when it lags behind; then `wait_client` is awaited before more is read."""

    async def wait_client(self) -> None:
        """Wait until it has caught up."""


class Stream:
    """A request without a body, under way while its `with` block lasts; then its connection is closed.

    The body of a success is handed to `take` as it comes; that of a refusal is kept. Redirects are followed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Iterable[tuple[str, str]],
        downstream: Reader,
        take: Callable[[bytes], None],
        method: str = "GET",
        *,
        renewable: bool = False,
    ) -> None:
        """`renewable`: see `Request.renewable`."""
        self._endpoint = endpoint
        self._headers = tuple(headers)
        self._downstream = downstream
        self._take = take
        self._method = method
        self._renewable = renewable
        self._exchange: Exchange | None = None
        self.error: McpctlError | None = None

    def __enter__(self) -> Self:
        self._submit()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._exchange is not None:
            self._exchange.cancel()

    def _submit(self) -> None:
        self._url = self._endpoint.url
        self._head: Head | None = None
        self._refused = b""
        self._opened = trio.Event()
        self._ended = trio.Event()
        self._exchange = self._endpoint.submit(
            self._method, self._headers, None, self, repeatable=True, renewable=self._renewable
        )

    # ------------------------------------------------------------ waiting

    async def wait_head(self) -> Refusal | None:
        """Wait for the status; the whole refusal when it is not a success. Raises what made it fail."""
        for _ in range(MAX_REDIRECTS):
            refusal = await self._wait_answer()
            if refusal is None or not self._endpoint.follow(refusal.head, self._url):
                return refusal
            self._submit()
        return await self._wait_answer()

    async def _wait_answer(self) -> Refusal | None:
        await self._opened.wait()
        if self._succeeded:
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

    def cut(self, error: McpctlError) -> None:
        """End it here; `error` says why."""
        if self._exchange is not None:
            self._exchange.cancel()
        self.on_failure(error)

    @property
    def _succeeded(self) -> bool:
        return self._head is not None and 200 <= self._head.status < 300

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """True when the client lags behind."""
        return self._downstream.client_full

    async def wait_room(self) -> None:
        """Wait until the client has caught up."""
        await self._downstream.wait_client()

    def on_head(self, head: Head) -> None:
        """Wake who waits for the status."""
        self._head = head
        self._opened.set()

    def on_data(self, data: bytes) -> None:
        """Hand it on."""
        if self._succeeded:
            self._take(data)
        elif len(self._refused) < MAX_ERROR_BODY:
            self._refused += data
        elif self._exchange is not None:  # enough is known
            self._exchange.cancel()
            self._ended.set()

    def on_end(self) -> None:
        """Wake everybody."""
        self._opened.set()
        self._ended.set()

    def on_failure(self, error: McpctlError) -> None:
        """Wake everybody, with the reason."""
        self.error = error
        self.on_end()


async def ask(
    endpoint: Endpoint, method: str, headers: Iterable[tuple[str, str]], downstream: Reader
) -> int:
    """Send a small request and read its answer to the end: the status. Raises what made it fail."""
    with Stream(endpoint, headers, downstream, lambda data: None, method) as stream:
        await stream.wait_head()
        await stream.wait_end()
        return stream.head.status
