"""One POST of Streamable HTTP, from the message sent to the last message of its answer."""

from collections.abc import Hashable
from typing import Protocol

from mcpctld.drivers.http.connection import Exchange
from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Malformed,
    Message,
    id_key,
    one_line,
    parse,
    with_id,
)
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Downstream
from mcpctld.upstreams._http import MAX_ERROR_BODY, Refusal, media_type


class Owner(Protocol):
    """The upstream, as its POSTs see it."""

    downstream: Downstream
    max_message_bytes: int

    def accepted(self, post: "Post", head: Head) -> None:
        """A success came back: look at its headers."""

    def answered(self, post: "Post", message: Message) -> None:
        """A response for one of the POST's requests is about to be delivered."""

    def refused(self, post: "Post", refusal: Refusal) -> None:
        """The server answered with another status, or with something that is not MCP."""

    def broke(self, post: "Post", error: McpctlError) -> None:
        """The answer ended before all requests were answered."""

    def finished(self, post: "Post") -> None:
        """The answer has ended, well or not; called once for each time that it was sent."""


class Post:
    """A message on its way, and the reader of its answer: one JSON body or a stream of events.

    `pending` are the requests in it that have no response yet: one as a rule, several for a batch.
    """

    def __init__(self, owner: Owner, message: Message | Batch, *, modern: bool = False) -> None:
        self._owner = owner
        self.message = message
        self.modern = modern
        messages = message.messages if isinstance(message, Batch) else [message]
        self.pending: dict[Hashable, bytes] = {
            id_key(part.id): part.id for part in messages if part.kind is Kind.REQUEST
        }
        self.is_request = bool(self.pending)
        self.exchange: Exchange | None = None
        self._events = SseReader(owner.max_message_bytes)
        self._resumptions = 0
        self._resumed_at: str | None = None
        self._head: Head | None = None
        self._body: list[bytes] = []
        self._size = 0

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """True when the client lags behind."""
        return self._owner.downstream.full

    async def wait_room(self) -> None:
        """Wait until the client has caught up."""
        await self._owner.downstream.wait_room()

    def on_head(self, head: Head) -> None:
        """Choose how to read the body."""
        self._head = head
        self._body.clear()
        self._size = 0
        if 200 <= head.status < 300:
            self._owner.accepted(self, head)

    def on_data(self, data: bytes) -> None:
        """Keep a piece of a JSON body, or read events."""
        if self._streaming:
            self._events.receive_data(data)
            self._read_events()
            return
        self._size += len(data)
        limit = self._owner.max_message_bytes if self._succeeded else MAX_ERROR_BODY
        if self._size <= limit:
            self._body.append(data)
        elif self._succeeded and self.exchange is not None:
            self.exchange.cancel()
            self.fail(
                PeerError(
                    f"the answer is larger than {limit} bytes; raise max_message_bytes in config.toml"
                )
            )
            self._owner.finished(self)

    def on_end(self) -> None:
        """The body is complete: deliver it, or find out what the server meant."""
        if not self._succeeded:
            self._refuse(b"".join(self._body))
        elif self._streaming:
            self._end_stream(PeerError("the server ended its answer without the response"))
        else:
            self._end_body(b"".join(self._body))
        self._owner.finished(self)

    def on_failure(self, error: McpctlError) -> None:
        """The connection was lost, or never made."""
        self._end_stream(error)
        self._owner.finished(self)

    # ------------------------------------------------------------ reading

    @property
    def _succeeded(self) -> bool:
        return self._head is not None and 200 <= self._head.status < 300

    @property
    def _streaming(self) -> bool:
        return (
            self._succeeded
            and self._head is not None
            and media_type(self._head) == "text/event-stream"
        )

    def _read_events(self) -> None:
        while (event := self._events.next_event()) is not None:
            match event:
                case SseEvent(type="message", data=data) if data:
                    self._deliver(data)
                case SseTooLong(length=length):
                    self.fail(
                        PeerError(
                            f"a message of {length} bytes is too long; raise max_message_bytes in config.toml"
                        )
                    )

    def _end_body(self, body: bytes) -> None:
        if (
            body.strip()
            and self._head is not None
            and media_type(self._head) in ("application/json", "")
        ):
            self._deliver(body)
        if self.pending:
            self._refuse(body)

    def _end_stream(self, error: McpctlError) -> None:
        if self.pending:
            self._owner.broke(self, error)

    def _refuse(self, body: bytes) -> None:
        if self._head is not None:
            self._owner.refused(self, Refusal(self._head, body))

    def _deliver(self, text: bytes) -> None:
        try:
            message = parse(one_line(text))
        except Malformed as exc:
            self.fail(PeerError(f"the server sent something that is not JSON-RPC: {exc.reason}"))
            return
        for part in message.messages if isinstance(message, Batch) else (message,):
            if part.kind in (Kind.RESULT, Kind.ERROR):
                self._settle(part)
        self._owner.downstream.deliver(self._own_id(message))

    def _settle(self, message: Message) -> None:
        if self.pending.pop(id_key(message.id or b"null"), None) is not None:
            self._owner.answered(self, message)

    def _own_id(self, message: Message | Batch) -> Message | Batch:
        """An error without an id, or with one of the server's invention, answers the request that it came back for.

        Python's SDK sends `"server-error"`, TypeScript's null or none.
        """
        if isinstance(message, Batch) or message.kind is not Kind.ERROR or len(self.pending) != 1:
            return message
        ((key, id),) = self.pending.items()
        adopted = parse(with_id(message, id))
        assert isinstance(adopted, Message)
        del self.pending[key]
        self._owner.answered(self, adopted)
        return adopted

    def relay(self, error: Message) -> None:
        """Answer the request with a JSON-RPC error that came as the body of a refusal."""
        self.pending.pop(id_key(error.id or b"null"), None)
        self._owner.downstream.deliver(self._own_id(error))

    def fail(self, error: McpctlError) -> None:
        """Answer every request that has no response yet with an error of ours."""
        pending, self.pending = self.pending, {}
        for id in pending.values():
            self._owner.downstream.fail(id, error)

    # ------------------------------------------------------------ resumption

    def can_resume(self, limit: int) -> bool:
        """Whether the server numbers its events, and has got further in one of the last `limit` attempts."""
        newest = self._events.last_event_id
        if newest != self._resumed_at:
            self._resumptions = 0
        return newest is not None and self._resumptions < limit

    def retry_s(self, first: float) -> float:
        """How long to wait before the next attempt: what the server asked for, else longer each time."""
        if self._events.retry_ms is not None:
            return self._events.retry_ms / 1000
        return first * 2.0**self._resumptions

    def resume(self) -> str:
        """Get ready for the rest of the stream: the value for `Last-Event-ID`."""
        last, retry_ms = self._events.last_event_id, self._events.retry_ms
        assert last is not None
        self._events = SseReader(self._owner.max_message_bytes)
        self._events.last_event_id, self._events.retry_ms = last, retry_ms
        self._resumed_at = last
        self._resumptions += 1
        return last
