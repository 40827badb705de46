"""What was written and is not acknowledged, by sequence number."""


class SendBuffer:
    """Text from `base` to `end`, then the FIN once it is queued. Numbers do not wrap."""

    __slots__ = ("_bytes", "base", "capacity", "end", "fin")

    def __init__(self, start: int, capacity: int) -> None:
        self.base = self.end = start
        """The numbers of the first byte kept, and of the one past the last."""
        self.fin = False
        """Whether nothing will be written any more."""
        self.capacity = capacity
        self._bytes = bytearray()

    @property
    def room(self) -> int:
        """How many bytes `write` would take."""
        return self.capacity - len(self._bytes)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much of it as there is room for; how many bytes."""
        taken = data[: self.room]
        self._bytes += taken
        self.end += len(taken)
        return len(taken)

    def text(self, start: int, end: int) -> bytearray:
        """What stands between these numbers."""
        return self._bytes[start - self.base : end - self.base]

    def release(self, ack: int) -> None:
        """All before this has arrived."""
        kept_from = min(ack, self.end)
        del self._bytes[: kept_from - self.base]
        self.base = kept_from

    def clear(self) -> None:
        """Nobody wants it any more."""
        self._bytes.clear()
        self.base = self.end
