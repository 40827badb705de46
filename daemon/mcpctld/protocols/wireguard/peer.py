"""One peer: what it means that a message comes, that there is a packet to send, or that time has passed.

In the order to read: what the user wants, what the peer sends, what time does; and then the steps these share.
"""

import ipaddress
import math
from collections import deque

import msgspec

from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.counters import Drop, Drops, PeerStatistics
from mcpctld.protocols.wireguard.events import (
    EndpointChanged,
    HandshakeFailed,
    HandshakeUnanswered,
    KeysErased,
    PacketReceived,
    SessionEstablished,
)
from mcpctld.protocols.wireguard.handshakes import Handshakes
from mcpctld.protocols.wireguard.keypair import Keypair
from mcpctld.protocols.wireguard.keypairs import Keypairs
from mcpctld.protocols.wireguard.keys import NO_PRESHARED_KEY, PresharedKey
from mcpctld.protocols.wireguard.limits import MAX_ATTEMPTS, MAX_STAGED, REKEY_TIMEOUT
from mcpctld.protocols.wireguard.messages import (
    INITIATION_SIZE,
    RESPONSE_SIZE,
    CookieReply,
    Initiation,
    Response,
)
from mcpctld.protocols.wireguard.noise import Responder
from mcpctld.protocols.wireguard.packets import unpad
from mcpctld.protocols.wireguard.shared import Shared
from mcpctld.protocols.wireguard.tai64n import ZERO
from mcpctld.protocols.wireguard.timers import Timer, Timers

_PADDING = tuple(bytes(count) for count in range(16))


class PeerSpec(msgspec.Struct, frozen=True):
    """What is known of a peer beforehand."""

    public_key: bytes
    allowed_ips: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    preshared_key: PresharedKey = NO_PRESHARED_KEY
    endpoint: Address | None = None
    """Where it is; None for a peer that comes by itself."""
    persistent_keepalive: float | None = None
    """Seconds."""
    last_timestamp: bytes = ZERO
    """`Device.last_timestamp` of before a restart."""


