"""One POST of Streamable HTTP, from the message sent to the last message of its answer."""

import logging
from collections.abc import Callable, Hashable
from typing import Protocol

import trio

from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Malformed,
    Message,
    guess_id,
    id_key,
    one_line,
    parse,
    with_id,
)
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Downstream, too_long
from mcpctld.upstreams._http import header_text
from mcpctld.upstreams._lane import method_of, parts_of, requests_in
from mcpctld.upstreams._refusals import MAX_ERROR_BODY, Refusal, media_type

MAX_RESUMPTIONS = 5
"""Attempts to take a stream up again that bring nothing, before its requests have failed."""
FIRST_RETRY_S = 1.0
SHORTEST_RETRY_S = 0.01
LIVED_S = 10.0
"""A stream that held this long was cut by something between us, not refused: such an attempt is not counted."""


class Cancellable(Protocol):
    """Where a POST is: on its way, or waiting for something."""

    def cancel(self) -> None:
        """It is not wanted any more."""


class Owner(Protocol):
    """The upstream, as its POSTs see it.

    Each sending of a POST ends in exactly one of `finished`, `refused` and `broke`.
    """

    downstream: Downstream
    max_message_bytes: int
    log: logging.LoggerAdapter[logging.Logger]

    def accepted(self, post: "Post", head: Head) -> None:
        """A success came back: look at its headers."""

    def answered(self, post: "Post", message: Message) -> None:
        """A response for one of the POST's requests is about to be delivered."""

    def waits_for(self, key: Hashable) -> bool:
        """Whether a request with this id (as `id_key`) is under way, here or in another POST."""

    def lingers(self, post: "Post") -> None:
        """All requests are answered, and the stream goes on."""

    def refused(self, post: "Post", refusal: Refusal) -> None:
        """The server answered with another status, or without the response."""

    def broke(self, post: "Post", error: McpctlError) -> None:
        """The connection was lost, or the stream ended, before all requests were answered."""

    def finished(self, post: "Post") -> None:
        """The answer is complete."""


