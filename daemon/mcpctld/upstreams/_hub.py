"""One stream of changes for all sessions with a server of 2026-07-28 (MCP, Subscriptions).

Sessions `join` with their `subscriptions/listen`. One request to the server asks for all that they ask for, and what
it brings is told to each that asked for it. When the union changes, the next stream is opened before the one in use
is closed. A stream that broke is opened again, and those who listen are told that all may have changed.
"""

import random
from collections.abc import Awaitable, Callable

import trio

from mcpctld.errors import McpctlError, PeerError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Kind, Message, read_error
from mcpctld.protocols.mcp.asides import Envelope, envelope_of, make_request
from mcpctld.protocols.mcp.listening import (
    ACKNOWLEDGED,
    LISTEN,
    Filter,
    concerned,
    read_honoured,
    union,
    write_filter,
)
from mcpctld.upstreams._aside import Aside, Outside
from mcpctld.upstreams._base import Context
from mcpctld.upstreams._post import Owner, Post
from mcpctld.upstreams._refusals import Refusal
from mcpctld.upstreams._seat import Seat
from mcpctld.upstreams._shared import Shared

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 60.0
NARROW_S = 1.0
"""How long more is asked for than is wanted: who leaves seldom leaves alone."""
ACKNOWLEDGE_BOUND_S = 60.0
"""The server may have to be woken first."""
LIVED_S = 10.0
"""A stream that held this long was a good one: the next failure starts counting anew."""
TRANSIENT = frozenset({408, 425, 429})
"""Refusals, beside 5xx, that another attempt may not meet."""


def join(context: Context, owner: Owner, post: Post, version: str, wanted: Filter) -> Seat:
    """Listen together with the other sessions, of the same revision; the POST is answered as if it had been sent."""
    key, hubs = f"listen {version}", context.shared.hubs
    if key not in hubs:
        hubs[key] = Hub(key, context.shared, Outside.of(context))
    hub = hubs[key]
    assert isinstance(hub, Hub)
    seat = Seat(owner, context.nursery, post, wanted, hub.leave)
    hub.take(seat, envelope_of(post.message.params if isinstance(post.message, Message) else b""))
    return seat


def hubs_of(shared: Shared) -> "list[Hub]":
    """All hubs of a server, one for each revision that its clients speak."""
    return [hub for hub in shared.hubs.values() if isinstance(hub, Hub)]


class _Stream(Aside):
    """One listen to the server."""

    def __init__(self, hub: "Hub", outside: Outside, request: Message, wanted: Filter) -> None:
        super().__init__(outside, request)
        self.wanted = wanted
        self.honoured = Filter()
        self.began = trio.current_time()
        self.renewals = outside.http.renewals
        self._hub = hub

    def on_message(self, message: Message) -> None:
        """Tell the hub."""
        if message.kind in (Kind.RESULT, Kind.ERROR):
            self._hub.answered(self, message)
        elif message.method == ACKNOWLEDGED:
            self._hub.acknowledged(self, read_honoured(message))
        else:
            self._hub.heard(message)

    def on_refused(self, refusal: Refusal) -> None:
        """Tell the hub."""
        self._hub.refused(self, refusal)

    def on_broken(self, error: McpctlError) -> None:
        """Tell the hub."""
        self._hub.broke(self, error)


