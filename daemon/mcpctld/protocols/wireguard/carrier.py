"""Datagrams in a stream of bytes, as Fly's gateways take them over WebSocket.

The stream goes on over the borders of WebSocket messages. Its client begins with four magic bytes; after them, and in
the other direction from the start, each datagram stands behind its length (32 bits, big-endian). A length of 0 keeps
the connection alive: flyctl sends one after each second in which it had nothing else to send. There is no published
description; this is what flyctl and its gateways do.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

MAGIC = bytes.fromhex("2faced77")
KEEPALIVE = bytes(4)
KEEPALIVE_AFTER = 1.0
"""Seconds without anything to send."""
MAX_DATAGRAM = 65535

_LENGTH = 4


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """A datagram, never empty."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Datagram of {len(self.data)} bytes>"


class KeptAlive(msgspec.Struct, frozen=True, gc=False):
    """The other side is there, and has nothing to send."""


class Broken(msgspec.Struct, frozen=True, gc=False):
    """The stream cannot be read any further; close the connection."""

    reason: str


Event = Datagram | KeptAlive | Broken


def encode(datagrams: Iterable[bytes]) -> bytes:
    """Their bytes in the stream. `ValueError` for one that is empty or too long."""
    pieces: list[bytes] = []
    for datagram in datagrams:
        if not 0 < len(datagram) <= MAX_DATAGRAM:
            raise ValueError(f"a datagram of {len(datagram)} bytes cannot be sent")
        pieces += (len(datagram).to_bytes(_LENGTH, "big"), datagram)
    return b"".join(pieces)


class CarrierReader:
    """Cuts a stream into datagrams. `magic`: what it has to begin with, nothing unless the other side is a client."""

    def __init__(self, magic: bytes = b"") -> None:
        self._magic = magic
        self._buffer = bytearray()
        self._is_broken = False
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream."""
        if self._is_broken:
            return
        self._buffer += data
        if not self._magic or self._read_magic():
            self._read_datagrams()

    def receive_eof(self) -> None:
        """The stream has ended, which is no event of its own unless that was within something."""
        if self._buffer or self._magic:
            self._break("the stream ended within a datagram, or before the first one")

    def next_event(self) -> Event | None:
        """The next event, None if there is none yet."""
        return self._events.popleft() if self._events else None

    def _read_magic(self) -> bool:
        """Whether all of it has come."""
        start = bytes(self._buffer[: len(self._magic)])
        if not self._magic.startswith(start):
            self._break("this is not a stream of WireGuard datagrams")
            return False
        if start != self._magic:
            return False
        del self._buffer[: len(start)]
        self._magic = b""
        return True

    def _read_datagrams(self) -> None:
        buffer, at = self._buffer, 0
        while len(buffer) >= (begin := at + _LENGTH):
            length = int.from_bytes(buffer[at:begin], "big")
            if length > MAX_DATAGRAM:
                self._break(f"a datagram cannot have {length} bytes")
                return
            if len(buffer) < begin + length:
                break
            at = begin + length
            self._events.append(Datagram(bytes(buffer[begin:at])) if length else KeptAlive())
        del buffer[:at]

    def _break(self, reason: str) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._buffer.clear()
            self._events.append(Broken(reason))
