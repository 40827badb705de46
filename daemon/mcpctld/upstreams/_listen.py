"""The stream for what a server says unasked (GET of Streamable HTTP, revisions 2025-03-26 to 2025-11-25)."""

import random
from collections.abc import Callable

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Malformed, one_line, parse
from mcpctld.protocols.sse import SseEvent, SseReader, SseTooLong
from mcpctld.upstreams._base import Upstream
from mcpctld.upstreams._http import Endpoint, header_text
from mcpctld.upstreams._refusals import Refusal, explain_loss, media_type
from mcpctld.upstreams._stream import Stream

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 60.0
SHORTEST_DELAY_S = 0.01
"""However short a `retry` the server asks for: a loop without any pause would take a whole processor."""
JITTER = 0.25
"""Pauses are longer by up to this part of them: a server that comes back must not meet all its clients at once."""
LIVED_S = 10.0
"""A stream that held this long was a good one: the next failure starts counting anew."""


class Listener:
    """Holds the stream of one session, taking it up again where it broke, until the server says that there is none."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        session_headers: tuple[tuple[str, str], ...],
        max_message_bytes: int,
        settled: Callable[[], None],
    ) -> None:
        """`settled` is called when the server has answered, or failed to: it offers the stream by then, or does not."""
        self._upstream = upstream
        self._endpoint = endpoint
        self._session_headers = session_headers
        self._named = "Mcp-Session-Id" in dict(session_headers)
        self._max_message_bytes = max_message_bytes
        self._settled = settled
        self._last_event_id: str | None = None
        self._retry_ms: int | None = None
        self._stood = False
        """The server has offered the stream once."""

    async def run(self) -> None:
        """Listen; returns when the server offers no stream, or does not know the session any more."""
        http, delay = self._upstream.context.http, FIRST_DELAY_S
        while True:
            began, renewals = trio.current_time(), http.renewals
            if not await self._listen_once():
                return
            if trio.current_time() - began > LIVED_S:
                delay = FIRST_DELAY_S
            with trio.move_on_after(self._pause(delay)) as pause:
                await http.wait_renewed(renewals)
            delay = min(delay * 2, LAST_DELAY_S) if pause.cancelled_caught else FIRST_DELAY_S

    def _pause(self, delay: float) -> float:
        """How long to wait: at least as long as the server asked for, if it did."""
        asked = None if self._retry_ms is None else max(self._retry_ms / 1000, SHORTEST_DELAY_S)
        jitter = 1 + random.uniform(0, JITTER)  # noqa: S311  (nobody gains by guessing it)
        return (delay if asked is None else asked) * jitter

    async def _listen_once(self) -> bool:
        """One GET, to its end; False when there is no use in another."""
        events = SseReader(self._max_message_bytes)
        events.last_event_id, events.retry_ms = self._last_event_id, self._retry_ms

        def take(data: bytes) -> None:
            events.receive_data(data)
            self._read(events)

        headers = (("Accept", "text/event-stream"), *self._resume(), *self._session_headers)
        downstream = self._upstream.downstream
        with Stream(self._endpoint, headers, downstream, take, renewable=True) as stream:
            try:
                refusal = await stream.wait_head()
            except McpctlError:
                self._settled()
                return True  # noqa: ASYNC910  (`wait_head` has waited)
            self._settled()
            if refusal is not None or media_type(stream.head) != "text/event-stream":
                return self._is_worth_another(stream.head.status, refusal)
            self._stood = True
            await stream.wait_end()
        self._last_event_id, self._retry_ms = events.last_event_id, events.retry_ms
        return True

    def _is_worth_another(self, status: int, refusal: Refusal | None) -> bool:
        """What to make of an answer that is no stream; a session that is lost is told."""
        # A server without the stream may say 404, and one that has it 409 to the second: only where it stood before,
        # and is not in the way of itself, do these tell of the session.
        if refusal is not None and self._stood and status in (400, 404):
            name = self._upstream.context.server.name
            error = explain_loss(refusal, name, self._endpoint, named=self._named)
            if error is not None:
                self._upstream.log.info("upstream.session_lost", extra={"status": status})
                self._upstream.downstream.lost(None, error)
                return False
        self._upstream.log.debug("server.no_stream", extra={"status": status})
        return status >= 500 or status in (408, 429) or (status == 409 and self._stood)

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
