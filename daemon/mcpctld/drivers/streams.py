"""Byte streams that are written to without waiting: what is on the data path reads and writes through these.

`write` tries the system call at once and keeps what the kernel would not take; a task exists only while something
is kept. So a message goes from one descriptor to the other inside the task that received it.

* `DescriptorStream`  pipes and sockets by their descriptor: a client's stdin and stdout, a child's, a TCP socket's
* `TrioStream`        any other trio stream: TLS, say (in `triostream`)
"""

import fcntl
import os
from collections.abc import Callable
from typing import Protocol

import trio

from mcpctld.drivers.outbox import Sending

CHUNK = 64 * 1024
"""What a pipe holds by default, and one read takes."""
BIG_CHUNK = 1024 * 1024
"""What a pipe that carries much is widened to (the most that Linux allows users), and one read takes then."""
LITTLE = 16 * 1024
"""After a read of less than this, the next one is not a big one."""
F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)


class ByteStream(Protocol):
    """What both kinds offer. One reader at a time; `write` from anywhere in the trio thread."""

    async def receive(self) -> bytes:
        """The next bytes, at least one; `b""` at end of file or when the connection broke."""

    def write(self, *parts: bytes) -> None:
        """Send `parts` in order, now or as soon as the other side takes them. Never waits, never raises."""

    @property
    def buffered(self) -> int:
        """Bytes taken by `write` and not yet by the kernel."""

    @property
    def broken(self) -> bool:
        """True once nothing can be sent any more; what is written then is dropped."""

    @property
    def failed(self) -> bool:
        """True once an error, a reset say, ended the stream: then its end says nothing of what the other side got."""

    async def wait_room(self) -> None:
        """Wait until at most `ROOM` bytes are kept, or the stream broke."""

    async def wait_sent(self) -> None:
        """Wait until nothing is kept, or the stream broke."""

    async def aclose(self) -> None:
        """Close; what is kept is dropped."""


