"""A gateway into the private network of a Fly on this machine: WireGuard by UDP and by WebSocket.

It stands where Fly's gateways do. Who is no peer yet is asked for by its key and made one, and then the gateway begins
itself, as Fly's do. Each address inside that it knows has a stack of its own (`inside`); what connects to a port there
is carried to the port of this machine that `Inside.forward` tells.
"""

import logging
import math
import os
import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Protocol

import trio

from mcpctld.drivers.carriers.carrier import boot_time
from mcpctld.drivers.carriers.udp import widen
from mcpctld.drivers.carriers.websocket import WebSocketCarrier, accept_websocket
from mcpctld.drivers.inet.stream import TunnelStream
from mcpctld.errors import McpctlError
from mcpctld.localfly.inside import HostLink, Inside, forward, make_host, serve_names
from mcpctld.protocols.inet import ipv6
from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.device import Device
from mcpctld.protocols.wireguard.events import PacketReceived, UnknownPeer
from mcpctld.protocols.wireguard.keys import PrivateKey, encode_key
from mcpctld.protocols.wireguard.peer import PeerSpec

MAX_HOSTS = 256
"""Addresses inside that are spoken to at once."""
BATCH = 64
_WEBSOCKET = "websocket"

_log = logging.getLogger("mcpctld.localfly")


class Peers(Protocol):
    """Who may come in."""

    def find(self, public_key: bytes) -> PeerSpec | None:
        """The peer of this key; None if it is nobody's."""


class Gateway:
    """One private key, on a UDP port and a TCP port of loopback."""

    def __init__(
        self,
        key: PrivateKey,
        peers: Peers,
        inside: Inside,
        *,
        mtu: int = 1420,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.udp_port = self.websocket_port = 0
        """Where it listens, once `run` has begun."""
        self.key = key
        self._inside = inside
        self._peers = peers
        self._mtu = mtu
        self._tls = tls
        self._clock = clock
        self.device = Device(key, os.urandom, now=clock(), unix_time=time.time(), mtu=mtu)
        self._socket: socket.socket
        self._websockets: dict[int, WebSocketCarrier] = {}
        self._count = 0
        self._hosts: dict[bytes, HostLink] = {}
        self._alarm = trio.CancelScope()
        self._nursery: trio.Nursery

    async def run(
        self,
        udp_port: int = 0,
        websocket_port: int = 0,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve for ever. Raises `OSError` if a port is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self._socket:
            self._socket.setblocking(False)
            widen(self._socket)
            self._socket.bind(("127.0.0.1", udp_port))
            self.udp_port = self._socket.getsockname()[1]
            (listener,) = await trio.open_tcp_listeners(websocket_port, host="127.0.0.1")
            self.websocket_port = listener.socket.getsockname()[1]
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._receive)
                self._nursery.start_soon(self._keep_time)
                self._nursery.start_soon(trio.serve_listeners, self._serve, [listener])
                task_status.started()

    def evict(self, public_key: bytes) -> None:
        """Forget a peer, as Fly's gateways do with those that were quiet. It is let in again when it comes."""
        self.device.remove_peer(public_key)

    # ------------------------------------------------------------ carriers

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            now = self._clock()
            for _ in range(BATCH):
                try:
                    data, address = self._socket.recvfrom(65535)
                except OSError:  # nothing more, or an error about what we have sent
                    break
                self.device.receive_datagram(data, address, now)
            self._flush(now)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            carrier = await accept_websocket(self._secured(stream))
        except (McpctlError, ssl.SSLError) as exc:
            _log.info("gateway.refused", extra={"error": str(exc)})
            return  # noqa: ASYNC910  (the handshake has waited)
        self._count += 1
        number = self._count
        self._websockets[number] = carrier
        try:
            await carrier.run(lambda came: self._deliver(came, (_WEBSOCKET, number)))
        except McpctlError:
            pass  # it has ended
        finally:
            del self._websockets[number]

    def _secured(self, stream: trio.SocketStream) -> trio.abc.Stream:
        if self._tls is None:
            return stream
        return trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)

    def _deliver(self, datagrams: list[bytes], address: Address) -> None:
        now = self._clock()
        for datagram in datagrams:
            self.device.receive_datagram(datagram, address, now)
        self._flush(now)

    async def _keep_time(self) -> None:
        while True:
            with self._alarm:
                self._flush(self._clock())
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self.device.handle_timer(self._clock())

    def _flush(self, now: float) -> None:
        """Tell what has happened, send what is to be sent, set the alarm."""
        while (event := self.device.next_event()) is not None:
            if isinstance(event, PacketReceived):
                self._take(event.packet, now)
            elif isinstance(event, UnknownPeer):
                self._let_in(event, now)
        for datagram, address in self.device.datagrams_to_send(now):
            self._send(datagram, address)
        due = self.device.next_timer()
        self._alarm.deadline = math.inf if due is None else trio.current_time() + max(0, due - now)

    def _send(self, datagram: bytes, address: Address) -> None:
        if address[0] == _WEBSOCKET:
            if (carrier := self._websockets.get(address[1])) is not None:
                carrier.send([datagram])
            return
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            pass  # lost, as on any network

    def _let_in(self, event: UnknownPeer, now: float) -> None:
        spec = self._peers.find(event.peer)
        if spec is None:
            _log.info("gateway.stranger", extra={"key": encode_key(event.peer)})
            return
        self.device.add_peer(spec, now)
        self.device.set_endpoint(event.peer, event.endpoint)
        self.device.initiate(event.peer, now)

    # ------------------------------------------------------------ inside

    def send(self, packets: list[bytes]) -> None:
        """Packets of hosts inside, to peers."""
        now = self._clock()
        for packet in packets:
            self.device.send_packet(packet, now)
        self._flush(now)

    def _take(self, packet: bytes, now: float) -> None:
        destination = packet[24 : ipv6.HEADER_LENGTH]
        if len(destination) < 16 or packet[0] >> 4 != 6:
            return
        answer = serve_names(packet, self._inside)
        if answer is not None:
            self.device.send_packet(answer, now)
        elif (host := self._host(destination)) is not None:
            host.take(packet)

    def _host(self, address: bytes) -> HostLink | None:
        link = self._hosts.get(address)
        if (
            link is None
            and len(self._hosts) < MAX_HOSTS
            and self._inside.knows(IPv6Address(address))
        ):
            link = self._hosts[address] = HostLink(self.send)
            host = make_host(address, self._mtu, link, self._inside, self._accept)
            self._nursery.start_soon(host.run)
        return link

    def _accept(self, stream: TunnelStream, address: IPv6Address, port: int) -> None:
        self._nursery.start_soon(forward, stream, address, port, self._inside)
