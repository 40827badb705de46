"""Any trio stream, written to without waiting: see `streams`."""

import trio

from mcpctld.drivers.outbox import Sending

SMALL = 64 * 1024
"""Parts are joined up to this: each piece is a TLS record and a system call."""


class TrioStream(Sending):
    """Any trio stream, written to without waiting."""

    def __init__(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
        super().__init__(nursery)
        self._stream = stream
        self._flushing = False

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end, or when the connection broke."""
        try:
            return bytes(await self._stream.receive_some())
        except trio.BrokenResourceError:
            self.failed = True
        except trio.ClosedResourceError:
            pass
        return b""  # noqa: ASYNC910  (what failed was the wait)

    def write(self, *parts: bytes) -> None:
        """Send `parts` as soon as the other side takes them."""
        if self._outbox.broken:
            return
        self._outbox.add(parts)
        if not self._flushing:
            self._flushing = True
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:  # noqa: ASYNC910  (a task of its own)
        outbox = self._outbox
        try:
            while outbox:
                batch = _batch(outbox.first())
                await self._stream.send_all(batch)
                if outbox:  # not dropped meanwhile
                    outbox.took(len(batch))
        except trio.BrokenResourceError as exc:
            self._fail(exc.__cause__)
        except trio.ClosedResourceError:
            pass
        finally:
            self._flushing = False
            if outbox:  # cancelled or closed: how much was sent is not known, so nothing may follow
                outbox.drop()

    async def aclose(self) -> None:
        """Close the stream without ceremony: no waiting for a peer that may be gone."""
        self._outbox.drop()
        await trio.aclose_forcefully(self._stream)


def _batch(parts: list[bytes | memoryview]) -> bytes | memoryview:
    """The first parts in one piece, as long as they are small: each piece is a TLS record and a system call."""
    if len(parts) == 1 or len(parts[0]) >= SMALL:
        return parts[0]
    small = [parts[0]]
    size = len(parts[0])
    for part in parts[1:]:
        size += len(part)
        if size > SMALL:
            break
        small.append(part)
    return b"".join(small)
