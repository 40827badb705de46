"""Requests that wait until the server can ask back (Streamable HTTP, revisions 2025-03-26 to 2025-11-25).

While a server works on a call it may have a question, and it may put that on the stream of the session (GET), which is
opened on a connection of its own: a call on the warm one overtakes it. Many servers drop a question that nobody listens
to, and the call hangs.
"""

import math

import trio

from mcpctld.drivers.http.alarm import Alarm
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.protocols.mcp.methods import ASKING
from mcpctld.upstreams._lane import Lane, requests_in

BOUND_S = 1.0
"""Some servers, and proxies before them, send the head of a stream with its first event only."""


class Hearing:
    """Sets such requests aside, once in each session: from its beginning until its stream stands, or will not."""

    def __init__(self, lane: Lane, nursery: trio.Nursery) -> None:
        self._lane = lane
        self._until = math.inf
        self._alarm = Alarm(nursery, self._on_time)
        self.due = False
        """Whether requests have to be shown to `keeps`: false but for a moment."""

    def begin(self) -> None:
        """The session is complete, and the stream is about to be asked for."""
        self.due = True
        self._until = trio.current_time() + BOUND_S

    def keeps(self, message: Message | Batch) -> bool:
        """Whether it has to wait; then it goes by the lane's `post` again."""
        if not any(request.method in ASKING for request in requests_in(message)):
            return False
        self._lane.set_aside(message)
        self._alarm.set(self._until)
        return True

    def end(self) -> None:
        """The server has answered for the stream, or will not."""
        if self.due:
            self._stop()
            self._lane.rejoin()

    def give_back(self) -> list[Message | Batch]:
        """There is no session any more: what has waited for this one."""
        self._stop()
        return self._lane.take_aside()

    def _stop(self) -> None:
        self.due = False
        self._until = math.inf

    def _on_time(self) -> float:
        if trio.current_time() >= self._until:
            self.end()
        return self._until