class DescriptorStream(Sending):
    """A pipe or socket, by one descriptor for reading and one for writing (they may be the same).

    Closes both at the end, unless they are `borrowed`. Each is set non-blocking, and set back when it is closed: that
    flag sits on the open file description, which others may share.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        reading: int | None,
        writing: int | None,
        *,
        borrowed: bool = False,
    ) -> None:
        super().__init__(nursery)
        self._borrowed = borrowed
        self._reading = reading
        self._writing = writing
        self._fds = {fd for fd in (reading, writing) if fd is not None}
        self._was_blocking = [fd for fd in self._fds if os.get_blocking(fd)]
        for fd in self._was_blocking:
            os.set_blocking(fd, False)
        self._chunk = CHUNK
        self._drained = True
        self._wide: set[int] = set()

    # ------------------------------------------------------------ reading

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end, or when the connection broke."""
        try:
            # After a short read nothing is left, as a rule: asking again would be a wasted system call.
            if self._drained and self._reading is not None:
                await trio.lowlevel.wait_readable(self._reading)
            else:
                await trio.lowlevel.checkpoint()
            # Asked each time: while we waited the descriptor may have been closed, and its number given to another.
            while self._reading is not None:
                try:
                    data = os.read(self._reading, self._chunk)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._reading)
                    continue
                self._adapt(self._reading, len(data))
                return data
        except OSError:  # reset by the peer: an end, too
            self.failed = True
        except trio.ClosedResourceError:
            pass
        return b""  # noqa: ASYNC910  (what failed was the wait, or the read after it)

    async def receive_into(self, room: Callable[[], memoryview]) -> int:
        """Read into what `room` gives as soon as there is something: how many bytes; 0 at the end.

        They are nowhere else on their way: who dies meanwhile has either not taken them or has them there.
        """
        try:
            if self._drained and self._reading is not None:
                await trio.lowlevel.wait_readable(self._reading)
            else:
                await trio.lowlevel.checkpoint()
            while self._reading is not None:  # as in `receive`
                view = room()
                try:
                    count = os.readv(self._reading, (view,))
                except BlockingIOError:
                    del view
                    await trio.lowlevel.wait_readable(self._reading)
                    continue
                self._drained = count < len(view)
                if not self._drained:
                    self._widen(self._reading)
                return count
        except OSError:
            self.failed = True
        except trio.ClosedResourceError:
            pass
        return 0  # noqa: ASYNC910  (as in `receive`)

    def _adapt(self, fd: int, count: int) -> None:
        """Read more at once where much comes, and less where little does: an empty big buffer costs, too."""
        self._drained = count < self._chunk
        if not self._drained:
            self._chunk = BIG_CHUNK
            self._widen(fd)
        elif count < LITTLE:
            self._chunk = CHUNK

    # ------------------------------------------------------------ writing

    def write(self, *parts: bytes) -> None:
        """Send `parts`, now or as soon as the other side takes them."""
        outbox = self._outbox
        if self._writing is None or outbox.broken:
            return
        if outbox:  # a task is at it
            outbox.add(parts)
            return
        try:
            count = os.writev(self._writing, parts)
        except BlockingIOError:
            count = 0
        except OSError as exc:
            self._fail(exc)
            return
        if count < sum(map(len, parts)):
            self._keep(parts, count)

    def _keep(self, parts: tuple[bytes, ...], count: int) -> None:
        """Keep what was not taken of `parts`; a pipe that was widened may take it after all."""
        self._outbox.add(parts)
        self._outbox.took(count)
        if self._writing is not None and self._widen(self._writing):
            self._push(self._writing)
        if self._outbox:
            self._nursery.start_soon(self._flush)

    def _push(self, fd: int) -> None:
        """Write what is kept, as far as the kernel takes it."""
        try:
            while self._outbox:
                self._outbox.took(os.writev(fd, self._outbox.first()))
        except BlockingIOError:
            pass
        except OSError as exc:
            self._fail(exc)
        if self.progress is not None:
            self.progress()

    async def _flush(self) -> None:  # noqa: ASYNC910  (a task of its own)
        try:
            while self._outbox and self._writing is not None:
                await trio.lowlevel.wait_writable(self._writing)
                if self._writing is not None:  # not closed meanwhile
                    self._push(self._writing)
        except OSError as exc:
            self._fail(exc)
        except trio.ClosedResourceError:
            pass
        finally:
            if (
                self._outbox and not self.surrenders
            ):  # cancelled, or broken: nobody else will send it
                self._outbox.drop()

    def _widen(self, fd: int) -> bool:
        """Give a pipe a bigger buffer, once, if the system's quota allows it (Linux). True when it has grown."""
        if F_SETPIPE_SZ is None or fd in self._wide:
            return False
        self._wide.add(fd)
        try:
            fcntl.fcntl(fd, F_SETPIPE_SZ, BIG_CHUNK)
        except OSError:
            return False  # a socket, or the user's quota of pipe pages is spent: it works without
        return True

    # ------------------------------------------------------------ closing

    def close_writing(self) -> None:
        """Tell the other side that no more comes, if writing has a descriptor of its own; what is kept is dropped."""
        if self._writing is not None and self._writing != self._reading:
            self._outbox.drop()
            fd, self._writing = self._writing, None
            self._close(fd)

    def close(self) -> None:
        """Close both descriptors; what is kept is dropped."""
        self._outbox.drop()
        self._reading = self._writing = None
        for fd in tuple(self._fds):
            self._close(fd)

    async def aclose(self) -> None:
        """The same as `close`, which never waits."""
        self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _close(self, fd: int) -> None:
        self._fds.discard(fd)
        trio.lowlevel.notify_closing(fd)
        if fd in self._was_blocking:
            os.set_blocking(fd, True)
            for other in self._fds:  # which may share its description, and is still in use
                os.set_blocking(other, False)
        if not self._borrowed:
            os.close(fd)
