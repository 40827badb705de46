"""POSTs one after the other, for transports that answer elsewhere: HTTP+SSE and the fly wrapper."""

from collections import deque

from mcpctld.drivers.http.connection import Exchange
from mcpctld.errors import McpctlError
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import Batch, Kind, Message
from mcpctld.upstreams._base import Downstream
from mcpctld.upstreams._http import MAX_ERROR_BODY, Endpoint, Refusal, explain, json_rpc_error


class OrderedPosts:
    """Sends messages in order, each when the one before was accepted; a refused request is answered with why.

    Held back until `open_gate`: the stream for the answers must stand first.
    """

    def __init__(self, downstream: Downstream, server: str, *, suffix: bytes = b"") -> None:
        self._downstream = downstream
        self._server = server
        self._suffix = suffix
        self._queue: deque[Message | Batch] = deque()
        self._endpoint: Endpoint | None = None
        self._headers: tuple[tuple[str, str], ...] = ()
        self._exchange: Exchange | None = None
        self._current: Message | Batch | None = None
        self._head: Head | None = None
        self._body = b""

    def send(self, message: Message | Batch) -> None:
        """Queue a message."""
        self._queue.append(message)
        self._next()

    def open_gate(self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...]) -> None:
        """Begin, or go on, at this endpoint."""
        self._endpoint, self._headers = endpoint, headers
        self._next()

    def close_gate(self) -> None:
        """Hold back what comes."""
        self._endpoint = None

    def fail_queued(self, error: McpctlError) -> None:
        """Give up on all that has not been sent."""
        queued, self._queue = self._queue, deque()
        for message in queued:
            self._fail(message, error)

    def close(self) -> None:
        """Stop; nothing more is sent."""
        self._queue.clear()
        self.close_gate()
        if self._exchange is not None:
            self._exchange.cancel()

    def _next(self) -> None:
        if self._current is None and self._queue and self._endpoint is not None:
            self._current = self._queue.popleft()
            self._head, self._body = None, b""
            body = self._current.raw + self._suffix
            self._exchange = self._endpoint.submit("POST", self._headers, body, self)

    def _fail(self, message: Message | Batch, error: McpctlError) -> None:
        for part in message.messages if isinstance(message, Batch) else (message,):
            if part.kind is Kind.REQUEST:
                self._downstream.fail(part.id, error)

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """Answers to these POSTs are empty."""
        return False

    async def wait_room(self) -> None:
        """Never called."""
        raise NotImplementedError

    def on_head(self, head: Head) -> None:
        """Keep the status."""
        self._head = head

    def on_data(self, data: bytes) -> None:
        """Keep the beginning of a refusal."""
        if len(self._body) < MAX_ERROR_BODY:
            self._body += data

    def on_end(self) -> None:
        """Accepted, or refused: then the request has failed."""
        assert self._head is not None and self._current is not None
        assert self._endpoint is not None or self._head is not None
        if self._head.status >= 300:
            self._refuse(self._current, Refusal(self._head, self._body))
        self._current = None
        self._next()

    def on_failure(self, error: McpctlError) -> None:
        """Not delivered, or nobody knows."""
        if self._current is not None:
            self._fail(self._current, error)
        self._current = None
        self._next()

    def _refuse(self, message: Message | Batch, refusal: Refusal) -> None:
        error = json_rpc_error(refusal.body)
        if (
            error is not None
            and isinstance(message, Message)
            and message.kind is Kind.REQUEST
            and error.id == message.id
        ):
            self._downstream.deliver(error)
            return
        url = self._endpoint.url if self._endpoint else "the server"
        self._fail(message, explain(refusal, self._server, url))
