"""Devices that face each other over a network that does as it is told, in virtual time and with seeded randomness."""

import heapq
import ipaddress
import math
import random
from collections.abc import Callable

from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.events import Event, PacketReceived
from mcpctld.protocols.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.inner import packet

INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
UNIX_TIME = 1_800_000_000.0

Deliveries = list[tuple[float, bytes]]
"""What becomes of one datagram: after how long which bytes arrive; nothing when it is lost."""


class Node:
    """A device, where it is, and what it has been told. `fdaa:NUMBER::1` is its address inside."""

    def __init__(self, world: "World", number: int, **options: float) -> None:
        self.world = world
        self.number = number
        self.address: Address = (f"192.0.2.{number}", 51820)
        self.inside = f"fdaa:{number}::1"
        self.private = PrivateKey(world.rng.randbytes(32))
        self.step = 0.0  # of its clock against the world's
        self.asleep = False
        self.events: list[Event] = []
        self.packets: list[bytes] = []
        self.options = options
        self.device = self.new_device(world.now)

    @property
    def key(self) -> bytes:
        return self.private.public

    @property
    def now(self) -> float:
        return self.world.now + self.step

    def new_device(self, unix: float) -> Device:
        options: dict[str, float] = {**self.options}
        return Device(
            self.private,
            self.world.rng.randbytes,
            now=self.now,
            unix_time=UNIX_TIME + unix,
            **options,
        )

    def restart(self, *, wall_clock_step: float = 0.0) -> None:
        """A new process with the same key."""
        self.device = self.new_device(self.world.now + wall_clock_step)

    def add(self, other: "Node", **options: object) -> None:
        values: dict[str, object] = {"endpoint": other.address, **options}
        allowed = (ipaddress.ip_network(f"fdaa:{other.number}::/32"),)
        self.device.add_peer(PeerSpec(other.key, allowed, **values), self.now)  # type: ignore[arg-type]

    def send(self, other: "Node", fill: bytes = b"x", size: int = 60) -> bytes:
        """A packet to the other one, on its way."""
        data = packet(self.inside, other.inside, size, fill)
        self.device.send_packet(data, self.now)
        self.world.settle()
        return data

    def seen(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def drops(self) -> dict[Drop, int]:
        """All of them, whoever is counted for."""
        statistics = self.device.statistics()
        total = dict(statistics.drops)
        for peer in statistics.peers.values():
            for reason, times in peer.drops.items():
                total[reason] = total.get(reason, 0) + times
        return total

    def take(self) -> list[tuple[bytes, Address]]:
        """What it wants to send, and what it says."""
        while (event := self.device.next_event()) is not None:
            if isinstance(event, PacketReceived):
                self.packets.append(event.packet)
            self.events.append(event)
        return self.device.datagrams_to_send(self.now)


class World:
    """Time passes only in `run`. `network(data)` decides about each datagram; by default it arrives after `delay`."""

    def __init__(self, seed: int = 1, delay: float = 0.01) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.delay = delay
        self.nodes: list[Node] = []
        self.network: Callable[[bytes], Deliveries] = self.deliver
        self.log: list[int] = []  # the types of what was sent
        self._queue: list[tuple[float, int, bytes, Address, Address]] = []
        self._count = 0

    def deliver(self, data: bytes) -> Deliveries:
        return [(self.delay, data)]

    def node(self, **options: float) -> Node:
        self.nodes.append(Node(self, len(self.nodes) + 1, **options))
        return self.nodes[-1]

    def pair(self, preshared: PresharedKey = NO_PRESHARED_KEY) -> tuple[Node, Node]:
        """Two that know each other."""
        one, other = self.node(), self.node()
        one.add(other, preshared_key=preshared)
        other.add(one, preshared_key=preshared)
        return one, other

    def settle(self) -> None:
        """Take what the devices have to send."""
        for node in self.nodes:
            for data, destination in node.take():
                self.log.append(data[0])
                for delay, arriving in self.network(data):
                    self._count += 1
                    due = (self.now + delay, self._count, arriving, node.address, destination)
                    heapq.heappush(self._queue, due)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.settle()
        while (due := self._next()) <= end:
            self.now = max(self.now, due)
            self._arrive()
            for node in self._awake():
                node.device.handle_timer(node.now)
            self.settle()
        self.now = end

    def _awake(self) -> list[Node]:
        return [node for node in self.nodes if not node.asleep]

    def _next(self) -> float:
        timers = [
            self._due(node.step, timer)
            for node in self._awake()
            if (timer := node.device.next_timer()) is not None
        ]
        return min([*timers, self._queue[0][0] if self._queue else math.inf], default=math.inf)

    def _due(self, step: float, timer: float) -> float:
        """When it is that time for a node; not a hair earlier, for then nothing would be due."""
        due = timer - step
        while due + step < timer:
            due = math.nextafter(due, math.inf)
        return due

    def _arrive(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, data, source, destination = heapq.heappop(self._queue)
            for node in self._awake():
                if node.address == destination:
                    node.device.receive_datagram(data, source, node.now)


def talk(world: World, pair: tuple[Node, Node], rounds: int = 3, within_s: float = 1.0) -> None:
    """Both send; all of it arrives, once and unchanged."""
    for _ in range(rounds):
        expected = []
        for sender, receiver in (pair, pair[::-1]):
            receiver.packets.clear()
            fill = world.rng.randbytes(1)
            expected.append([sender.send(receiver, fill, 100), sender.send(receiver, fill, 1420)])
        world.run(within_s)
        assert [pair[1].packets, pair[0].packets] == expected
