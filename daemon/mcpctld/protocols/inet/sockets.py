"""What is not TCP: a port of UDP, an echo request."""

from collections import deque
from collections.abc import Callable

from mcpctld.protocols.inet.events import Answered, Event, Received
from mcpctld.protocols.inet.ports import endpoint_key
from mcpctld.protocols.inet.udp import Datagram, encode

MAX_QUEUED = 64
"""Datagrams that wait to be read; later ones are dropped."""


class UdpSocket:
    """A port of ours that hears one peer only: whoever answers for it must know both ports and its address."""

    def __init__(
        self,
        local: bytes,
        port: int,
        peer: tuple[bytes, int],
        events: deque[Event],
        send: Callable[[bytes], None],
    ) -> None:
        self.port = port
        self.refused = ""
        """What an ICMP error said of the last datagram; empty if nothing."""
        self._local = local
        self._peer = peer
        self._events = events
        self._send = send
        self._queue: deque[bytes] = deque()

    @property
    def key(self) -> bytes:
        """What datagrams from the peer are told by."""
        address, port = self._peer
        return endpoint_key(address, port, self.port)

    def send(self, data: bytes) -> None:
        """Send a datagram. It must fit into a packet: it is not fragmented."""
        address, port = self._peer
        self._send(encode(self._local, address, (self.port, port), data))

    def receive(self) -> bytes | None:
        """The next datagram that came; None if none."""
        return self._queue.popleft() if self._queue else None

    def receive_datagram(self, datagram: Datagram) -> bool:
        """One has come for it. False: the queue is full."""
        if len(self._queue) >= MAX_QUEUED:
            return False
        self._queue.append(datagram.data)
        self._events.append(Received(self))
        return True

    def receive_error(self, reason: str) -> None:
        """A router, or the peer, has refused a datagram."""
        self.refused = reason
        self._events.append(Received(self))


class Ping:
    """An echo request, and when it was answered."""

    def __init__(
        self, identifier: int, data: bytes, peer: bytes, now: float, events: deque[Event]
    ) -> None:
        self.peer = peer
        self.rtt: float | None = None
        """Seconds; None as long as it is not answered."""
        self.refused = ""
        """What an ICMP error said of it; empty if nothing."""
        self.identifier = identifier
        self._data = data
        self._sent_at = now
        self._events = events

    def receive_reply(self, peer: bytes, data: bytes, now: float) -> bool:
        """A reply with its identifier has come. False: it is not an answer to this."""
        if peer != self.peer or data != self._data:
            return False
        self.rtt = now - self._sent_at
        self._events.append(Answered(self))
        return True

    def receive_error(self, reason: str) -> None:
        """A router has refused it."""
        self.refused = reason
        self._events.append(Answered(self))
