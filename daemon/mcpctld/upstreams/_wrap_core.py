"""One process behind `fly mcp wrap`, for all sessions that use it: the one GET, and POSTs one after the other.

The GET carries what the process says, line by line; while another client holds it, ours is answered 409. What is said
while nobody listens is lost, so nothing is sent before the GET stands, and what was in flight when it broke has failed.
POSTs go one at a time: the wrapper would mix those that come together.

It lives in the daemon's nursery, from its first session to its last.
"""

import logging
import re
import secrets
from typing import Protocol

import trio

from mcpctld.errors import (
    Conflict,
    InternalError,
    McpctlError,
    NotFound,
    PeerError,
    TimedOut,
    Unreachable,
)
from mcpctld.logs import FieldLogger
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import Batch, Malformed, Message, guess_id, parse
from mcpctld.protocols.mcp.methods import REPEATABLE
from mcpctld.protocols.mcp.sharing.calls import Member
from mcpctld.protocols.mcp.sharing.events import Deliver, Event, Outgoing
from mcpctld.protocols.mcp.sharing.session import Sharing
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.upstreams._base import Context, Downstream, never_sent, too_long
from mcpctld.upstreams._deadlines import Deadlines
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._lane import method_of, requests_in
from mcpctld.upstreams._refusals import Refusal, explain, media_type
from mcpctld.upstreams._stream import Stream
from mcpctld.upstreams._wrap_post import WrapPost

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 10.0
GHOST_S = 5.0
"""For so long after our own GET broke, a 409 may mean that the wrapper has not noticed yet."""
HEAD_S = 3.0
"""Some releases of the wrapper send the head of their answer to the GET only with the first line of the process."""
RENEWAL_BOUND_S = 15.0
"""How long the others wait for a process that may be a new one to answer the handshake made again."""
LAG_S = 10.0
"""For so long all wait for one client that does not read what it is told; then it has to go."""
HIGHEST_FIRST_ID = 1 << 30
"""Leaves as many again within 31 bits, which is what some servers read numbers as."""

HUB = "fly-wrap"
LEFT = "fly-wrap left"
"""When (trio's time) the last GET ended, for the next core."""

_SSE_FIELD = re.compile(rb"(?:event|data|id|retry)?:")


class Seat(Protocol):
    """A session, as the core sees it."""

    downstream: Downstream

    def ended(self, error: McpctlError, unsent: list[Message | Batch]) -> None:
        """The process is of no more use to it: why, and what the process has not got."""


def core_of(context: Context) -> "WrapCore":
    """The one that serves all sessions of the same server and credentials; it is begun for the first."""
    hubs = context.shared.hubs
    core = hubs.get(HUB)
    if not isinstance(core, WrapCore):
        left = hubs.get(LEFT)
        hubs[HUB] = core = WrapCore(context, left if isinstance(left, float) else -GHOST_S)
        context.shared.nursery.start_soon(core.run)
    return core


