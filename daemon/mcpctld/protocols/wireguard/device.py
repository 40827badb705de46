"""WireGuard without I/O (whitepaper: Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", 2020).

A `Device` has one private key and any number of peers. It has three inputs: the user (`send_packet`, `initiate`), the
network (`receive_datagram`), the clock (`handle_timer`); what they lead to is fetched by `datagrams_to_send`,
`next_event` and `next_timer`. Nothing that comes from the network raises: what is of no use is counted and dropped.
"""

import math
from collections.abc import Callable

from mcpctld.protocols.wireguard.addresses import Address, encode_address, network_of
from mcpctld.protocols.wireguard.clock import Clock
from mcpctld.protocols.wireguard.cookies import CookieMaker
from mcpctld.protocols.wireguard.counters import DeviceStatistics, Drop, Drops
from mcpctld.protocols.wireguard.events import Event, UnknownPeer
from mcpctld.protocols.wireguard.flood import Load, SourceLimits
from mcpctld.protocols.wireguard.keys import PrivateKey, UnusableKey
from mcpctld.protocols.wireguard.limits import HANDSHAKES_PER_SECOND, MAX_REPLIES
from mcpctld.protocols.wireguard.messages import (
    COOKIE_REPLY,
    INITIATION,
    TRANSPORT,
    TRANSPORT_HEADER,
    TRANSPORT_OVERHEAD,
    decode_cookie_reply,
    decode_initiation,
    decode_response,
    kind_of,
)
from mcpctld.protocols.wireguard.noise import IDENTIFIER, NotAuthentic, Responder
from mcpctld.protocols.wireguard.packets import destination_of
from mcpctld.protocols.wireguard.peer import Peer, PeerSpec
from mcpctld.protocols.wireguard.shared import Shared


