"""A device on a real UDP socket and a real clock, for tests against other implementations."""

import os
import select
import socket
import time
from collections.abc import Callable

from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.events import Event, PacketReceived
from mcpctld.protocols.wireguard.keys import PrivateKey
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.inner import echo, echo_number


class UdpDevice:
    """`handshakes_per_second=0` is under load from the start."""

    def __init__(self, private: PrivateKey, **options: float) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        now = time.monotonic()
        self.device = Device(private, os.urandom, now=now, unix_time=time.time(), **options)
        self.events: list[Event] = []
        self.watch: Callable[[bytes, bool], object] = lambda data, sent: None

    def add(self, spec: PeerSpec) -> None:
        self.device.add_peer(spec, time.monotonic())

    def seen(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def turn(self, until: float) -> None:
        """One wait for the network or the clock."""
        now = time.monotonic()
        for data, address in self.device.datagrams_to_send(now):
            self.watch(data, True)
            self.socket.sendto(data, address)
        timer = self.device.next_timer()
        wait = min(until, timer if timer is not None else until) - now
        if select.select([self.socket], [], [], max(0.0, wait))[0]:
            data, address = self.socket.recvfrom(65535)
            self.watch(data, False)
            self.device.receive_datagram(data, address, time.monotonic())
        self.device.handle_timer(time.monotonic())
        while (event := self.device.next_event()) is not None:
            self.events.append(event)

    def run(self, condition, within_s: float) -> bool:
        """Whether it became true."""
        until = time.monotonic() + within_s
        while not condition() and time.monotonic() < until:
            self.turn(until)
        return bool(condition())

    def ping(self, source: str, destination: str, number: int, within_s: float = 8.0) -> bool:
        """Whether the echo comes back."""
        self.device.send_packet(echo(source, destination, number), time.monotonic())
        return self.run(lambda: number in self.replies(), within_s)

    def replies(self) -> list[int | None]:
        packets = self.seen(PacketReceived)
        return [echo_number(event.packet) for event in packets if isinstance(event, PacketReceived)]

    def close(self) -> None:
        self.socket.close()
