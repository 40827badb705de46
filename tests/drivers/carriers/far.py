"""The other side of a tunnel in memory, in virtual time: it answers each packet, and its carriers can be cut."""

import ipaddress
import random
from collections.abc import Callable

import trio

from mcpctld.drivers.carriers.carrier import Kind, Opener
from mcpctld.drivers.carriers.link import WireGuardLink
from mcpctld.errors import Unreachable
from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.events import PacketReceived
from mcpctld.protocols.wireguard.keys import PrivateKey
from mcpctld.protocols.wireguard.peer import PeerSpec
from wireguard.inner import packet

OURS, THEIRS = "fdaa:1::1", "fdaa:2::1"
ADDRESS = ("192.0.2.1", 51820)
UNIX_TIME = 1_800_000_000.0
DELAY_S = 0.02


class Carrier:
    """One that leads to `far`, until it is cut."""

    def __init__(self, far: "Far", kind: Kind) -> None:
        self.kind: Kind = kind
        self._far = far
        self._cut = trio.Event()
        self.deliver: Callable[[list[bytes]], None] = lambda datagrams: None
        far.carriers.append(self)

    def send(self, datagrams) -> None:
        for datagram in datagrams:
            if self.kind not in self._far.deaf:
                self._far.later(self._far.take, datagram, self)

    async def run(self, deliver) -> None:
        self.deliver = deliver
        await self._cut.wait()
        raise Unreachable("it was cut")

    def cut(self) -> None:
        self._cut.set()


class Far:
    """Answers each packet with one of its own. Which kinds of carriers work is told by `deaf` and `dumb`."""

    def __init__(self, nursery: trio.Nursery, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.nursery = nursery
        self.key = PrivateKey(self.random.randbytes(32))
        self.ours = PrivateKey(self.random.randbytes(32))
        self.deaf: set[str] = set()
        """Kinds of carriers by which nothing gets there."""
        self.dumb: set[str] = set()
        """Kinds by which nothing comes back."""
        self.refuse: set[str] = set()
        """Kinds that cannot be opened."""
        self.carriers: list[Carrier] = []
        self.heard: list[bytes] = []
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self.device = self.make_device(self.key)
        network = (ipaddress.ip_network("fdaa:1::/32"),)
        self.device.add_peer(PeerSpec(self.ours.public, network), trio.current_time())

    def make_device(self, key: PrivateKey, clock=trio.current_time) -> Device:
        now = clock()
        return Device(key, self.random.randbytes, now=now, unix_time=UNIX_TIME + now)

    def link(self, *kinds: Kind, clock=trio.current_time, **more) -> WireGuardLink:
        """Our side, with carriers of these kinds."""
        device = self.make_device(self.ours, clock)
        network = (ipaddress.ip_network("fdaa:2::/32"),)
        device.add_peer(PeerSpec(self.key.public, network, endpoint=ADDRESS), clock())
        openers = {kind: self._opener(kind) for kind in kinds}
        endpoints = {self.key.public: (ADDRESS, openers)}
        return WireGuardLink(device, endpoints, clock=clock, **more)

    def _opener(self, kind: Kind) -> Opener:
        async def open_one() -> Carrier:
            await trio.sleep(DELAY_S)
            if kind in self.refuse:
                raise Unreachable(f"no {kind} here")
            return Carrier(self, kind)

        return open_one

    def later(self, work, *arguments) -> None:
        async def do() -> None:
            await trio.sleep(DELAY_S)
            work(*arguments)

        self.nursery.start_soon(do)

    def take(self, datagram: bytes, carrier: Carrier) -> None:
        """A datagram has come; what is to be said goes back at once."""
        now = trio.current_time()
        address = (carrier.kind, self.carriers.index(carrier))
        self.device.receive_datagram(datagram, address, now)
        while (event := self.device.next_event()) is not None:
            if isinstance(event, PacketReceived):
                self.heard.append(event.packet)
                self.device.send_packet(packet(THEIRS, OURS, 60), now)
        for data, (kind, number) in self.device.datagrams_to_send(now):
            if kind not in self.dumb:
                self.later(self._return, data, self.carriers[number])

    def _return(self, data: bytes, carrier: Carrier) -> None:
        carrier.deliver([data])