class Peer:
    """Belongs to one device, whose times it is given."""

    def __init__(self, shared: "Shared[Peer]", spec: PeerSpec) -> None:
        self._shared = shared
        self._output = shared.output
        self._public = spec.public_key
        self._endpoint = spec.endpoint
        self._handshakes: Handshakes[Peer] = Handshakes(
            shared, spec.public_key, spec.preshared_key, spec.last_timestamp
        )
        self._keypairs = Keypairs()
        self._timers = Timers(spec.persistent_keepalive)
        self._staged: deque[bytes] = deque()
        self._attempts = 0  # initiations since somebody last wanted to send
        self._may_initiate_at = -math.inf
        self.drops = Drops()
        self._sessions = 0
        self._last_handshake: float | None = None
        self._rtt: float | None = None
        self._unanswered = 0
        self._bytes_sent = 0
        self._bytes_received = 0

    # ------------------------------------------------------------ what the user wants

    def send(self, packet: bytes, now: float) -> None:
        """Send a packet; without a session it waits for one (§6.4)."""
        keypair = self._keypairs.current
        if keypair is None or self._endpoint is None or not keypair.can_send(now):
            self._stage(packet, now)
            return
        self._transmit(keypair, packet, now)

    def initiate(self, now: float) -> None:
        """Begin a handshake, as soon as the protocol allows it."""
        self._attempts = 0
        self._send_initiation(now)

    def set_endpoint(self, endpoint: Address) -> None:
        """It is there, until it is heard from elsewhere."""
        self._endpoint = endpoint

    def keep_alive(self, now: float) -> None:
        """Show the peer that we are there; without a session make one."""
        keypair = self._keypairs.current
        if keypair is not None and self._endpoint is not None and keypair.can_send(now):
            self._transmit(keypair, b"", now)
        else:
            self.initiate(now)

    def close(self) -> None:
        """Forget everything."""
        self._erase()
        self._shared.routes.remove(self)

    @property
    def last_timestamp(self) -> bytes:
        """Of our initiations."""
        return self._handshakes.last_timestamp

    def statistics(self) -> PeerStatistics:
        """A record of this moment."""
        last = self._last_handshake
        return PeerStatistics(
            endpoint=self._endpoint,
            handshakes=self._sessions,
            last_handshake=None if last is None else self._shared.clock.to_caller(last),
            rtt=self._rtt,
            unanswered=self._unanswered,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            staged=len(self._staged),
            drops=self.drops.snapshot(),
        )

    # ------------------------------------------------------------ what the peer sends

    def receive_transport(
        self, index: int, counter: int, datagram: bytes, source: Address, now: float
    ) -> None:
        """A transport message for one of our indices (§5.4.6)."""
        keypair = self._keypairs.find(index)
        if keypair is None:
            self.drops.count(Drop.UNKNOWN_INDEX)
        elif now >= keypair.expires:
            self.drops.count(Drop.EXPIRED)
        elif (padded := keypair.open(datagram)) is None:
            self.drops.count(Drop.NOT_AUTHENTIC)
        elif not keypair.accept(counter):
            self.drops.count(Drop.REPLAYED)
        else:
            self._note_authentic(len(datagram), source, now, data=bool(padded))
            if keypair is self._keypairs.next:
                self._promote(keypair, now)
            if padded:
                self._deliver(padded)
            if now >= keypair.due_after_receiving:
                self.initiate(now)

    def receive_initiation(
        self,
        initiation: Initiation,
        noise: Responder,
        timestamp: bytes,
        source: Address,
        now: float,
    ) -> None:
        """An initiation that proved to be the peer's; `noise` has read it."""
        refusal = self._handshakes.refusal(timestamp, now)
        if refusal is not None:
            self.drops.count(refusal)
            return
        datagram, keypair = self._handshakes.respond(self, initiation, noise, now)
        self._note_authentic(INITIATION_SIZE, source, now, data=False)
        self._shared.indices.release(self._keypairs.responded(keypair))
        self._timers.derived(now)
        self._emit_handshake(datagram, now)

    def receive_response(self, response: Response, source: Address, now: float) -> None:
        """A response to an index of ours."""
        finished = self._handshakes.complete(response, now)
        if isinstance(finished, Drop):
            self.drops.count(finished)
            return
        keypair, rtt = finished
        self._note_authentic(RESPONSE_SIZE, source, now, data=False)
        self._shared.indices.release(self._keypairs.initiated(keypair))
        self._timers.derived(now)
        self._establish(rtt, now, is_initiator=True)
        if self._staged:
            self._flush(keypair, now)
        else:
            self._transmit(keypair, b"", now)  # the responder may not send before it has heard us

    def receive_cookie_reply(self, reply: CookieReply, now: float) -> None:
        """A cookie for an index of ours; the next handshake message will carry it (§6.6)."""
        if not self._handshakes.receive_cookie(reply, now):
            self.drops.count(Drop.NOT_AUTHENTIC)

    # ------------------------------------------------------------ what time does

    def next_timer(self) -> float:
        """When `handle_timer` is to be called; `math.inf` for never."""
        return self._timers.next()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for timer in self._timers.pop(now):
            if timer is Timer.RETRANSMIT:
                self._retransmit(now)
            elif timer is Timer.STALE:
                self.initiate(now)
            elif timer is Timer.ERASE:
                self._erase()
                self._shared.emit(KeysErased(self._public))
            else:
                self.keep_alive(now)

    def _retransmit(self, now: float) -> None:
        if self._unanswered:
            self._shared.emit(HandshakeUnanswered(self._public, self._unanswered))
        if self._attempts < MAX_ATTEMPTS:
            self._send_initiation(now)
            return
        self._timers.gave_up(now)
        self._handshakes.forget()
        dropped = len(self._staged)
        self._staged.clear()
        self.drops.count(Drop.GAVE_UP, dropped)
        self._shared.emit(HandshakeFailed(self._public, dropped))

    def _erase(self) -> None:
        self._handshakes.forget()
        self._shared.indices.release(self._keypairs.clear())

    # ------------------------------------------------------------ steps

    def _stage(self, packet: bytes, now: float) -> None:
        if self._endpoint is None:
            self.drops.count(Drop.NO_ENDPOINT)
            return
        if len(self._staged) >= MAX_STAGED:
            self._staged.popleft()
            self.drops.count(Drop.QUEUE_FULL)
        self._staged.append(packet)
        self.initiate(now)

    def _flush(self, keypair: Keypair, now: float) -> None:
        while self._staged:
            self._transmit(keypair, self._staged.popleft(), now)

    def _transmit(self, keypair: Keypair, packet: bytes, now: float) -> None:
        size = len(packet)
        padding = -size & 15  # to a multiple of 16, but not beyond the MTU (§5.4.6)
        if padding:
            packet += _PADDING[min(padding, self._shared.mtu - size)]
        self._emit(keypair.seal(packet), now, data=size > 0)
        if keypair.is_due_after_sending(now):
            self.initiate(now)

    def _emit(self, datagram: bytes, now: float, *, data: bool) -> None:
        assert self._endpoint is not None
        self._output.append((datagram, self._endpoint))
        self._bytes_sent += len(datagram)
        self._timers.sent(now, data=data)

    def _emit_handshake(self, datagram: bytes, now: float) -> None:
        self._timers.jitter = self._shared.jitter()
        self._may_initiate_at = now + REKEY_TIMEOUT
        self._emit(datagram, now, data=False)

    def _send_initiation(self, now: float) -> None:
        """Never more than one in `REKEY_TIMEOUT`, nor so soon after a response (§6.1)."""
        if self._endpoint is None:
            return
        if now < self._may_initiate_at:
            self._timers.postponed(self._may_initiate_at)
            return
        self._attempts += 1
        self._unanswered += 1
        self._emit_handshake(self._handshakes.initiate(self, now), now)
        self._timers.initiated(now)

    def _note_authentic(self, size: int, source: Address, now: float, *, data: bool) -> None:
        """The peer has the keys: so it is where the message came from (§2.1)."""
        self._bytes_received += size
        self._timers.received(now, data=data)
        if source != self._endpoint:
            self._endpoint = source
            self._shared.emit(EndpointChanged(self._public, source))

    def _promote(self, keypair: Keypair, now: float) -> None:
        self._shared.indices.release(self._keypairs.promote())
        self._establish(now - keypair.born, now, is_initiator=False)
        self._flush(keypair, now)

    def _establish(self, rtt: float, now: float, *, is_initiator: bool) -> None:
        self._timers.established()
        self._attempts = self._unanswered = 0
        self._sessions += 1
        self._last_handshake, self._rtt = now, rtt
        self._shared.emit(SessionEstablished(self._public, rtt, is_initiator))

    def _deliver(self, padded: bytes) -> None:
        found = unpad(padded)
        if found is None:
            self.drops.count(Drop.MALFORMED)
            return
        packet, source = found
        if self._shared.routes.owner(source) is not self:
            self.drops.count(Drop.WRONG_SOURCE)
        elif not self._shared.emit(PacketReceived(self._public, packet)):
            self.drops.count(Drop.QUEUE_FULL)
