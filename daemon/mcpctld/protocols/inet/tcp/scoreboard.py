"""What has been sent and is not acknowledged: the scoreboard of RFC 6675, one record for each segment.

A record is in flight, or lost and waiting to be sent again, or selectively acknowledged. `in_flight` counts the first
kind (`pipe`, RFC 6675 §4), always up to date. What counts as lost is for others to say.
"""

import heapq
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

MAX_SEEN = 64

Block = tuple[int, int]


class Record:
    """One segment: text from `start` on, up to `end`; a FIN is the last number of it."""

    __slots__ = ("end", "fin", "is_lost", "is_sacked", "sends", "sent_at", "start")

    def __init__(self, start: int, end: int, fin: bool, now: float) -> None:
        self.start = start
        self.end = end
        self.fin = fin
        self.sent_at = now
        self.sends = 1
        self.is_sacked = False
        self.is_lost = False

    def __lt__(self, other: "Record") -> bool:
        return self.start < other.start


def _start(record: Record) -> int:
    return record.start


class Scoreboard:
    """Records in the order of the stream, and those in flight in the order in which they were sent last."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Bytes that may be on their way."""
        self.sacked = 0
        """Records that the peer holds beyond a gap."""
        self._records: list[Record] = []
        self._flying: OrderedDict[Record, None] = OrderedDict()
        self._lost: list[Record] = []  # a heap; what is not lost any more is skipped
        self._seen: dict[int, int] = {}  # blocks marked already: where each begins, up to where

    def __bool__(self) -> bool:
        return bool(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> Record:
        """The earliest in the stream."""
        return self._records[0]

    @property
    def last(self) -> Record:
        """The latest in the stream."""
        return self._records[-1]

    @property
    def flying(self) -> Iterable[Record]:
        """Those in flight, the one that has been so for the longest time first."""
        return self._flying

    # ------------------------------------------------------------ sending

    def add(self, record: Record) -> None:
        """It has been sent for the first time."""
        self._records.append(record)
        self._flying[record] = None
        self.in_flight += record.end - record.start

    def resend(self, record: Record, now: float) -> None:
        """It has been sent again."""
        if record in self._flying:
            self._flying.move_to_end(record)
        else:
            self._flying[record] = None
            self.in_flight += record.end - record.start
        record.is_lost = False
        record.sent_at = now
        record.sends += 1

    def next_lost(self) -> Record | None:
        """The first that is to be sent again (RFC 6675 §4, NextSeg rule 1)."""
        while self._lost:
            record = self._lost[0]
            if record.is_lost:
                return record
            heapq.heappop(self._lost)
        return None

    def split(self, record: Record, size: int) -> None:
        """Make two of a record that is lost, the first of them `size` bytes long: the path takes no more."""
        rest = Record(record.start + size, record.end, record.fin, record.sent_at)
        rest.sends = record.sends
        rest.is_lost = True
        record.end = rest.start
        record.fin = False
        self._records.insert(self._index(rest.start), rest)
        heapq.heappush(self._lost, rest)

    # ------------------------------------------------------------ what becomes of it

    def acknowledge(self, ack: int) -> list[Record]:
        """All text before `ack` has arrived. Returns those of which that is news."""
        count = self._index(ack)
        if count and self._records[count - 1].end > ack:
            count -= 1
        done = self._records[:count]
        del self._records[:count]
        news = [record for record in done if not record.is_sacked]
        for record in news:
            self._land(record)
        self.sacked -= len(done) - len(news)
        if self._records and self._records[0].start < ack:
            self._shorten(self._records[0], ack)
        return news

    def sack(self, blocks: Sequence[Block]) -> list[Record]:
        """These blocks have arrived. Returns the records of which that is news; a part of one is not counted."""
        news = []
        for start, end in blocks:
            for record in self._range(self._seen.get(start, start), end):
                if not record.is_sacked:
                    self._land(record)
                    record.is_sacked = True
                    news.append(record)
            self._note_seen(start, end)
        self.sacked += len(news)
        return news

    def mark_lost(self, record: Record) -> None:
        """It is to be sent again. It must be in flight."""
        del self._flying[record]
        self.in_flight -= record.end - record.start
        record.is_lost = True
        heapq.heappush(self._lost, record)

    def forget_sacks(self) -> None:
        """The peer has dropped what it said it had (RFC 2018 §8): all of it is lost."""
        self._seen.clear()
        for record in self._records:
            if record.is_sacked:
                record.is_sacked = False
                record.is_lost = True
                heapq.heappush(self._lost, record)
        self.sacked = 0

    # ------------------------------------------------------------ inner

    def _index(self, seq: int) -> int:
        return bisect_left(self._records, seq, key=_start)

    def _range(self, start: int, end: int) -> Iterator[Record]:
        """The records that lie wholly between these."""
        for at in range(self._index(start), len(self._records)):
            record = self._records[at]
            if record.end > end:
                return
            yield record

    def _land(self, record: Record) -> None:
        """It has arrived."""
        if record in self._flying:
            del self._flying[record]
            self.in_flight -= record.end - record.start
        record.is_lost = False

    def _shorten(self, record: Record, start: int) -> None:
        """A part of it has arrived."""
        if record in self._flying:
            self.in_flight -= start - record.start
        record.start = start

    def _note_seen(self, start: int, end: int) -> None:
        """Blocks grow at their end: the next time only what is new is looked at."""
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        # A record that reaches beyond the end is not marked yet: go back to where it begins.
        at = self._index(end)
        if at and self._records[at - 1].end > end:
            end = self._records[at - 1].start
        self._seen[start] = end
