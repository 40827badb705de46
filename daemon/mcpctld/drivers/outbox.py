"""What a stream has taken to send and not got rid of yet, and whoever waits for it to go.

* `Outbox`   the bytes
* `Sending`  the half of a stream that is made of one
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

import trio

ROOM = 1024 * 1024
"""More than this kept unsent, and whoever produces should wait."""
MOST_PARTS = 64
"""Parts sent by one system call: far below the `IOV_MAX` of any system (POSIX: at least 16, in practice 1024)."""


class Outbox:
    """Bytes in order, in the parts they came in. Once `broken` it takes no more."""

    __slots__ = ("_lot", "_parts", "added", "broken", "size")

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self.added = 0
        """Bytes ever taken."""
        self.size = 0
        self.broken = False

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._parts)

    def add(self, parts: tuple[bytes, ...]) -> None:
        """Keep `parts`; empty ones are none."""
        for part in parts:
            if part:
                self._parts.append(part)
                self.size += len(part)
                self.added += len(part)

    def first(self) -> list[bytes | memoryview]:
        """The parts to send next, as many as one system call takes."""
        return list(islice(self._parts, MOST_PARTS))

    def took(self, count: int) -> None:
        """The first `count` bytes were sent."""
        self.size -= count
        while count:
            first = self._parts.popleft()
            if count < len(first):
                self._parts.appendleft(memoryview(first)[count:])
                break
            count -= len(first)
        if self.size <= ROOM:
            self._lot.unpark_all()

    def drop(self) -> None:
        """Nobody takes anything any more."""
        self.broken = True
        self._parts.clear()
        self.size = 0
        self._lot.unpark_all()

    def surrender(self) -> bytes:
        """What is kept, for somebody else to send; then as `drop`."""
        kept = b"".join(self._parts)
        self.drop()
        return kept

    async def wait_at_most(self, limit: int) -> None:
        """Wait until no more than `limit` bytes are kept, or the outbox is broken. `limit` is at most `ROOM`."""
        await trio.lowlevel.checkpoint()
        while self.size > limit:
            await self._lot.park()


class Sending:
    """The half of a stream that all kinds share: what is kept, how it is waited for, and how it went wrong."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.outbox = self._outbox = Outbox()
        """What is kept, for who asks often: properties cost."""
        self.failed = False
        self.progress: Callable[[], None] | None = None
        """Called when some of what was kept has been sent, or was dropped."""
        self.surrenders = False
        """Whether what is kept stays for `surrender` when sending is cancelled."""

    @property
    def buffered(self) -> int:
        """Bytes taken by `write` and not yet by the kernel."""
        return self._outbox.size

    @property
    def kept(self) -> int:
        """Bytes ever taken by `write` that could not be sent at once."""
        return self._outbox.added

    def surrender(self) -> bytes:
        """What is kept, for somebody else to send; from then on nothing can be sent any more."""
        return self._outbox.surrender()

    @property
    def broken(self) -> bool:
        """True once nothing can be sent any more."""
        return self._outbox.broken

    def _fail(self, cause: BaseException | None) -> None:
        """Sending has failed: send no more.

        EPIPE says that the other side had closed properly before (Linux, `tcp_reset`: a reset after a FIN). Without a
        cause a trio stream was broken already, by an end that `receive` saw. Neither spoils what that end says.
        """
        if cause is not None and not isinstance(cause, BrokenPipeError):
            self.failed = True
        self._outbox.drop()

    async def wait_room(self) -> None:
        """Wait until at most `ROOM` bytes are kept, or the stream broke."""
        await self._outbox.wait_at_most(ROOM)

    async def wait_sent(self) -> None:
        """Wait until nothing is kept, or the stream broke."""
        await self._outbox.wait_at_most(0)
