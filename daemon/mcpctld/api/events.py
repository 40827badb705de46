"""`GET /v1/events`: the event bus as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import trio
from quart.wrappers import Response
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse

from mcpctl import shapes
from mcpctld.api.engine import Engine
from mcpctld.api.envelope import encode
from mcpctld.api.route import Call
from mcpctld.api.streams import EventStreams
from mcpctld.sessions.events import Subscription

CONTENT_TYPE = "text/event-stream"

KEEP_ALIVE_S = 15.0
"""Of silence, before a comment is sent: a reader can tell a quiet daemon from a hung one."""

LAST = "daemon.draining"
"""The event after which a stream ends."""

LISTENING = b": listening\n\n"
"""The first thing sent; whatever happens after a reader has seen it will reach that reader."""

KEEP_ALIVE = b": keep-alive\n\n"


class EventBody(ResponseBody):
    """The body of one stream: listens from when it is first sent until its reader leaves.

    It ends with `daemon.draining`, or when the bus is closed. An iterator rather than a generator,
    because the clean-up of an abandoned generator happens whenever the collector gets to it.
    """

    def __init__(self, engine: Engine, streams: EventStreams) -> None:
        self._engine = engine
        self._streams = streams
        self._stack = ExitStack()
        self._events: Subscription | None = None
        self._greeted = False
        self._done = False

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._events = self._stack.enter_context(self._engine.events.subscribe())
        self._streams.add(self._events)
        self._stack.callback(self._streams.discard, self._events)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._done or self._events is None:
            raise StopAsyncIteration
        if not self._greeted:
            await trio.lowlevel.checkpoint()
            self._greeted = True
            return LISTENING
        with trio.move_on_after(KEEP_ALIVE_S):
            return await self._next_frame(self._events)
        self._done = self._engine.draining
        return KEEP_ALIVE

    async def _next_frame(self, events: Subscription) -> bytes:
        try:
            event = await events.receive()
        except trio.EndOfChannel as exc:
            raise StopAsyncIteration from exc
        self._done = event["type"] == LAST
        return frame(event)


def frame(event: shapes.Event) -> bytes:
    """One event on the wire. JSON has no bare newline, so it always fits on one `data:` line."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encode(event))


def stream_events(call: Call) -> Response:
    """The stream; a HEAD request gets its headers alone, for it would never end."""
    if call.method == "HEAD":
        return TrioResponse(b"", 200, content_type=CONTENT_TYPE)
    body = EventBody(call.engine, call.streams)
    response = TrioResponse(body, 200, content_type=CONTENT_TYPE)
    response.timeout = None  # else Quart ends it after a minute
    return response
