"""The stream for what a server says unasked (GET of Streamable HTTP, revisions 2025-03-26 to 2025-11-25)."""

from collections.abc import Callable

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Malformed, one_line, parse
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Upstream
from mcpctld.upstreams._http import Endpoint, header_text
from mcpctld.upstreams._refusals import media_type
from mcpctld.upstreams._stream import Stream

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 60.0
SHORTEST_DELAY_S = 0.01
"""However short a `retry` the server asks for: a loop without any pause would take a whole processor."""
LIVED_S = 10.0
"""A stream that held this long was a good one: the next failure starts counting anew."""


class Listener:
    """Holds the stream open, taking it up again where it broke, until the server says that there is none."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        session_headers: Callable[[], tuple[tuple[str, str], ...]],
        max_message_bytes: int,
    ) -> None:
        self._upstream = upstream
        self._endpoint = endpoint
        self._session_headers = session_headers
        self._max_message_bytes = max_message_bytes
        self._last_event_id: str | None = None
        self._retry_ms: int | None = None

    async def run(self) -> None:
        """Listen; returns when the server offers no stream, or does not know the session any more."""
        delay = FIRST_DELAY_S
        while True:
            began = trio.current_time()
            if not await self._listen_once():
                return
            if trio.current_time() - began > LIVED_S:
                delay = FIRST_DELAY_S
            asked = None if self._retry_ms is None else self._retry_ms / 1000
            await trio.sleep(delay if asked is None else max(asked, SHORTEST_DELAY_S))
            delay = min(delay * 2, LAST_DELAY_S)

    async def _listen_once(self) -> bool:
        """One GET, to its end; False when there is no use in another."""
        events = SseReader(self._max_message_bytes)
        events.last_event_id, events.retry_ms = self._last_event_id, self._retry_ms

        def take(data: bytes) -> None:
            events.receive_data(data)
            self._read(events)

        headers = (("Accept", "text/event-stream"), *self._resume(), *self._session_headers())
        with Stream(self._endpoint, headers, self._upstream.downstream, take) as stream:
            try:
                refusal = await stream.wait_head()
            except McpctlError:
                return True  # noqa: ASYNC910  (`wait_head` has waited)
            if refusal is not None or media_type(stream.head) != "text/event-stream":
                status = stream.head.status
                self._upstream.log.debug("server.no_stream", extra={"status": status})
                return status >= 500 or status in (408, 429)
            await stream.wait_end()
        self._last_event_id, self._retry_ms = events.last_event_id, events.retry_ms
        return True

    def _resume(self) -> tuple[tuple[str, str], ...]:
        last = header_text(self._last_event_id)
        return (("Last-Event-ID", last),) if last else ()

    def _read(self, events: SseReader) -> None:
        while (event := events.next_event()) is not None:
            match event:
                case SseEvent(type="message", data=data):
                    self._deliver(data)
                case SseTooLong(length=length):
                    self._upstream.log.warning("server.too_long", extra={"bytes": length})

    def _deliver(self, data: bytes) -> None:
        try:
            message = parse(one_line(data))
        except Malformed as exc:
            self._upstream.log.warning("server.garbage", extra={"reason": exc.reason})
            return
        self._upstream.downstream.deliver(message)