class Hub:
    """Holds the stream as long as somebody listens. A task runs only while something is waited for that has a bound."""

    def __init__(self, key: str, shared: Shared, outside: Outside) -> None:
        self._key = key
        self._shared = shared
        self._outside = outside
        self._seats: dict[Seat, Envelope] = {}
        self._stream: _Stream | None = None
        """In use: acknowledged."""
        self._next: _Stream | None = None
        """To be used when it is acknowledged."""
        self._pausing = False
        """The next is not opened before the timer is over."""
        self._gap = False
        """There was no stream for a while."""
        self._delay_s = FIRST_DELAY_S
        self._resting = False
        """No stream is wanted until somebody calls."""
        self._timer = trio.CancelScope()
        self._streams = 0

    # ------------------------------------------------------------ who listens

    def take(self, seat: Seat, envelope: Envelope) -> None:
        """One more listens; `envelope` says who its client is."""
        self._seats[seat] = envelope
        if self._stream is not None and self._stream.wanted.covers(seat.wanted):
            seat.acknowledge(self._stream.honoured & seat.wanted)
        else:
            self._pausing = self._resting = False
            self._adjust()

    def leave(self, seat: Seat) -> None:
        """One does not listen any more."""
        self._seats.pop(seat, None)
        if not self._seats:
            self._close()
        elif self._stream is not None and self._next is None and not self._pausing:
            self._pausing = True
            self._start_timer(self._narrow, self._stream)

    def _adjust(self) -> None:
        """Have a stream for what is wanted now, or none."""
        if not self._seats:
            self._close()
        elif self._next is None and not self._pausing and not self._resting:
            wanted = union(seat.wanted for seat in self._seats)
            if self._stream is None or self._stream.wanted != wanted:
                self._open(wanted)

    def _open(self, wanted: Filter) -> None:
        self._streams += 1
        id = b'"mcpctl:listen:%d"' % self._streams
        envelope = next(iter(self._seats.values()))
        request = make_request(id, LISTEN, envelope, {"notifications": write_filter(wanted)})
        self._next = stream = _Stream(self, self._outside, request, wanted)
        self._start_timer(self._bound, stream)
        stream.begin()

    def rest(self) -> None:
        """Let go of the stream until `resume`, unless a client still waits for it to stand."""
        if all(seat.honoured is not None for seat in self._seats):
            self._drop_streams()
            self._resting, self._pausing, self._gap = True, False, True

    def resume(self) -> None:
        """Have a stream again."""
        self._resting = False
        self._adjust()

    def _drop_streams(self) -> None:
        self._timer.cancel()
        for stream in (self._stream, self._next):
            if stream is not None:
                stream.cancel()
        self._stream = self._next = None

    def _close(self) -> None:
        self._drop_streams()
        if self._shared.hubs.get(self._key) is self:
            del self._shared.hubs[self._key]

    # ------------------------------------------------------------ what the streams report

    def acknowledged(self, stream: _Stream, honoured: Filter) -> None:
        """It takes the place of the one before; who waited for it begins to listen."""
        if stream is not self._next:
            return
        self._timer.cancel()
        old, self._stream, self._next = self._stream, stream, None
        stream.honoured = honoured & stream.wanted
        if old is not None:
            old.cancel()
        gap, self._gap = self._gap, False
        for seat in tuple(self._seats):
            if seat not in self._seats:  # its client has left because of what another one heard
                continue
            if seat.honoured is not None and gap:
                seat.say_changed(stream.honoured)
            elif seat.honoured is None and stream.wanted.covers(seat.wanted):
                seat.acknowledge(stream.honoured & seat.wanted)
        self._adjust()

    def heard(self, message: Message) -> None:
        """Tell whom it concerns."""
        listens = {seat: seat.honoured for seat in self._seats if seat.honoured is not None}
        for seat in concerned(message, listens):
            if seat in self._seats:
                seat.hear(message)

    def answered(self, stream: _Stream, response: Message) -> None:
        """The server has ended the listen, in good order or with an error."""
        failed = response.kind is Kind.ERROR
        why = read_error(response)[1] if failed else "ended by the server"
        self._ended(stream, why, lambda seat: seat.end(response), final=failed)

    def refused(self, stream: _Stream, refusal: Refusal) -> None:
        """The server does not want it, or not now."""
        final = refusal.status < 500 and refusal.status not in TRANSIENT
        why = f"refused with status {refusal.status}"
        self._ended(stream, why, lambda seat: seat.refuse(refusal), final=final)

    def broke(self, stream: _Stream, error: McpctlError) -> None:
        """The connection was lost, or never made."""
        final = not isinstance(error, Unreachable | TimedOut | PeerError)
        if not final:
            error.unprocessed = True  # to listen changes nothing: it can be asked for again
        self._ended(stream, str(error), lambda seat: seat.fail(error), final=final)

    # ------------------------------------------------------------ after a stream

    def _ended(
        self, stream: _Stream, why: str, tell: Callable[[Seat], None], *, final: bool
    ) -> None:
        """Who waits for this stream is told why; who listens already waits for another, if that is of any use."""
        stream.cancel()
        self._outside.log.info("listen.ended", extra={"reason": why})
        if stream is self._stream:
            self._stream, self._gap = None, True
            if trio.current_time() - stream.began > LIVED_S:
                self._delay_s = FIRST_DELAY_S
        else:
            self._next = None
            self._dismiss(tell, everybody=final and self._stream is None)
        if self._seats and self._next is None:
            self._pausing = True
            self._start_timer(self._pause, stream)
        self._adjust()

    def _dismiss(self, tell: Callable[[Seat], None], *, everybody: bool) -> None:
        for seat in [seat for seat in self._seats if everybody or seat.honoured is None]:
            if self._seats.pop(seat, None) is not None:
                tell(seat)

    # ------------------------------------------------------------ time

    def _start_timer(self, wait: Callable[[_Stream], Awaitable[None]], stream: _Stream) -> None:
        """There is one: while something is being opened there is no pause."""
        self._timer.cancel()
        self._timer = trio.CancelScope()
        self._shared.nursery.start_soon(self._run_timer, self._timer, wait, stream)

    async def _run_timer(
        self,
        timer: trio.CancelScope,
        wait: Callable[[_Stream], Awaitable[None]],
        stream: _Stream,
    ) -> None:
        with timer:
            await wait(stream)

    async def _narrow(self, stream: _Stream) -> None:
        """Some have left: ask for less, in a moment."""
        await trio.sleep(NARROW_S)
        self._pausing = False
        self._adjust()

    async def _bound(self, stream: _Stream) -> None:
        """Do not wait for an acknowledgement for ever."""
        await trio.sleep(ACKNOWLEDGE_BOUND_S)
        name, bound = self._outside.server, f"{ACKNOWLEDGE_BOUND_S:.0f} s"
        self.broke(stream, TimedOut(f"{name} did not acknowledge a listen within {bound}"))

    async def _pause(self, stream: _Stream) -> None:
        """Wait before the next attempt: not all daemons must come back to a server at the same moment."""
        delay_s = self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311  (nobody gains by guessing it)
        self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)
        with trio.move_on_after(delay_s) as pause:
            await self._outside.http.wait_renewed(stream.renewals)
        if not pause.cancelled_caught:  # another network: what failed before tells nothing
            self._delay_s = FIRST_DELAY_S
        self._pausing = False
        self._adjust()
