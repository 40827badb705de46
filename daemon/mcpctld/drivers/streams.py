"""Byte streams that are written to without waiting: what is on the data path reads and writes through these.

`write` tries the system call at once and keeps what the kernel would not take; a task exists only while something
is kept. So a message goes from one descriptor to the other inside the task that received it.

* `DescriptorStream`  pipes and sockets by their descriptor: a client's stdin and stdout, a child's, a TCP socket's
* `TrioStream`        any other trio stream: TLS, later our own TCP
"""

import fcntl
import os
from collections import deque
from typing import Protocol

import trio

CHUNK = 64 * 1024
BIG_CHUNK = 1024 * 1024
ROOM = 1024 * 1024
"""More than this kept unsent, and whoever produces should wait: `wait_room`."""
F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)


class ByteStream(Protocol):
    """What both kinds offer. One reader at a time; `write` from anywhere in the trio thread."""

    async def receive(self) -> bytes:
        """The next bytes, at least one; `b""` at end of file or when the connection broke."""

    def write(self, data: bytes) -> None:
        """Send `data`, now or as soon as the other side takes it. Never waits, never raises."""

    @property
    def buffered(self) -> int:
        """Bytes taken by `write` and not yet by the kernel."""

    @property
    def broken(self) -> bool:
        """True once the other side does not read any more; what is written then is dropped."""

    async def wait_room(self) -> None:
        """Wait until at most `ROOM` bytes are kept, or the stream broke."""

    async def aclose(self) -> None:
        """Close; what is kept is dropped."""


class _Kept:
    """The bytes that could not be written yet, and whoever waits for them to go."""

    def __init__(self) -> None:
        self.parts: deque[memoryview] = deque()
        self.size = 0
        self.broken = False
        self._lot = trio.lowlevel.ParkingLot()

    def add(self, data: memoryview) -> None:
        self.parts.append(data)
        self.size += len(data)

    def took(self, count: int) -> None:
        """`count` bytes of the first part were sent."""
        first = self.parts[0]
        self.size -= count
        if count == len(first):
            self.parts.popleft()
        else:
            self.parts[0] = first[count:]
        if self.size <= ROOM:
            self._lot.unpark_all()

    def drop(self) -> None:
        self.broken = True
        self.parts.clear()
        self.size = 0
        self._lot.unpark_all()

    async def wait_below(self, limit: int) -> None:
        while self.size > limit and not self.broken:
            await self._lot.park()


class DescriptorStream:
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
        self._nursery = nursery
        self._borrowed = borrowed
        self._reading = reading
        self._writing = writing
        self._fds = {fd for fd in (reading, writing) if fd is not None}
        self._was_blocking = [fd for fd in self._fds if os.get_blocking(fd)]
        for fd in self._was_blocking:
            os.set_blocking(fd, False)
        self._kept = _Kept()
        self._chunk = CHUNK
        self._drained = True

    @property
    def buffered(self) -> int:
        """Bytes taken by `write` and not yet by the kernel."""
        return self._kept.size

    @property
    def broken(self) -> bool:
        """True once the other side does not read any more."""
        return self._kept.broken

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end, or when the connection broke."""
        fd = self._reading
        if fd is None:
            return b""
        try:
            # After a short read nothing is left, as a rule: asking again would be a wasted system call.
            if self._drained:
                await trio.lowlevel.wait_readable(fd)
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                try:
                    data = os.read(fd, self._chunk)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(fd)
                    continue
                self._adapt(fd, len(data))
                return data
        except (
            OSError,
            trio.ClosedResourceError,
        ):  # reset by the peer, or closed by us: an end like any other
            return b""

    def _adapt(self, fd: int, count: int) -> None:
        self._drained = count < self._chunk
        if not self._drained and self._chunk == CHUNK:
            self._chunk = BIG_CHUNK
            _widen(fd)

    def write(self, data: bytes) -> None:
        """Send `data`, now or as soon as the other side takes it."""
        kept = self._kept
        if kept.broken or self._writing is None:
            return
        if kept.parts:
            kept.add(memoryview(data))
            return
        try:
            count = os.write(self._writing, data)
        except BlockingIOError:
            count = 0
        except OSError:
            kept.drop()
            return
        if count < len(data):
            kept.add(memoryview(data)[count:])
            _widen(self._writing)
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        kept = self._kept
        while kept.parts and self._writing is not None:
            try:
                await trio.lowlevel.wait_writable(self._writing)
                while kept.parts:
                    kept.took(os.write(self._writing, kept.parts[0]))
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                kept.drop()

    async def wait_room(self) -> None:
        """Wait until at most `ROOM` bytes are kept, or the stream broke."""
        await self._kept.wait_below(ROOM)

    async def wait_sent(self) -> None:
        """Wait until everything was taken by the kernel, or the stream broke."""
        await self._kept.wait_below(0)

    def close_writing(self) -> None:
        """Tell the other side that no more comes, if writing has a descriptor of its own."""
        if self._writing is not None and self._writing != self._reading:
            self._kept.drop()
            fd, self._writing = self._writing, None
            self._close(fd)

    def close(self) -> None:
        """Close both descriptors; what is kept is dropped."""
        self._kept.drop()
        self._reading = self._writing = None
        for fd in tuple(self._fds):
            self._close(fd)

    async def aclose(self) -> None:
        """The same as `close`, which never waits."""
        self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _close(self, fd: int) -> None:
        self._fds.discard(fd)
        if self._borrowed:
            return
        trio.lowlevel.notify_closing(fd)
        if fd in self._was_blocking:
            os.set_blocking(fd, True)
        os.close(fd)


class TrioStream:
    """Any trio stream, written to without waiting."""

    def __init__(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
        self._nursery = nursery
        self._stream = stream
        self._kept = _Kept()

    @property
    def buffered(self) -> int:
        """Bytes taken by `write` and not yet sent."""
        return self._kept.size

    @property
    def broken(self) -> bool:
        """True once sending failed."""
        return self._kept.broken

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end, or when the connection broke."""
        try:
            return bytes(await self._stream.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def write(self, data: bytes) -> None:
        """Send `data` as soon as the other side takes it."""
        if self._kept.broken:
            return
        idle = not self._kept.parts
        self._kept.add(memoryview(data))
        if idle:
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        kept = self._kept
        try:
            while kept.parts:
                part = kept.parts[0]
                await self._stream.send_all(part)
                if kept.parts:  # not dropped meanwhile
                    kept.took(len(part))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            kept.drop()

    async def wait_room(self) -> None:
        """Wait until at most `ROOM` bytes are kept, or the stream broke."""
        await self._kept.wait_below(ROOM)

    async def aclose(self) -> None:
        """Close the stream without ceremony: no waiting for a peer that may be gone."""
        self._kept.drop()
        await trio.aclose_forcefully(self._stream)


def _widen(fd: int) -> None:
    """Give a pipe that carries much a bigger buffer, if the system's quota allows it (Linux)."""
    if F_SETPIPE_SZ is not None:
        try:
            fcntl.fcntl(fd, F_SETPIPE_SZ, BIG_CHUNK)
        except OSError:
            pass  # a socket, or the user's quota of pipe pages is spent: it works without
