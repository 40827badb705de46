"""What happened, told to whoever listens: the source of `GET /v1/events`."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from mcpctl import shapes

QUEUE_LIMIT = 256
"""Events kept for one listener: a short pause loses nothing, and a hung reader costs 100 KiB."""

DROPPED = "dropped"
"""The type of the event that stands where others were lost; its `data` is `{"count": N}`."""


class Subscription(trio.abc.ReceiveChannel[shapes.Event]):
    """One listener's end of the bus, made by `EventBus.subscribe`; for one task at a time.

    Iteration ends once the bus is closed and all that was queued has been read.
    """

    def __init__(self) -> None:
        self._queue: deque[shapes.Event] = deque()
        self._lost = 0
        self._ended = False
        self._closed = False
        self._reader = trio.lowlevel.ParkingLot()

    def put(self, event: shapes.Event) -> None:
        """Queue `event`; when the queue is full the oldest one goes, and is counted."""
        if len(self._queue) >= QUEUE_LIMIT:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(event)
        self._reader.unpark_all()

    def end(self) -> None:
        """Nothing more will come: what is queued may still be read."""
        self._ended = True
        self._reader.unpark_all()

    async def receive(self) -> shapes.Event:
        """The next event. Cancelling loses none.

        Raises `trio.EndOfChannel` after the last one, and `trio.ClosedResourceError` once this
        end is closed.
        """
        await trio.lowlevel.checkpoint()
        while not (self._queue or self._ended or self._closed):
            await self._reader.park()
        if self._closed:
            raise trio.ClosedResourceError
        if self._lost:  # the lost ones were older than all that is queued, so this comes first
            lost, self._lost = self._lost, 0
            return {"type": DROPPED, "at": time.time(), "data": {"count": lost}}
        if not self._queue:
            raise trio.EndOfChannel
        return self._queue.popleft()

    def close(self) -> None:
        """Stop listening; whoever waits in `receive` gets `trio.ClosedResourceError`."""
        self._closed = True
        self._queue.clear()
        self._reader.unpark_all()

    async def aclose(self) -> None:
        """The same, for `async with`."""
        self.close()
        await trio.lowlevel.checkpoint()


class EventBus:
    """Carries events to any number of listeners; a slow one loses its oldest and delays nobody.

    Belongs to the trio thread: call nothing here from another one.
    """

    def __init__(self) -> None:
        self._subscribers: set[Subscription] = set()
        self._closed = False

    def publish(self, type_: str, data: dict[str, Any] | None = None) -> None:
        """Tell every listener, now and without waiting; `data` must be JSON and hold no secret.

        Without listeners this costs one comparison; where `data` is dear, ask `listening` first.
        """
        if not self._subscribers:
            return
        event: shapes.Event = {"type": type_, "at": time.time(), "data": data or {}}
        for subscriber in self._subscribers:
            subscriber.put(event)

    @property
    def listening(self) -> int:
        """How many listeners there are."""
        return len(self._subscribers)

    def close(self) -> None:
        """End every channel once its queue has been read, and that of later listeners at once."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.end()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Listen from now on until the block ends.

        `with bus.subscribe() as events: async for event in events: ...`
        """
        subscription = Subscription()
        if self._closed:
            subscription.end()
        self._subscribers.add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers.discard(subscription)
            subscription.close()
