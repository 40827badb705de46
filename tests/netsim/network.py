"""A bad network under virtual time: two stacks, a link each way, all randomness from a seed.

Links delay, and lose, swap, copy, damage and swallow packets; they have a rate and a queue. Nothing waits and no clock
is read: `Network.run` goes from one thing that happens to the next.
"""

import hashlib
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.state import Settings

LEFT = bytes.fromhex("fdaa00000018a7b0d6b0000000000002")
RIGHT = bytes.fromhex("fdaa00000018a7b07d00f066b83b0002")
LEFT_PORT, RIGHT_PORT = 40001, 40002
MTU = 1420


def entropy(seed: int) -> Callable[[int], bytes]:
    """Bytes that look random and are always the same."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_128(b"%d %d" % (seed, count)).digest(size)

    return draw


@dataclass(frozen=True)
class Conditions:
    """What a link does to packets. Seconds, bytes, bytes a second; shares from 0 to 1."""

    delay: float = 0.01
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float = 12.5e6
    queue: int = 128 * 1024
    mtu: int = 1 << 16
    """Longer packets vanish without a word."""


class Link:
    """One way."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.sent = self.lost = 0
        self.filter: Callable[[bytes], bool] = lambda _: True
        """Whether a packet may pass, for tests that lose certain ones."""
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._arrivals: list[tuple[float, int, bytes]] = []
        self._number = 0

    def send(self, packet: bytes, now: float) -> None:
        """A packet enters it."""
        here = self.conditions
        self.sent += 1
        backlog = max(0.0, self._free_at - now) * here.rate
        chance = self._random.random()
        too_long = len(packet) > here.mtu or backlog + len(packet) > here.queue
        if too_long or chance < here.loss or not self.filter(packet):
            self.lost += 1
            return
        self._free_at = max(now, self._free_at) + len(packet) / here.rate
        for _ in range(2 if self._random.random() < here.duplicate else 1):
            delay = here.delay * (1 if self._random.random() >= here.reorder else 1.5)
            self._push(self._damage(packet), self._free_at + delay)

    def next_arrival(self) -> float:
        """When the next packet comes out."""
        return self._arrivals[0][0] if self._arrivals else math.inf

    def arrivals(self, now: float) -> list[bytes]:
        """What has come out."""
        found = []
        while self._arrivals and self._arrivals[0][0] <= now:
            found.append(heapq.heappop(self._arrivals)[2])
        return found

    def _push(self, packet: bytes, at: float) -> None:
        self._number += 1
        heapq.heappush(self._arrivals, (at, self._number, packet))

    def _damage(self, packet: bytes) -> bytes:
        if self._random.random() >= self.conditions.corrupt:
            return packet
        at = self._random.randrange(len(packet))
        return packet[:at] + bytes([packet[at] ^ self._random.randrange(1, 256)]) + packet[at + 1 :]


class Network:
    """Two stacks and what is between them. `now` is virtual."""

    def __init__(self, there: Conditions, back: Conditions | None = None, seed: int = 1) -> None:
        self.now = 1000.0
        self.left = Stack(LEFT, MTU, entropy(2 * seed))
        self.right = Stack(RIGHT, MTU, entropy(2 * seed + 1))
        self.there = Link(there, 2 * seed)
        self.back = Link(back or there, 2 * seed + 1)

    def connect(
        self, left: Settings | None = None, right: Settings | None = None
    ) -> tuple[Connection, Connection]:
        """Both open at once (RFC 9293 §3.5): so two sides that cannot listen meet."""
        left = Settings(local_port=LEFT_PORT) if left is None else left
        right = Settings(local_port=RIGHT_PORT) if right is None else right
        ours = self.left.connect(RIGHT, RIGHT_PORT, self.now, left)
        theirs = self.right.connect(LEFT, LEFT_PORT, self.now, right)
        return ours, theirs

    def run(self, until: Callable[[], bool], seconds: float = 600.0) -> bool:
        """Go on until something is so; False if it is not after so many seconds, or nothing happens any more."""
        end = self.now + seconds
        while True:
            self.flush()
            if until():
                return True
            upcoming = min(self.there.next_arrival(), self.back.next_arrival(), *self._timers())
            if upcoming > end:
                self.now = end
                return False
            self.now = max(self.now, upcoming)
            self._step()

    def _timers(self) -> list[float]:
        timers = (self.left.next_timer(), self.right.next_timer())
        return [math.inf if timer is None else timer for timer in timers]

    def flush(self) -> None:
        """Let both sides send what they have."""
        for packet in self.left.packets_to_send(self.now):
            self.there.send(packet, self.now)
        for packet in self.right.packets_to_send(self.now):
            self.back.send(packet, self.now)

    def _step(self) -> None:
        for packet in self.there.arrivals(self.now):
            self.right.receive_packet(packet, self.now)
        for packet in self.back.arrivals(self.now):
            self.left.receive_packet(packet, self.now)
        for stack, timer in zip((self.left, self.right), self._timers(), strict=True):
            if timer <= self.now:
                stack.handle_timer(self.now)


class Transfer:
    """A file on its way from one connection to the other, looked at whenever something has happened."""

    def __init__(self, network: Network, sender: Connection, receiver: Connection, data: bytes):
        self._network = network
        self._sender, self._receiver = sender, receiver
        self._data = data
        self._sent = 0
        self._digest = hashlib.sha256()
        self.received = 0

    def step(self) -> bool:
        """Write and read what is possible. Whether all is there."""
        if self._sent < len(self._data) and self._sender.outcome is None:
            self._sent += self._sender.send_data(
                memoryview(self._data)[self._sent : self._sent + 65536]
            )
            if self._sent == len(self._data):
                self._sender.send_eof()
        while data := self._receiver.receive_data(1 << 20):
            self._digest.update(data)
            self.received += len(data)
        self._network.flush()
        return data == b""

    @property
    def is_intact(self) -> bool:
        """Whether what came is what was sent."""
        return self._digest.digest() == hashlib.sha256(self._data).digest()