class Post:
    """A message on its way, and the reader of its answer: one JSON body or a stream of events.

    `pending` are the requests in it that have no response yet: one as a rule, several for a batch.
    """

    def __init__(
        self,
        owner: Owner,
        message: Message | Batch,
        *,
        modern: bool = False,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._owner = owner
        self.message = message
        self.method = method_of(message)
        self.modern = modern
        self.headers = headers
        self.pending: dict[Hashable, bytes] = {
            id_key(part.id): part.id for part in requests_in(message)
        }
        self.keys = tuple(self.pending)
        self.is_request = bool(self.pending)
        self.exchange: Cancellable | None = None
        self.review: Callable[[Message], Message] | None = None
        """Changes what came back before it is delivered."""
        self.listed_again = False
        """The tools were listed again, because its headers were refused."""
        self.url = ""
        """Where it was sent, before a redirect."""
        self.redirects = 0
        self.session = 0
        """The number of the session in which it was sent; 0 outside of any."""
        self.counted = False
        """Its bytes are not waited for any more."""
        self.cancelled = False
        """The client does not wait for it any more."""
        self.accepted = False
        self.trouble: McpctlError | None = None
        """Why its stream has to be taken up again."""
        self._events: SseReader | None = None
        self._attempts = 0
        self._resumed_at: str | None = None
        self._began = 0.0
        self._head: Head | None = None
        self._media_type = ""
        self._streaming = False
        self._garbage = ""
        self._body: list[bytes] = []
        self._size = 0

    # ------------------------------------------------------------ ResponseHandler

    @property
    def full(self) -> bool:
        """True when the client lags behind."""
        return self._owner.downstream.client_full

    async def wait_room(self) -> None:
        """Wait until the client has caught up."""
        await self._owner.downstream.wait_client()

    def on_head(self, head: Head) -> None:
        """Choose how to read the body."""
        self._head = head
        self._body.clear()
        self._size = 0
        self._streaming = False
        if 200 <= head.status < 300:
            self.accepted = True
            self._media_type = media_type(head)
            self._streaming = self._media_type == "text/event-stream"
            self._owner.accepted(self, head)
        if self._streaming:
            self._begin_events()

    def on_data(self, data: bytes) -> None:
        """Keep a piece of a body, or read events."""
        if self._streaming and self._events is not None:
            self._events.receive_data(data)
            self._read_events(self._events)
            return
        self._size += len(data)
        if self._size <= (self._owner.max_message_bytes if self._succeeded else MAX_ERROR_BODY):
            self._body.append(data)
        else:
            self._stop_reading()

    def on_end(self) -> None:
        """The body is complete: deliver it, or find out what the server meant."""
        if self._streaming:
            error = PeerError("the server ended its answer without the response" + self._garbage)
            error.interrupted = True
            self._end_stream(error)
        elif self._succeeded:
            self._end_body()
        else:
            self._refuse()

    def on_failure(self, error: McpctlError) -> None:
        """The connection was lost, or never made."""
        self._end_stream(error)

    # ------------------------------------------------------------ reading

    @property
    def _succeeded(self) -> bool:
        return self._head is not None and 200 <= self._head.status < 300

    def _stop_reading(self) -> None:
        """The body is too long: of a refusal the beginning is enough."""
        if self.exchange is not None:
            self.exchange.cancel()
        if self._succeeded:
            self.fail(too_long(self._size, self._owner.max_message_bytes))
            self._owner.finished(self)
        else:
            self._refuse()

    def _begin_events(self) -> None:
        """A new reader, which goes on counting where an earlier one ended."""
        before, self._events = self._events, SseReader(self._owner.max_message_bytes)
        if before is not None:
            self._events.last_event_id = before.last_event_id
            self._events.retry_ms = before.retry_ms
        self._began = trio.current_time()
        if not self.pending:
            self._owner.lingers(self)

    def _read_events(self, events: SseReader) -> None:
        waited = bool(self.pending)
        while (event := events.next_event()) is not None:
            match event:
                case SseEvent(type="message", data=data):
                    self._deliver(data)
                case SseTooLong():
                    self._drop(event)
        if waited and not self.pending:
            self._owner.lingers(self)

    def _drop(self, event: SseTooLong) -> None:
        """A message is lost: if it was the response to a request, that one has failed."""
        error = too_long(event.length, self._owner.max_message_bytes)
        id = guess_id(event.head, event.tail)
        if id is None:
            self.fail(error)
        elif self.pending.pop(id_key(id), None) is not None:
            self._owner.downstream.fail(id, error)

    def _end_body(self) -> None:
        body = b"".join(self._body)
        if body.strip() and self._media_type in ("application/json", ""):
            self._deliver(body)
            if self._garbage:
                self.fail(PeerError(f"the answer cannot be used{self._garbage}"))
        if self.pending:
            self._refuse()
        else:
            self._owner.finished(self)

    def _end_stream(self, error: McpctlError) -> None:
        if self.pending or not self.accepted:
            self._owner.broke(self, error)
        else:
            self._owner.finished(self)

    def _refuse(self) -> None:
        assert self._head is not None
        self._owner.refused(self, Refusal(self._head, b"".join(self._body)))

    def _deliver(self, text: bytes) -> None:
        try:
            message = parse(one_line(text))
        except Malformed as exc:  # something else may follow
            if self.is_request and not self._garbage:
                self._owner.log.warning("server.garbage", extra={"reason": exc.reason})
            self._garbage = f": it sent something that is not JSON-RPC ({exc.reason})"
            return
        if self.review is not None and isinstance(message, Message):
            message = self.review(message)
        for part in parts_of(message):
            if not part.method:
                self._settle(part)
        self._owner.downstream.deliver(self._own(message))

    def _settle(self, message: Message) -> None:
        if self.pending.pop(id_key(message.id or b"null"), None) is not None:
            self._owner.answered(self, message)

    def _own(self, message: Message | Batch) -> Message | Batch:
        """An error without an id, or with one of the server's invention, answers the request that it came back for.

        Python's SDK sends `"server-error"`, TypeScript's null or none.
        """
        if isinstance(message, Batch) or message.kind is not Kind.ERROR or len(self.pending) != 1:
            return message
        # A stream may carry the answer to another request: not allowed, but seen.
        if self._streaming and self._owner.waits_for(id_key(message.id or b"null")):
            return message
        ((key, id),) = self.pending.items()
        adopted = parse(with_id(message, id))
        assert isinstance(adopted, Message)
        del self.pending[key]
        self._owner.answered(self, adopted)
        return adopted

    # ------------------------------------------------------------ answers by the owner

    def relay(self, error: Message) -> None:
        """Answer with a response that came as the body of a refusal, or for several POSTs at once."""
        self._settle(error)
        self._owner.downstream.deliver(self._own(error))

    def fail(self, error: McpctlError) -> None:
        """Answer every request that has no response yet with an error of ours."""
        pending, self.pending = self.pending, {}
        for id in pending.values():
            self._owner.downstream.fail(id, error)

    # ------------------------------------------------------------ resumption

    def can_resume(self) -> bool:
        """Whether the server numbers its events, and one of the last attempts has brought something."""
        newest = self._last_event_id
        lived = self.accepted and trio.current_time() - self._began > LIVED_S
        if newest != self._resumed_at or lived:
            self._attempts = 0
        return newest is not None and self._attempts < MAX_RESUMPTIONS

    @property
    def _last_event_id(self) -> str | None:
        return header_text(self._events.last_event_id) if self._events is not None else None

    def retry_s(self) -> float:
        """How long to wait before the next attempt: what the server asked for; longer when it brings nothing."""
        asked_ms = self._events.retry_ms if self._events is not None else None
        if asked_ms is None:
            return FIRST_RETRY_S * 2.0**self._attempts
        asked = max(asked_ms / 1000, SHORTEST_RETRY_S)
        grown = FIRST_RETRY_S * 2.0 ** (self._attempts - 1) if self._attempts else 0.0
        return max(asked, grown)

    def resume(self) -> str:
        """Get ready for the rest of the stream: the value for `Last-Event-ID`. Only if `can_resume`."""
        self._resumed_at = self._last_event_id
        assert self._resumed_at is not None
        self._attempts += 1
        self._head, self._streaming, self.accepted = None, False, False
        return self._resumed_at
