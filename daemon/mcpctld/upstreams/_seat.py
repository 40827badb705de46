"""One session's `subscriptions/listen` at the hub that serves all of them."""

from collections.abc import Callable

import trio

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Kind, Message
from mcpctld.protocols.mcp.listening import (
    Filter,
    acknowledge,
    address,
    address_result,
    say_changed,
    topic_of,
)
from mcpctld.upstreams._http import MAX_REDIRECTS
from mcpctld.upstreams._post import Owner, Post
from mcpctld.upstreams._refusals import Refusal

MAX_LATE = 1000
"""Changes kept for a client that lags behind."""


class Seat:
    """Answers a POST that is never sent. It stands in its place as `Post.exchange`."""

    def __init__(
        self,
        owner: Owner,
        nursery: trio.Nursery,
        post: Post,
        wanted: Filter,
        leave: Callable[["Seat"], None],
    ) -> None:
        """`nursery`: of the session. `leave` is called when the session gives the listen up."""
        self.wanted = wanted
        self.honoured: Filter | None = None
        """What the server agreed to tell; None until it did."""
        self._owner = owner
        self._nursery = nursery
        self._post = post
        (self._id,) = post.pending.values()
        self._leave = leave
        self._late: dict[str, Message] = {}
        """What the client could not take yet, by topic: the last notification about each counts."""

    def cancel(self) -> None:
        """The session does not listen any more."""
        self._late.clear()
        self._leave(self)

    # ------------------------------------------------------------ what the client hears

    def acknowledge(self, honoured: Filter) -> None:
        """The listen begins."""
        self.honoured = honoured
        self._owner.downstream.deliver(acknowledge(self._id, honoured))

    def say_changed(self, honoured: Filter) -> None:
        """Nobody listened for a while, and now this is honoured: all of it may have changed."""
        assert self.honoured is not None
        self.honoured = honoured & self.wanted
        for message in say_changed(self._id, self.honoured):
            self._tell(message)

    def hear(self, notification: Message) -> None:
        """The server says that something has changed."""
        self._tell(address(notification, self._id))

    def _tell(self, message: Message) -> None:
        downstream = self._owner.downstream
        if not self._late and not downstream.client_full:
            downstream.deliver(message)
            return
        if not self._late:
            self._nursery.start_soon(self._tell_later)
        topic = topic_of(message) or ""
        if topic in self._late or len(self._late) < MAX_LATE:
            self._late[topic] = message

    async def _tell_later(self) -> None:
        downstream = self._owner.downstream
        await downstream.wait_client()
        late, self._late = self._late, {}
        for message in late.values():
            downstream.deliver(message)

    # ------------------------------------------------------------ the end

    def end(self, response: Message) -> None:
        """The server answered the listen itself: its end, or an error."""
        post = self._post
        post.relay(address_result(response, self._id) if response.kind is Kind.RESULT else response)
        self._owner.finished(post)

    def refuse(self, refusal: Refusal) -> None:
        """The server refused the listen."""
        self._post.redirects = MAX_REDIRECTS  # they were followed
        self._owner.refused(self._post, refusal)

    def fail(self, error: McpctlError) -> None:
        """The server cannot be reached."""
        self._owner.broke(self._post, error)
