"""What is kept of something too long to keep: its length, its first and its last bytes."""

EXCERPT_BYTES = 4096
"""Enough for the members beside the long one: `jsonrpc`, `id`, `method`."""


class Excerpt:
    """Counts the bytes added; holds the first and the last `EXCERPT_BYTES` of them."""

    __slots__ = ("_tail", "head", "length")

    def __init__(self) -> None:
        self.length = 0
        self.head = b""
        self._tail = b""

    @property
    def tail(self) -> bytes:
        """The last bytes; they overlap with `head` when `length` is small."""
        return self._tail

    def add(self, data: bytes | bytearray) -> None:
        """Take the next bytes."""
        self.length += len(data)
        if len(self.head) < EXCERPT_BYTES:
            self.head += bytes(data[: EXCERPT_BYTES - len(self.head)])
        if len(data) >= EXCERPT_BYTES:
            self._tail = bytes(data[-EXCERPT_BYTES:])
        else:
            self._tail = (self._tail + data)[-EXCERPT_BYTES:]
