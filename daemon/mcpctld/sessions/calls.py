"""The client's requests that have no answer yet, and what is known of them."""

from collections import deque
from collections.abc import Hashable, Iterator

import msgspec
import trio

from mcpctld.protocols.jsonrpc import Message, id_key
from mcpctld.sessions.figures import Recorder

REMEMBERED = 256
"""Cancelled calls whose late answer is still passed on, as it would be without us."""

UNBOUNDED = frozenset({"subscriptions/listen"})
"""Requests that are meant to stay open (MCP 2026-07-28): they are not timed, and nobody waits for their end."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request in flight. `id` is its raw JSON."""

    id: bytes
    method: str
    began: float
    line: int
    """Its number in the checkpoint."""


class Calls:
    """In the order in which they were made; answered, cancelled or failed at most once each."""

    def __init__(self, recorders: tuple[Recorder, ...]) -> None:
        self._recorders = recorders
        self._open: dict[Hashable, Call] = {}
        self._unbounded = 0
        self._cancelled: deque[Hashable] = deque(maxlen=REMEMBERED)
        self._begun = trio.lowlevel.ParkingLot()
        self._ended = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._open.values()))

    def begin(self, message: Message, line: int = 0) -> bool:
        """A request goes out; False, and nothing begins, when its id is in use (MCP, base protocol: MUST NOT)."""
        key = id_key(message.id)
        if key in self._open:
            return False
        call = self._open[key] = Call(message.id, message.method, trio.current_time(), line)
        self._unbounded += call.method in UNBOUNDED
        for recorder in self._recorders:
            recorder.begin()
        if self._begun:
            self._begun.unpark_all()
        return True

    def end(self, id: bytes, *, failed: bool) -> Call | None:
        """An answer came: the call it belongs to, or None when it belongs to none."""
        call = self._take(id_key(id))
        if call is not None:
            seconds = None if call.method in UNBOUNDED else trio.current_time() - call.began
            for recorder in self._recorders:
                recorder.end(seconds, failed=failed)
        return call

    def cancel(self, id: bytes) -> Call | None:
        """The client gave the call up; an answer may still come and is no error. None when there was none."""
        key = id_key(id)
        call = self._take(key)
        if call is not None:
            self._cancelled.append(key)
            for recorder in self._recorders:
                recorder.drop()
        return call

    def find(self, id: bytes) -> Call | None:
        """The call of this id, if it is open."""
        return self._open.get(id_key(id))

    def _take(self, key: Hashable) -> Call | None:
        call = self._open.pop(key, None)
        if call is not None:
            self._unbounded -= call.method in UNBOUNDED
            if self._ended:
                self._ended.unpark_all()
        return call

    def was_cancelled(self, id: bytes) -> bool:
        """Whether an answer to `id` is a late one to a cancelled call; true once for each."""
        key = id_key(id)
        if key not in self._cancelled:
            return False
        self._cancelled.remove(key)
        return True

    async def wait_oldest(self) -> Call:
        """The call that has waited longest, of those that may not wait for ever; waits until there is one."""
        await trio.lowlevel.checkpoint()
        while len(self._open) == self._unbounded:
            await self._begun.park()
        return next(call for call in self._open.values() if call.method not in UNBOUNDED)

    async def wait_at_most(self, count: int) -> None:
        """Wait until no more than `count` are open, beside those that are meant to stay open."""
        await trio.lowlevel.checkpoint()
        while len(self._open) - self._unbounded > count:
            await self._ended.park()