class WrapCore:
    """The connection to the wrapper, and who sits at it. It ends with its last session, or when there is no wrapper."""

    def __init__(self, context: Context, lost_at: float) -> None:
        """`lost_at`: when an earlier GET of ours ended."""
        self.log = FieldLogger(
            logging.getLogger("mcpctld.session"), {"server": context.server.name}
        )
        self._name = context.server.name
        self._shared = context.shared
        self._http = context.http
        self._limit = context.max_message_bytes
        self._bound_s = context.spec.call_timeout_s
        self._endpoint = Endpoint(context, context.spec.url or "")
        self._sharing = Sharing(secrets.randbelow(HIGHEST_FIRST_ID))
        self._seats: dict[Member, Seat] = {}
        self._lines = LineReader(self._limit)
        self._stream: Stream | None = None
        self._post: WrapPost | None = None
        self._deadlines: Deadlines[WrapPost]
        self._scope = trio.CancelScope()
        self._room = trio.lowlevel.ParkingLot()
        self._lost_at = lost_at
        self._standing = False
        self._stood = False  # once
        self._within_line = False
        self._proven = False
        self._busy: Conflict | None = None
        self._needed: trio.Event | None = None
        """While at rest: set when somebody sends something."""
        self._wrong: McpctlError | None = None
        self._pumping = False

    # ------------------------------------------------------------ the sessions

    def join(self, seat: Seat, *, within_line: bool) -> Member:
        """One more session. `within_line`: the process may have got a message without the newline that ends it."""
        self._within_line = self._within_line or within_line
        member = self._sharing.join()
        self._seats[member] = seat
        self._count()
        return member

    def leave(self, member: Member, error: McpctlError) -> list[Message | Batch]:
        """A session goes; its requests have failed with `error`. What the process has not got."""
        unsent = self._sharing.leave(member, error)
        while (event := self._sharing.next_event()) is not None:
            self._tell(event)
        del self._seats[member]
        self._count()
        if self._seats:
            self._pump()
        else:
            self._close()
        return unsent

    def rest(self) -> None:
        """Let go of the GET until somebody sends something, if no answer may come on it."""
        if self._standing and self._stream is not None and not self._sharing.in_flight:
            self._needed = trio.Event()
            self._stream.cut(Unreachable("nobody called for a while, and the server may sleep"))

    def _count(self) -> None:
        self._shared.sharing = len(self._seats)

    def send(self, member: Member, message: Message | Batch) -> None:
        """Bring it to the process when its turn comes; refused at once while a client of others holds the wrapper."""
        if self._busy is not None:
            for request in requests_in(message):
                self._seats[member].downstream.fail(request.id, self._busy)
            return
        if self._needed is not None:
            self._needed.set()
        self._sharing.send(member, message)
        self._pump()

    def forget(self, member: Member, id: bytes) -> None:
        """The client's request is not waited for any more."""
        self._sharing.forget(member, id)
        self._pump()

    @property
    def full(self) -> bool:
        """True when the process does not read what it is sent."""
        under_way = len(self._post.outgoing.body) if self._post is not None else 0
        return self._sharing.queued + under_way > self._limit

    async def wait_room(self) -> None:
        """Wait until the process has read on."""
        await trio.lowlevel.checkpoint()
        while self.full:
            await self._room.park()

    # ------------------------------------------------------------ life

    async def run(self) -> None:  # noqa: ASYNC910  (it holds the GET, or has ended)
        """Hold the GET until the last session has gone, or there is no use in it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._deadlines = Deadlines(nursery)
                    await self._hold()
        except* McpctlError as group:
            self._end(group.exceptions[0])
        except* Exception:  # a bug at one server must not cost the others theirs
            self.log.exception("server.failed")
            self._end(InternalError("the daemon failed; see mcpctl logs --daemon"))

    def _end(self, error: BaseException) -> None:
        """Of no more use to anybody."""
        assert isinstance(error, McpctlError)
        for member in tuple(self._seats):
            self._send_away(member, error)

    def _send_away(self, member: Member, error: McpctlError) -> None:
        seat = self._seats[member]
        seat.ended(error, self.leave(member, error))

    def _close(self) -> None:
        """The last session has gone."""
        self._standing = False
        self._drop_post()
        self._scope.cancel()
        self._room.unpark_all()
        self._shared.hubs[LEFT] = trio.current_time() if self._stood else self._lost_at
        del self._shared.hubs[HUB]

    # ------------------------------------------------------------ the GET

    async def _hold(self) -> None:
        """Take the GET again and again: the wrapper's machine may sleep between two calls."""
        delay = FIRST_DELAY_S
        while True:
            try:
                await self._listen()
                delay = FIRST_DELAY_S
            except Conflict as exc:
                if trio.current_time() - self._lost_at >= GHOST_S:
                    self._give_up(exc)
                    self._busy = exc
            except (Unreachable, TimedOut) as exc:
                self._give_up(exc)
            if self._needed is not None:
                await self._needed.wait()
                self._needed = None
            else:
                await trio.sleep(delay)
                delay = min(delay * 2, LAST_DELAY_S)

    async def _listen(self) -> None:
        """One GET, to its end. Raises what it was refused with."""
        self._lines = LineReader(self._limit)
        headers = (
            ("Accept", "application/json"),
        )  # which these lines are, whatever they are labelled
        with Stream(self._endpoint, headers, self, self._take) as stream:
            self._stream = stream
            try:
                await self._wait_standing(stream)
            except McpctlError as exc:
                self._fall(exc)
                raise
            await self._wait_end(stream)
        if self._wrong is not None:
            raise self._wrong
        why = f" ({stream.error})" if stream.error else ""
        self._lost_at = trio.current_time()
        self._fall(
            Unreachable(
                f"{self._name} closed the connection{why}; what it answers meanwhile is lost"
            )
        )

    async def _wait_standing(self, stream: Stream) -> None:
        with trio.move_on_after(HEAD_S) as waiting:
            refusal = await stream.wait_head()
        if waiting.cancelled_caught:
            self._stand()
            refusal = await stream.wait_head()
        if refusal is not None:
            raise explain(refusal, self._name, self._endpoint)
        if media_type(stream.head) != "text/event-stream":
            kind = media_type(stream.head) or "no content type"
            raise PeerError(f"{self._endpoint.url} answered with {kind}, not as `fly mcp wrap`")
        self._endpoint.remember_cookies(stream.head.headers)
        self._stand()

    def _stand(self) -> None:
        """Begin, or go on."""
        if self._standing:
            return
        self._busy, self._standing = None, True
        if self._stood:
            self._sharing.renew()
        self._stood = True
        self._pump()

    async def _wait_end(self, stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_network, stream)
            with trio.move_on_after(RENEWAL_BOUND_S):
                await stream.wait_end()
            self._sharing.stop_waiting()
            self._pump()
            await stream.wait_end()
            nursery.cancel_scope.cancel()

    async def _watch_network(self, stream: Stream) -> None:
        """A GET over another network is as good as dead; but while an answer may come on it, probing must tell."""
        renewals = self._http.renewals
        while True:
            await self._http.wait_renewed(renewals)
            renewals = self._http.renewals
            if not self._sharing.in_flight and not self._endpoint.origin.is_loopback:
                stream.cut(Unreachable("the network has changed"))

    def _fall(self, error: McpctlError) -> None:
        """The GET does not stand any more: what was sent has failed, the rest waits."""
        self._standing = False
        self._drop_post()
        self._sharing.broke(error)
        self._pump()

    def _give_up(self, error: McpctlError) -> None:
        """There is no GET for now: what waits for it has failed."""
        self._sharing.fail_queued(never_sent(error))
        self._pump()

    # ------------------------------------------------------------ what the process says

    @property
    def client_full(self) -> bool:
        """True when one of the clients lags behind."""
        return any(seat.downstream.client_full for seat in self._seats.values())

    async def wait_client(self) -> None:
        """Wait until all have caught up; who does not, while others wait, has to go."""
        await trio.lowlevel.checkpoint()
        for member, seat in tuple(self._seats.items()):
            while member in self._seats and seat.downstream.client_full:
                with trio.move_on_after(LAG_S) as waiting:
                    await seat.downstream.wait_client()
                if waiting.cancelled_caught and len(self._seats) > 1 and member in self._seats:
                    text = "the client does not read, and others share the server's process with it"
                    self._send_away(member, Unreachable(text))

    def _take(self, data: bytes) -> None:
        self._lines.receive_data(data)
        while (line := self._lines.next_event()) is not None:
            match line:
                case bytes():
                    self._receive(line)
                case TooLong():
                    self._drop(line)
                case HalfLine():
                    raise AssertionError("the reader was not told of an end")

    def _receive(self, line: bytes) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            if not self._proven and _SSE_FIELD.match(line):
                self._prove_wrong(
                    self._not_this("speaks HTTP+SSE, or another transport with events")
                )
            else:
                self.log.warning("server.garbage", extra={"reason": exc.reason})
            return
        self._proven = True
        self._sharing.receive(message)
        self._pump()

    def _drop(self, line: TooLong) -> None:
        self.log.warning("server.too_long", extra={"bytes": line.length})
        if (id := guess_id(line.head, line.tail)) is not None:
            self._sharing.fail(id, too_long(line.length, self._limit))
            self._pump()

    def _not_this(self, what: str) -> PeerError:
        return PeerError(f"{self._endpoint.url} {what}, not the dialect of `fly mcp wrap`")

    def _prove_wrong(self, error: McpctlError, *, unread: bool = False) -> None:
        """This is no wrapper: nothing more is sent, and what is under way may be sent to what it is.

        `unread`: that was refused; else it may have been carried out.
        """
        self._standing, self._wrong = False, error
        post, said = self._post, self._post.outgoing.said if self._post else None
        if post is not None:
            self._drop_post()
            if said is not None and (unread or method_of(said.message) in REPEATABLE):
                self._sharing.take_back(post.outgoing)
        if self._stream is not None:
            self._stream.cut(error)

    # ------------------------------------------------------------ the POSTs

    def _pump(self) -> None:
        """Tell clients and process what there is to tell: what that makes happen may come back here at once."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._step():
                pass
        finally:
            self._pumping = False
        if self._room and not self.full:
            self._room.unpark_all()

    def _step(self) -> bool:
        """Do one thing; False when there is nothing to do."""
        event = self._sharing.next_event()
        if event is None and self._standing and self._post is None:
            outgoing = self._sharing.next_message()
            if outgoing is not None:
                self._submit(outgoing)
                return True
            event = self._sharing.next_event()
        if event is not None:
            self._tell(event)
        return event is not None

    def _tell(self, event: Event) -> None:
        seat = self._seats.get(event.member)
        if seat is None:  # an answer to a request that was given up when its session went
            return
        if isinstance(event, Deliver):
            seat.downstream.deliver(event.message)
        else:
            seat.downstream.fail(event.id, event.error)

    def _submit(self, outgoing: Outgoing) -> None:
        prefix, self._within_line = b"\n" if self._within_line else b"", False
        self._post = post = WrapPost(self, outgoing)
        self._deadlines.set(post, self._bound_s, self._overdue)
        post.submit(self._endpoint, prefix)

    def _overdue(self, post: WrapPost) -> None:
        """The process does not read. Half of the message may be there."""
        said = post.outgoing.said
        method = method_of(said.message) if said is not None else ""
        self.log.warning("server.not_accepted", extra={"bound_s": self._bound_s, "method": method})
        self._within_line = True
        post.cancel()
        self.lost(post, TimedOut(f"{self._name} did not take it within {self._bound_s:g} s"))

    def _drop_post(self) -> None:
        if self._post is not None:
            self._post.cancel()
            self._done(self._post)

    def _done(self, post: WrapPost) -> None:
        self._deadlines.drop(post)
        self._post = None

    # ------------------------------------------------------------ what the POSTs report

    def accepted(self, post: WrapPost) -> None:
        """The process has it."""
        self._done(post)
        self._pump()

    def refused(self, post: WrapPost, refusal: Refusal) -> None:
        """The wrapper has not taken it; the real one takes a POST wherever it takes a GET."""
        error = explain(refusal, self._name, self._endpoint)
        if isinstance(error, NotFound) and not self._proven:
            self._prove_wrong(error, unread=True)
        else:
            self.lost(post, error)

    def lost(self, post: WrapPost, error: McpctlError) -> None:
        """Not delivered, or nobody knows."""
        self._done(post)
        for id in post.outgoing.ids:
            self._sharing.fail(id, error)
        self._pump()

    def answered(self, post: WrapPost, head: Head) -> None:
        """It is another transport, unless it has proven to be a wrapper: then it is an odd one."""
        if self._proven:
            self.accepted(post)
        else:
            self._prove_wrong(self._not_this(f"answered a POST with {media_type(head)}"))
