"""A stack and the tunnel that it lives in: packets, time, and what users wait for."""

import math
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Protocol

import trio

from mcpctld.drivers.inet.stream import TunnelStream, why
from mcpctld.errors import Unreachable
from mcpctld.protocols.inet.dns.message import Answer, Kind
from mcpctld.protocols.inet.dns.resolver import Lookup
from mcpctld.protocols.inet.events import (
    Accepted,
    Answered,
    Closed,
    Connected,
    Event,
    Readable,
    Resolved,
    Writable,
)
from mcpctld.protocols.inet.ports import OutOfPorts
from mcpctld.protocols.inet.sockets import Ping
from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.state import Outcome, Settings

DEFAULT_SETTINGS = Settings()
CLOSED = "the tunnel is closed"
NOT_OPENED = (Outcome.ABORTED, Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.TIMED_OUT)
"""How an attempt ends that leads to no connection."""


class PacketLink(Protocol):
    """What carries packets: a tunnel."""

    def send(self, packets: list[bytes]) -> None:
        """Send them. Never waits and never raises: what cannot go is lost, as on any network."""

    async def receive(self) -> list[bytes]:
        """All packets that have come, at least one."""


class Host:
    """Pumps a stack while `run` runs. Times are trio's. `accept` is given each connection that a peer begins."""

    def __init__(
        self,
        stack: Stack,
        link: PacketLink,
        accept: Callable[[TunnelStream], None] = lambda stream: None,
    ) -> None:
        self.stack = stack
        self._link = link
        self._accept = accept
        self._streams: dict[Connection, TunnelStream] = {}
        self._waiting: dict[Lookup | Ping, trio.Event] = {}
        self._alarm = trio.CancelScope()
        self._is_over = False

    async def run(self) -> None:
        """Carry packets and keep the time, for ever; raises what `link.receive` raises.

        Then all connections are over, and whoever waits for something hears of it.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._keep_time)
        finally:
            self._stop()

    def _stop(self) -> None:
        self._is_over = True
        for stream in list(self._streams.values()):
            stream.connection.detail = CLOSED
            stream.connection.abort()
        for event in self._waiting.values():
            event.set()
        self.flush()

    async def _receive(self) -> None:
        while True:
            packets = await self._link.receive()
            now = trio.current_time()
            for packet in packets:
                self.stack.receive_packet(packet, now)
            self.flush()

    async def _keep_time(self) -> None:
        while True:
            with self._alarm:
                self.flush()
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self.stack.handle_timer(trio.current_time())

    def flush(self) -> None:
        """Send what is to be sent, tell what has happened, set the alarm."""
        packets = self.stack.packets_to_send(trio.current_time())
        if packets:
            self._link.send(packets)
        while (event := self.stack.next_event()) is not None:
            self._tell(event)
        timer = self.stack.next_timer()
        self._alarm.deadline = math.inf if timer is None else timer

    def _tell(self, event: Event) -> None:
        match event:
            case Accepted(connection):
                stream = self._streams[connection] = TunnelStream(connection, self.flush)
                self._accept(stream)
            case Connected(connection) | Readable(connection) | Writable(connection):
                self._notice(connection)
            case Closed(connection):
                self._notice(connection)
                self._streams.pop(connection, None)
            case Resolved(lookup):
                self._wake(lookup)
            case Answered(ping):
                self._wake(ping)

    def _notice(self, connection: Connection) -> None:
        if (stream := self._streams.get(connection)) is not None:
            stream.notice()

    def _wake(self, waited_for: Lookup | Ping) -> None:
        if (event := self._waiting.get(waited_for)) is not None:
            event.set()

    # ------------------------------------------------------------ the user

    async def open_tcp_stream(
        self, address: IPv6Address, port: int, settings: Settings = DEFAULT_SETTINGS
    ) -> TunnelStream:
        """Connect. Raises `Unreachable`; given up, if cancelled."""
        await trio.lowlevel.checkpoint()
        connection = self._connect(address, port, settings)
        stream = self._streams[connection] = TunnelStream(connection, self.flush)
        self.flush()
        try:
            await stream.wait_connected()
        except BaseException:
            connection.abort()
            self.flush()
            raise
        if connection.outcome in NOT_OPENED:
            raise Unreachable(f"cannot connect to [{address}]:{port}: {why(connection)}")
        return stream

    def _connect(self, address: IPv6Address, port: int, settings: Settings) -> Connection:
        self._check(f"connect to [{address}]:{port}")
        try:
            return self.stack.connect(address.packed, port, trio.current_time(), settings)
        except (OutOfPorts, ValueError) as exc:
            raise Unreachable(f"cannot connect to [{address}]:{port}: {exc}") from exc

    async def resolve(self, name: str, kind: Kind, servers: Sequence[IPv6Address]) -> Answer:
        """Ask the DNS. Raises `Unreachable` if no server has an answer, `ValueError` for what is no name."""
        self._check(f"look up {name!r}")
        packed = [server.packed for server in servers]
        lookup = self.stack.resolve(name, kind, packed, trio.current_time())
        try:
            await self._wait(lookup)
            failure = lookup.failure or f"cannot look up {name!r}: {CLOSED}"
        finally:
            lookup.cancel()
            self.flush()
        if lookup.answer is None:
            raise Unreachable(failure)
        return lookup.answer

    async def ping(self, address: IPv6Address) -> float:
        """The round trip of an echo, in seconds. Raises `Unreachable` if it is refused; waits until it is answered."""
        self._check(f"reach {address}")
        ping = self.stack.ping(address.packed, trio.current_time())
        await self._wait(ping)
        if ping.rtt is None:
            raise Unreachable(f"cannot reach {address}: {ping.refused or CLOSED}")
        return ping.rtt

    def _check(self, what: str) -> None:
        if self._is_over:
            raise Unreachable(f"cannot {what}: {CLOSED}")

    async def _wait(self, waited_for: Lookup | Ping) -> None:
        event = self._waiting[waited_for] = trio.Event()
        self.flush()
        try:
            await event.wait()
        finally:
            del self._waiting[waited_for]