class Device:
    """One private key and its peers.

    `entropy(n)` gives n random bytes. `now` is in seconds of a clock that runs on while the machine sleeps, and
    `unix_time` what time it is at this `now`. `mtu` bounds packets, not datagrams, which are 32 bytes longer.
    """

    def __init__(
        self,
        private_key: PrivateKey,
        entropy: Callable[[int], bytes],
        *,
        now: float,
        unix_time: float,
        mtu: int = 1420,
        handshakes_per_second: float = HANDSHAKES_PER_SECOND,
    ) -> None:
        self._clock = Clock(now, unix_time)
        self._private = private_key
        self._shared: Shared[Peer] = Shared(private_key, entropy, self._clock, mtu)
        self._peer_of = self._shared.indices.owner
        self._peers: dict[bytes, Peer] = {}
        self._cookies = CookieMaker(private_key.public, entropy)
        self._load = Load(handshakes_per_second, now)
        self._sources = SourceLimits()
        self._drops = Drops()
        self._cookie_replies = 0

    # ------------------------------------------------------------ peers

    def add_peer(self, spec: PeerSpec, now: float) -> None:
        """From now on it is a peer.

        `ValueError` for a key that is ours, is another peer's, or is of no use, and for keepalives without a pause.
        """
        public = spec.public_key
        if spec.persistent_keepalive is not None and not spec.persistent_keepalive >= 1:
            raise ValueError("between persistent keepalives there is a second or more")
        if public == self._private.public or public in self._peers:
            raise ValueError("a peer has a public key of its own")
        try:
            self._private.exchange(public)
        except UnusableKey as exc:
            raise ValueError("the public key of the peer cannot be used") from exc
        peer = self._peers[public] = Peer(self._shared, spec)
        self._shared.routes.add(spec.allowed_ips, peer)
        if spec.persistent_keepalive:
            peer.keep_alive(self._clock.advance(now))

    def remove_peer(self, public_key: bytes) -> None:
        """It is none any more. `KeyError` if it was none."""
        self._peers.pop(public_key).close()

    def set_endpoint(self, public_key: bytes, endpoint: Address) -> None:
        """Where a peer is from now on: its name was resolved anew, or another carrier took over."""
        self._peers[public_key].set_endpoint(endpoint)

    def initiate(self, public_key: bytes, now: float) -> None:
        """Begin a handshake, once the protocol allows it: 5 s after the last one."""
        self._peers[public_key].initiate(self._clock.advance(now))

    def last_timestamp(self, public_key: bytes) -> bytes:
        """To be kept over a restart, and then given in `PeerSpec.last_timestamp`."""
        return self._peers[public_key].last_timestamp

    def statistics(self) -> DeviceStatistics:
        """A record of this moment."""
        peers = {public: peer.statistics() for public, peer in self._peers.items()}
        return DeviceStatistics(
            peers=peers,
            drops=self._drops.snapshot(),
            cookie_replies=self._cookie_replies,
            indices=len(self._shared.indices),
            sources=len(self._sources),
        )

    # ------------------------------------------------------------ in

    def send_packet(self, packet: bytes, now: float) -> None:
        """Send an IP packet to the peer that has its destination."""
        now = self._clock.advance(now)
        destination = destination_of(packet)
        if destination is None:
            self._drops.count(Drop.MALFORMED)
        elif (peer := self._shared.routes.owner(destination)) is None:
            self._drops.count(Drop.NO_ROUTE)
        elif len(packet) > self._shared.mtu:
            peer.drops.count(Drop.TOO_LONG)
        else:
            peer.send(packet, now)

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Take what came from an address."""
        now = self._clock.advance(now)
        if len(data) < TRANSPORT_OVERHEAD:
            self._drops.count(Drop.MALFORMED)
            return
        kind, index, counter = TRANSPORT_HEADER.unpack_from(data)
        if kind != TRANSPORT:
            self._receive_other(data, address, now)
        elif (peer := self._peer_of(index)) is None:
            self._drops.count(Drop.UNKNOWN_INDEX)
        else:
            peer.receive_transport(index, counter, data, address, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        now = self._clock.advance(now)
        for peer in self._peers.values():
            if peer.next_timer() <= now:
                peer.handle_timer(now)

    # ------------------------------------------------------------ out

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """What is to be sent, and where to; each only once."""
        self._clock.advance(now)
        output = self._shared.output[:]
        self._shared.output.clear()
        return output

    def next_event(self) -> Event | None:
        """The next event, None if there is none."""
        events = self._shared.events
        return events.popleft() if events else None

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called; None for never."""
        due = min((peer.next_timer() for peer in self._peers.values()), default=math.inf)
        return None if due == math.inf else self._clock.to_caller(due)

    # ------------------------------------------------------------ handshakes

    def _receive_other(self, data: bytes, address: Address, now: float) -> None:
        kind = kind_of(data)
        if kind is None:
            self._drops.count(Drop.MALFORMED)
        elif kind == COOKIE_REPLY:
            self._receive_cookie_reply(data, now)
        elif self._is_worth_the_work(data, address, now):
            if kind == INITIATION:
                self._receive_initiation(data, address, now)
            else:
                self._receive_response(data, address, now)

    def _is_worth_the_work(self, data: bytes, address: Address, now: float) -> bool:
        """Handshakes are cheap to send and dear to read: the sender has to show more the more there are (§5.3)."""
        if not self._cookies.has_valid_mac1(data):
            self._drops.count(Drop.BAD_MAC1)
            return False
        if not self._load.note(now):
            return True
        source = encode_address(address)
        if not self._cookies.has_valid_mac2(data, source, now):
            self._drops.count(Drop.UNDER_LOAD)
            self._reply(self._cookies.reply(data, source, now), address)
            return False
        if not self._sources.allow(network_of(address), now):
            self._drops.count(Drop.RATE_LIMITED)
            return False
        return True

    def _reply(self, datagram: bytes, address: Address) -> None:
        if len(self._shared.output) < MAX_REPLIES:
            self._shared.output.append((datagram, address))
            self._cookie_replies += 1

    def _receive_initiation(self, data: bytes, address: Address, now: float) -> None:
        initiation = decode_initiation(data)
        noise = Responder(self._private, IDENTIFIER)
        try:
            timestamp = noise.read(initiation.noise)
        except NotAuthentic:
            self._drops.count(Drop.NOT_AUTHENTIC)
            return
        peer = self._peers.get(noise.initiator)
        if peer is None:
            self._drops.count(Drop.UNKNOWN_PEER)
            self._shared.emit(UnknownPeer(noise.initiator, address))
        else:
            peer.receive_initiation(initiation, noise, timestamp, address, now)

    def _receive_response(self, data: bytes, address: Address, now: float) -> None:
        response = decode_response(data)
        peer = self._peer_of(response.receiver)
        if peer is None:
            self._drops.count(Drop.UNKNOWN_INDEX)
        else:
            peer.receive_response(response, address, now)

    def _receive_cookie_reply(self, data: bytes, now: float) -> None:
        reply = decode_cookie_reply(data)
        peer = self._peer_of(reply.receiver)
        if peer is None:
            self._drops.count(Drop.UNKNOWN_INDEX)
        else:
            peer.receive_cookie_reply(reply, now)
