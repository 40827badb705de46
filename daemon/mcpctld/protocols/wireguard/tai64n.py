"""Timestamps of initiations: TAI64N, twelve bytes that compare as their instants do (§5.1, §5.4.2).

A responder refuses an initiation that is not newer than every one before it. So ours never go back: not when the
clock does, and not over a restart, when what `last` was before is given again.
"""

SIZE = 12
ZERO = bytes(SIZE)

_EPOCH = 2**62 + 10  # TAI was 10 s ahead of UTC in 1970; leap seconds since do not matter here
_GRAIN = 2**24
"""In nanoseconds: what is finer would tell others how our clock runs."""
_SECOND = 10**9


class Timestamps:
    """Each one is later than those before it."""

    def __init__(self, last: bytes = ZERO) -> None:
        """`last`: what the last one was. `ValueError` unless it has 12 bytes."""
        if len(last) != SIZE:
            raise ValueError("a timestamp has 12 bytes")
        self.last = last

    def next(self, unix_time: float) -> bytes:
        """That of this instant, or a little later than the last one."""
        self.last = max(encode(unix_time), _step(self.last))
        return self.last


def encode(unix_time: float) -> bytes:
    """The timestamp of a Unix time in seconds."""
    seconds, nanoseconds = divmod(int(max(0.0, unix_time) * _SECOND), _SECOND)
    return _pack(seconds + _EPOCH, nanoseconds - nanoseconds % _GRAIN)


def _step(timestamp: bytes) -> bytes:
    seconds, nanoseconds = (
        int.from_bytes(timestamp[:8], "big"),
        int.from_bytes(timestamp[8:], "big"),
    )
    carry, nanoseconds = divmod(nanoseconds + _GRAIN, _SECOND)
    return _pack(min(seconds + carry, 2**64 - 1), nanoseconds)


def _pack(seconds: int, nanoseconds: int) -> bytes:
    return seconds.to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")
