"""`subscriptions/listen`, behind what older revisions had: `resources/subscribe`, and `list_changed` for everybody.

MCP 2026-07-28, Subscriptions. What a listen request is about cannot be changed, so a change takes a new one: it is
made, acknowledged, and then the old one is given up; no notification falls in between. Where the listening breaks off,
it is taken up again, and the client is told that anything may have changed.
"""

import math

from mcpctld.errors import McpctlError, PeerError, TimedOut
from mcpctld.protocols.jsonrpc import Message, id_key
from mcpctld.protocols.mcp.eras import METHOD_NOT_FOUND
from mcpctld.protocols.mcp.legacy_to_modern.errors import INVALID_PARAMS, foreign_error
from mcpctld.protocols.mcp.legacy_to_modern.outbound import Outbound
from mcpctld.protocols.mcp.legacy_to_modern.pauses import Pauses
from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    close_text,
    open_array,
    open_object,
    open_text,
    read_part,
)

MAX_SUBSCRIPTIONS = 1000
ACKNOWLEDGED_S = 60.0
"""How long a server may take to acknowledge."""
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 60.0
"""Before the listening is taken up again."""
LIVED_S = 10.0
"""A listening that held this long was a good one: the next pause is the first again."""

Waiter = tuple[bytes, str]
"""The id (JSON text) of a client's `resources/subscribe`, and its URI."""


class _Listen:
    """One listen request. `id` is JSON text."""

    def __init__(self, id: bytes, uris: frozenset[str], now: float) -> None:
        self.id = id
        self.key = id_key(id)
        self.uris = uris
        self.began = now


