"""A device on its paths: packets in and out, datagrams beneath. It is what `drivers.inet.Host` sends by."""

import math
from collections.abc import Callable, Mapping

import trio

from mcpctld.drivers.carriers.carrier import Kind, Opener, boot_time
from mcpctld.drivers.carriers.path import Path
from mcpctld.protocols.inet import ipv6
from mcpctld.protocols.inet.tcp.segment import FIN, SYN
from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.events import (
    Event,
    HandshakeUnanswered,
    PacketReceived,
    SessionEstablished,
)

QUIET_S = 2.0
"""When what must be answered is not, for so long, a handshake finds out whether the other side has forgotten us.

The protocol waits for 15 s (§6.5), for it does not know what packets are. A handshake too many costs a third of a
millisecond; there is one in 5 s at most.
"""

MAX_UNHEARD = 32
"""Packets without an answer that are kept. They go again over a new session, for TCP may only try again much later."""

Endpoints = Mapping[bytes, tuple[Address, Mapping[Kind, Opener]]]
"""By the public key of a peer: its endpoint, and what leads there."""


class WireGuardLink:
    """Pumps a device while `run` runs."""

    def __init__(
        self,
        device: Device,
        endpoints: Endpoints,
        *,
        clock: Callable[[], float] = boot_time,
        established: Callable[[bytes], None] = lambda peer: None,
    ) -> None:
        """`clock`: that of the device. `established` is told of each session, with the peer's public key."""
        self.device = device
        self._clock = clock
        self._established = established
        self._paths = {
            peer: Path(address, openers, self._receive, self._opened)
            for peer, (address, openers) in endpoints.items()
        }
        self._by_address = {path.address: path for path in self._paths.values()}
        self._peers = {path.address: peer for peer, path in self._paths.items()}
        self._packets: list[bytes] = []
        self._arrived = trio.Event()
        self._alarm = trio.CancelScope()
        self._due = math.inf
        self._unheard: list[bytes] = []
        self._asked_at = math.inf
        self._came_by: tuple[Path, Kind] | None = None
        self.was_up = trio.Event()
        """Set at the first session."""

    @property
    def paths(self) -> Mapping[bytes, Path]:
        """By the public key of the peer."""
        return self._paths

    # ------------------------------------------------------------ packets

    def send(self, packets: list[bytes]) -> None:
        """Send packets, as far as that can be done."""
        now = self._clock()
        if now >= self._due:  # after sleep: what is over is to be over before something new begins
            self._handle_timer(now)
        for packet in packets:
            self.device.send_packet(packet, now)
        self._remember(packets, now)
        self._flush(now)

    def _remember(self, packets: list[bytes], now: float) -> None:
        if len(self._unheard) >= MAX_UNHEARD:
            return
        asking = [packet for packet in packets if wants_answer(packet)]
        if asking:
            self._unheard += asking[: MAX_UNHEARD - len(self._unheard)]
            self._asked_at = min(self._asked_at, now)

    async def receive(self) -> list[bytes]:
        """All packets that have come, at least one."""
        await trio.lowlevel.checkpoint()
        while not self._packets:
            await self._arrived.wait()
        packets, self._packets = self._packets, []
        self._arrived = trio.Event()
        return packets

    # ------------------------------------------------------------ carriers and time

    async def run(self) -> None:
        """Keep the carriers up, and the time, for ever."""
        async with trio.open_nursery() as nursery:
            for path in self._paths.values():
                nursery.start_soon(path.run)
            nursery.start_soon(self._keep_time)

    def renew(self) -> None:
        """The network is another one, or we have slept."""
        now = self._clock()
        self._handle_timer(now)  # time may have gone on by more than trio knows of
        for path in self._paths.values():
            path.renew()
        self._flush(now)

    async def _keep_time(self) -> None:
        while True:
            with self._alarm:
                self._flush(self._clock())
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self._handle_timer(self._clock())

    def _handle_timer(self, now: float) -> None:
        self.device.handle_timer(now)
        if self._asked_at + QUIET_S <= now:
            self._asked_at = math.inf
            for peer in self._paths:
                self.device.initiate(peer, now)

    def _opened(self, path: Path) -> None:
        """A new socket is a new address of ours, and behind a new connection may be another gateway."""
        now = self._clock()
        self.device.initiate(self._peers[path.address], now)
        self._flush(now)

    def _receive(self, path: Path, kind: Kind, datagrams: list[bytes]) -> None:
        now = self._clock()
        self._came_by = path, kind
        for datagram in datagrams:
            self.device.receive_datagram(datagram, path.address, now)
        self._flush(now)
        self._came_by = None

    def _flush(self, now: float) -> None:
        """Send what is to be sent, tell what has happened, set the alarm."""
        while (event := self.device.next_event()) is not None:
            self._tell(event, now)
        for address, datagrams in self._sorted(now).items():
            if (path := self._by_address.get(address)) is not None:
                path.send(datagrams)
        due = self.device.next_timer()
        self._due = min(math.inf if due is None else due, self._asked_at + QUIET_S)
        self._alarm.deadline = trio.current_time() + max(0.0, self._due - now)

    def _sorted(self, now: float) -> dict[Address, list[bytes]]:
        found: dict[Address, list[bytes]] = {}
        for datagram, address in self.device.datagrams_to_send(now):
            found.setdefault(address, []).append(datagram)
        return found

    def _tell(self, event: Event, now: float) -> None:
        if isinstance(event, PacketReceived):
            self._packets.append(event.packet)
            if self._unheard:
                self._unheard.clear()
                self._asked_at = math.inf
            self._arrived.set()
        elif isinstance(event, SessionEstablished):
            if self.was_up.is_set():
                self._ask_again(now)  # before, the device has kept it
            self.was_up.set()
            if self._came_by is not None:
                path, kind = self._came_by
                path.settle(kind)
            self._established(event.peer)
        elif isinstance(event, HandshakeUnanswered) and event.peer in self._paths:
            self._paths[event.peer].race()

    def _ask_again(self, now: float) -> None:
        """What was sent over the last session, or over a carrier that is no more, may never have got there."""
        for packet in self._unheard:
            self.device.send_packet(packet, now)
        if self._unheard:
            self._asked_at = now


def wants_answer(packet: bytes) -> bool:
    """Whether whoever gets this packet answers it, if only by an ACK."""
    if packet[6] != ipv6.TCP or len(packet) < ipv6.HEADER_LENGTH + 20:
        return True
    header = ipv6.HEADER_LENGTH + (packet[ipv6.HEADER_LENGTH + 12] >> 4) * 4
    return len(packet) > header or bool(packet[ipv6.HEADER_LENGTH + 13] & (SYN | FIN))
