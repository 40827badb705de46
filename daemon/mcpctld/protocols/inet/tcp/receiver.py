"""The receiving half of a connection: order, the window, what selective acknowledgements tell.

The window closes when data is not read, and never shrinks from the right (RFC 9293 §3.8.6).
"""

from collections import deque

from mcpctld.protocols.inet.tcp.reassembly import Reassembly
from mcpctld.protocols.inet.tcp.sequence import MASK

MAX_BLOCKS = 4


class Receiver:
    """Takes what comes from the peer, gives it out in order."""

    def __init__(self, capacity: int, mss: int) -> None:
        self.nxt = 0
        """The next number expected (RCV.NXT); one past the FIN once that has come."""
        self.eof = False
        """Everything up to the peer's FIN has come."""
        self.buffered = 0
        """Bytes that wait to be read."""
        self.duplicates = 0
        self._capacity = capacity
        self._mss = mss
        self._edge = 0  # one past what the peer has been allowed to send
        self._pieces: deque[bytes] = deque()
        self._early = Reassembly()
        self._fin: int | None = None  # where the stream ends, once that is known
        self._duplicate: tuple[int, int] | None = None

    def open(self, start: int) -> None:
        """The peer's SYN has come: its first byte has the number `start`."""
        self.nxt = start
        self._edge = start + self._capacity

    def accepts(self, seq: int, length: int) -> bool:
        """Whether a segment may be looked at: it is neither old nor beyond the window (RFC 9293 §3.10.7.4).

        One that begins at the right edge is let through: its acknowledgement counts even where its data does not fit.
        """
        return seq + length >= self.nxt and seq <= self._edge

    def is_next(self, number: int, length: int) -> bool:
        """Whether text with this number on the wire is the next, fits, and fills no gap."""
        nxt = self.nxt
        is_whole = not self._early and self._fin is None
        return number == nxt & MASK and 0 < length <= self._edge - nxt and is_whole

    def append(self, data: bytes) -> None:
        """Take the next text."""
        self._pieces.append(data)
        self.buffered += len(data)
        self.nxt += len(data)

    def window(self) -> int:
        """How many bytes the peer may send from `nxt` on. Opened only by steps worth a segment (§3.8.6.2.2)."""
        edge = self.nxt + self._capacity - self.buffered
        if edge - self._edge >= min(self._mss, self._capacity // 2):
            self._edge = edge
        return self._edge - self.nxt

    def receive(self, seq: int, data: bytes, *, fin: bool) -> bool:
        """Take a segment's text. False: it is early, late or twice, so its sender waits for a duplicate ACK."""
        end = seq + len(data)
        if fin and self._fin is None and self.nxt <= end <= self._edge:
            self._fin = end
        in_order = seq == self.nxt and not self._early
        if data and in_order and end <= self._edge and self._fin in (None, end):
            self.append(data)
        elif data:
            self._receive_out_of_order(seq, data)
        if self.nxt == self._fin:
            self.eof = True
            self.nxt += 1
        return in_order

    def read(self, most: int) -> bytes:
        """Up to so many bytes; empty where nothing waits."""
        taken = []
        while self._pieces and most:
            piece = self._pieces.popleft()
            if len(piece) > most:
                self._pieces.appendleft(piece[most:])
                piece = piece[:most]
            taken.append(piece)
            most -= len(piece)
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self.buffered -= len(data)
        return data

    def wants_update(self) -> bool:
        """Whether the peer should be told that there is room again: not for every byte, but before it has to wait."""
        grown = self.nxt + self._capacity - self.buffered - self._edge
        return not self.eof and grown >= self._capacity // 4

    def blocks(self) -> list[tuple[int, int]]:
        """What to tell beside `nxt`: a duplicate first (RFC 2883 §4), then what came early (RFC 2018 §4)."""
        if self._duplicate is None:
            return self._early.blocks(MAX_BLOCKS) if self._early else []
        start, end = self._duplicate
        self._duplicate = None
        early = self._early.blocks(MAX_BLOCKS - 1)
        early.sort(key=lambda block: not (block[0] <= start < block[1]))
        return [(start, end), *early]

    @property
    def has_duplicate(self) -> bool:
        """Whether the next ACK tells of a duplicate."""
        return self._duplicate is not None

    @property
    def has_blocks(self) -> bool:
        """Whether an ACK has more to tell than `nxt`."""
        return self._duplicate is not None or bool(self._early)

    def note_duplicate(self, seq: int, end: int) -> None:
        """This has come before."""
        self.duplicates += 1
        self._duplicate = seq, end

    def clear(self) -> None:
        """Forget what nobody will read."""
        self._pieces.clear()
        self._early.clear()
        self.buffered = 0

    def _receive_out_of_order(self, seq: int, data: bytes) -> None:
        """Something is missing before this or behind it, or some of it is old or does not fit."""
        if seq < self.nxt:
            self.note_duplicate(seq, min(seq + len(data), self.nxt))
        limit = self._edge if self._fin is None else min(self._edge, self._fin)
        start = max(seq, self.nxt)
        kept = data[start - seq : max(0, limit - seq)]
        if kept and not self._early.add(start, kept):
            self.note_duplicate(start, start + len(kept))
        for piece in self._early.take(self.nxt):
            self.append(piece)
