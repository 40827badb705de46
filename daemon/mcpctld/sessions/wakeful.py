"""What goes to a server whose machine may sleep: requests wait here until it has been started.

Stands below the keeper, so that what the keeper says by itself is waited for too. Only servers with `[fly]` have it.
What is no request is not worth waking a machine: it waits for the next one that is.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import replace

import trio

from mcpctld.errors import McpctlError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key, read_params
from mcpctld.protocols.mcp.methods import LASTING
from mcpctld.sessions.layer import Layer
from mcpctld.sessions.waiting import Waiting
from mcpctld.upstreams import Context, Upstream
from mcpctld.upstreams._deadlines import Deadlines
from mcpctld.upstreams._lane import parts_of
from mcpctld.wake.watch import Watch

AGAIN_S = 0.5
"""Before a request is sent again to a machine that has started, and whose server does not listen yet."""


class Wakeful(Layer):
    """Of one transport. `who` is the client's process, until the client says what it is called."""

    def __init__(
        self, context: Context, make_below: Callable[[Context], Upstream], watch: Watch, who: str
    ) -> None:
        super().__init__(context)
        self._watch = watch
        self._who = who
        self._open: dict[Hashable, Message] = {}
        """Requests that the server owes an answer, by `id_key`."""
        self._held = Waiting(context.nursery, math.inf, _never)
        self._again: Deadlines[Hashable] = Deadlines(context.nursery)
        self._needed = trio.Event()
        self.below = make_below(replace(context, downstream=self))
        watch.on_release(self._release)

    async def run(self) -> None:
        """Run the transport, once there is something for it to send: some open a stream at once."""
        await self._needed.wait()
        await self.below.run()

    # ------------------------------------------------------------ from the client

    def send(self, message: Message | Batch) -> None:
        """Hand it down, or keep it until the machine has been started."""
        wakes = False
        for part in parts_of(message):
            if part.kind is Kind.REQUEST and part.method not in LASTING:
                self._begin(part)
                wakes = True
        if not wakes and self._is_cancelled(message):
            return
        if self._watch.holds or (self._watch.rested and not wakes):
            self._held.add(message)
        else:
            self._release()
            self._pass(message)

    def _pass(self, message: Message | Batch) -> None:
        self._needed.set()
        self.below.send(message)

    def _begin(self, request: Message) -> None:
        if request.method == "initialize":
            self._who = read_params(request).client_name or self._who
        key = id_key(request.id)
        if key not in self._open:
            self._open[key] = request
            self._watch.begin(self._who)

    def _is_cancelled(self, message: Message | Batch) -> bool:
        """Whether the message takes back a request that was not sent yet: then there is nothing to say."""
        if isinstance(message, Batch) or message.method != "notifications/cancelled":
            return False
        id = read_params(message).request_id
        self._end(id_key(id))
        return self._held.remove(id)

    def _release(self) -> None:
        """The machine is awake, or waiting for it is of no use; but what is no request waits for one."""
        if len(self._held) and (self._open or not self._watch.rested):
            for message in self._held.take():
                self._pass(message)

    def forget(self, id: bytes) -> None:
        """Nobody waits for it any more."""
        self._end(id_key(id))
        if not self._held.remove(id):
            self.below.forget(id)

    @property
    def full(self) -> bool:
        """True when the transport lags behind, or so much waits for the machine that it must not become more."""
        return self.below.full or self._held.full

    async def wait_room(self) -> None:
        """Wait for both."""
        await self._held.wait_room()
        await self.below.wait_room()

    # ------------------------------------------------------------ from the server

    def deliver(self, message: Message | Batch) -> None:
        """Hand it up; an answer ends what it answers."""
        for part in parts_of(message):
            if not part.method and id_key(part.id) in self._open:
                self._watch.answered()
                self._end(id_key(part.id))
        self.above.deliver(message)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """It has failed; sent again if that is because the server is still on its way up."""
        key = id_key(id)
        early = error.unprocessed and isinstance(error, Unreachable | TimedOut)
        if early and key in self._open and self._watch.warming:
            self._again.set(key, AGAIN_S, self._send_again)
            return
        self._end(key)
        self.above.fail(id, error)

    def _send_again(self, key: Hashable) -> None:
        request = self._open.get(key)
        if request is not None:
            self._pass(request)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """It was refused unread: whoever sends it again does so through here."""
        for part in parts_of(message) if message is not None else ():
            self._end(id_key(part.id))
        return self.above.lost(message, error)

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """Ask above; if that deals with it, it is over here."""
        taken = self.above.evidence(request, status, error)
        if taken:
            self._end(id_key(request.id))
        return taken

    def _end(self, key: Hashable) -> None:
        if self._open.pop(key, None) is not None:
            self._again.drop(key)
            self._watch.end()

    # ------------------------------------------------------------ rest and end

    def rest(self) -> None:
        """Let go of what is held open, unless an answer may come on it."""
        if not self._open:
            self.below.rest()

    def _leave(self) -> None:
        self._watch.off_release(self._release)
        self._again.clear()
        self._needed.set()
        for key in tuple(self._open):
            self._end(key)

    def surrender(self) -> list[Message | Batch]:
        """Stop at once: what was not sent."""
        self._leave()
        return [*self.below.surrender(), *self._held.take()]

    async def aclose(self) -> None:
        """End the session with the server; a machine that may sleep is not woken to be told."""
        if self._watch.rested and not self._open:
            self.abandon()
            await trio.lowlevel.checkpoint()
        else:
            self._leave()
            await self.below.aclose()

    def abandon(self) -> None:
        """Leave without a word."""
        self._leave()
        self.below.abandon()


def _never(message: Message | Batch) -> None:
    raise AssertionError("what is held here waits without a bound of its own")