class Listens:
    """What the client wants to hear of, and the listen requests for it: one, or two while it changes."""

    def __init__(self, out: Outbound) -> None:
        self._out = out
        self._changes: tuple[str, ...] = ()
        self._uris: dict[str, None] = {}
        self._current: _Listen | None = None
        self._pending: _Listen | None = None  # not acknowledged yet
        self._outdated = False  # what is wanted has changed since `pending` was made
        self._missed = False  # something may have been
        self._waiters: list[Waiter] = []
        self._pauses = Pauses(FIRST_PAUSE_S, LAST_PAUSE_S)
        self._due = math.inf

    @property
    def deadline(self) -> float:
        """When an acknowledgement is overdue, or the listening is to be taken up again."""
        overdue = self._pending.began + ACKNOWLEDGED_S if self._pending else math.inf
        return min(self._due, overdue)

    # ------------------------------------------------------------ from the client

    def begin(self, changes: tuple[str, ...], now: float) -> None:
        """Listen for changes of these lists (`tools`, `prompts`, `resources`) from now on."""
        self._changes = changes
        self._change(now)

    def subscribe(self, id: bytes, uri: str, now: float) -> None:
        """`resources/subscribe`: answered when the server has acknowledged it."""
        if self._current and uri in self._current.uris and uri in self._uris:
            self._out.answer(id, b"{}")
        elif uri not in self._uris and len(self._uris) >= MAX_SUBSCRIPTIONS:
            text = f"at most {MAX_SUBSCRIPTIONS} resources can be subscribed to"
            self._out.refuse(id, INVALID_PARAMS, text)
        else:
            self._waiters.append((id, uri))
            if uri not in self._uris or self._pending is None:
                self._uris[uri] = None
                self._change(now)

    def unsubscribe(self, id: bytes, uri: str, now: float) -> None:
        """`resources/unsubscribe`."""
        self._out.answer(id, b"{}")
        if uri in self._uris:
            self._refuse({uri}, "it was unsubscribed from meanwhile")
            self._change(now)

    def forget(self, id: bytes) -> bool:
        """The client's request is not to be answered any more; whether it was one of those that wait here."""
        kept = [waiter for waiter in self._waiters if id_key(waiter[0]) != id_key(id)]
        found = len(kept) < len(self._waiters)
        self._waiters = kept
        return found

    # ------------------------------------------------------------ from the server

    def knows(self, id: bytes) -> bool:
        """Whether the server means one of our listen requests."""
        return id_key(id) in {listen.key for listen in (self._current, self._pending) if listen}

    def receive_acknowledged(self, id: bytes, notifications: bytes, now: float) -> None:
        """The server listens. `notifications` (JSON text) says what of."""
        listen = self._pending
        if listen is None or id_key(id) != listen.key:
            return  # a layer below has taken up the same again
        if self._current is not None:
            self._out.give_up(self._current.id)
        self._current, self._pending = listen, None
        self._answer(listen, _honoured(notifications))
        if self._missed:
            self._missed = False
            self._tell_missed()
        if self._outdated:
            self._open(now)

    def _answer(self, listen: _Listen, honoured: set[str | None]) -> None:
        self._refuse({*listen.uris} - honoured, "the server does not tell of changes of it")
        waiters, self._waiters = self._waiters, []
        for id, uri in waiters:
            if uri in listen.uris:
                self._out.answer(id, b"{}")
            else:
                self._waiters.append((id, uri))

    def receive_end(self, id: bytes, reason: Message | McpctlError | None, now: float) -> None:
        """A request was answered or has failed: if it is a listen request, that is over. None: it ended in peace."""
        current, pending = self._current, self._pending
        if current is not None and current.key == id_key(id):
            self._current = None
            self._missed = True
            if now - current.began > LIVED_S:
                self._pauses.reset()
        elif pending is not None and pending.key == id_key(id):
            self._pending = None
            self._fail(pending, reason)
        else:
            return
        if self._pending is None:
            self._go_on(now, for_good=_is_unknown(reason))

    def _fail(self, listen: _Listen, reason: Message | McpctlError | None) -> None:
        """The server does not listen: those who wait for it have failed, and with them their subscriptions."""
        waiters, self._waiters = self._waiters, []
        for id, uri in waiters:
            if uri not in listen.uris:
                self._waiters.append((id, uri))
                continue
            self._uris.pop(uri, None)
            if not isinstance(reason, Message):
                ended = PeerError("the server has ended the subscription at once")
                self._out.fail(id, reason or ended)
            elif (error := foreign_error(reason, "subscriptions/listen")) is not None:
                self._out.fail(id, error)
            else:
                self._out.relay_error(id, read_part(reason, "error"))

    def _go_on(self, now: float, *, for_good: bool) -> None:
        """Nothing is under way: take up what changed meanwhile, or what was lost."""
        if self._outdated:
            self._open(now)
        elif self._current is None and not for_good:
            self._due = now + self._pauses.take()

    # ------------------------------------------------------------ time

    def receive_time(self, now: float) -> None:
        """Do what is due."""
        pending = self._pending
        if pending is not None and now >= pending.began + ACKNOWLEDGED_S:
            self._out.give_up(pending.id)
            text = f"the server has not acknowledged a subscription within {ACKNOWLEDGED_S:g} s"
            self.receive_end(pending.id, TimedOut(text), now)
        elif now >= self._due:
            self._open(now)

    # ------------------------------------------------------------ listening

    def _change(self, now: float) -> None:
        if self._pending is None:
            self._open(now)
        else:
            self._outdated = True

    def _open(self, now: float) -> None:
        """Listen for what is wanted now."""
        self._outdated = False
        self._due = math.inf
        if not self._changes and not self._uris:
            if self._current is not None:
                self._out.give_up(self._current.id)
                self._current = None
            return
        listen = _Listen(self._out.new_id(), frozenset(self._uris), now)
        self._pending = listen
        self._out.ask_server(listen.id, "subscriptions/listen", {"notifications": self._wanted()})

    def _wanted(self) -> bytes:
        wanted = {f"{name}ListChanged": b"true" for name in self._changes}
        if self._uris:
            wanted["resourceSubscriptions"] = close_array(map(close_text, self._uris))
        return close_object(wanted)

    def _tell_missed(self) -> None:
        for name in self._changes:
            self._out.tell_client(f"notifications/{name}/list_changed")
        for uri in self._uris:
            params = close_object({"uri": close_text(uri)})
            self._out.tell_client("notifications/resources/updated", params)

    def _refuse(self, uris: set[str], why: str) -> None:
        """These are not subscribed to, or not any more."""
        waiters, self._waiters = self._waiters, []
        for uri in uris:
            self._uris.pop(uri, None)
        for id, uri in waiters:
            if uri in uris:
                self._out.refuse(id, INVALID_PARAMS, f"cannot subscribe to {uri}: {why}")
            else:
                self._waiters.append((id, uri))


def _honoured(notifications: bytes) -> set[str | None]:
    uris = open_object(notifications).get("resourceSubscriptions", b"")
    return {open_text(uri) for uri in open_array(uris)}


def _is_unknown(reason: Message | McpctlError | None) -> bool:
    """A server without the method will not have it in a minute."""
    if not isinstance(reason, Message):
        return False
    return open_object(read_part(reason, "error")).get("code") == b"%d" % METHOD_NOT_FOUND
