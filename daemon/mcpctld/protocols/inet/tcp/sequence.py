"""Sequence numbers (RFC 9293 §3.4). On the wire they wrap; inside they are plain numbers that grow."""

MASK = 0xFFFFFFFF
_HALF = 0x80000000


def unwrap(number: int, near: int) -> int:
    """The number nearest to `near` that looks like `number` on the wire."""
    return near + ((number - near + _HALF) & MASK) - _HALF
