"""Datagrams in a WebSocket, as Fly's gateways take them: TEXT frames that carry bytes.

What stands in them is told by `protocols/wireguard/carrier.py`. Both sides of it are here: the client's, and the
gateway's for tests and for a Fly on this machine. The frames are read by `websockets` without its I/O, for its
connections would refuse TEXT that is not UTF-8 (RFC 6455 §8.1). No TLS here: that is laid under it.
"""

from collections import deque
from collections.abc import Sequence

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Origin
from websockets.uri import parse_uri

from mcpctld.drivers.carriers.carrier import Deliver, Kind
from mcpctld.errors import PeerError, Unreachable
from mcpctld.protocols.wireguard import carrier

MAX_FRAME = 1 << 20
"""A longer frame of the other side ends the connection."""
MAX_WAITING = 1 << 20
"""Bytes that wait for the stream; later datagrams are dropped, as a queue of a router does."""
CHUNK = 256 * 1024

_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocketCarrier:
    """A WebSocket that is open, over `stream`."""

    kind: Kind = "websocket"

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: Protocol,
        *,
        first: bytes = b"",
        reader: carrier.CarrierReader | None = None,
    ) -> None:
        """`first`: what goes before all datagrams; `reader`: what is expected from the other side."""
        self._stream = stream
        self._protocol = protocol
        self._first = first
        self._reader = reader or carrier.CarrierReader()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = trio.Event()
        self.lost = 0
        """Datagrams for which there was no room."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Queue them for the stream."""
        for datagram in datagrams:
            if self._size + len(datagram) > MAX_WAITING:
                self.lost += 1
                continue
            self._waiting.append(datagram)
            self._size += len(datagram)
        self._wake.set()

    async def run(self, deliver: Deliver) -> None:
        """Carry both ways. Raises `Unreachable` at the end of the connection."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all)
                why = await self._receive_all(deliver)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            why = "it was cut"
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
        raise Unreachable(f"the WebSocket has ended: {why}")

    # ------------------------------------------------------------ out

    async def _send_all(self) -> None:
        if self._first:
            self._protocol.send_text(self._first)
        while True:
            await self._stream.send_all(b"".join(self._protocol.data_to_send()))
            with trio.move_on_after(carrier.KEEPALIVE_AFTER):
                await self._wake.wait()
            if self._protocol.state is State.OPEN:
                self._protocol.send_text(self._take() or carrier.KEEPALIVE)
            self._wake = trio.Event()

    def _take(self) -> bytes:
        """All that waits, as bytes of the stream."""
        data = carrier.encode(self._waiting)
        self._waiting.clear()
        self._size = 0
        return data

    # ------------------------------------------------------------ in

    async def _receive_all(self, deliver: Deliver) -> str:
        """Deliver what comes until nothing more does: why."""
        while True:
            if why := self._read(deliver):  # at first, what came behind the handshake
                return why  # noqa: ASYNC910  (its task has its end here)
            data = await self._stream.receive_some(CHUNK)
            if not data:
                return "the other side has closed it"
            self._protocol.receive_data(data)

    def _read(self, deliver: Deliver) -> str:
        """Deliver what has been received; why there will be no more, or empty."""
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._read_frame(event)
        datagrams: list[bytes] = []
        why = "" if self._protocol.state is State.OPEN else _why(self._protocol)
        while (found := self._reader.next_event()) is not None:
            if isinstance(found, carrier.Datagram):
                datagrams.append(found.data)
            elif isinstance(found, carrier.Broken):
                why = found.reason
        if datagrams:
            deliver(datagrams)
        return why

    def _read_frame(self, frame: Frame) -> None:
        if frame.opcode in _DATA:
            self._reader.receive_data(bytes(frame.data))
        elif frame.opcode is Opcode.PING:
            self._wake.set()  # its pong waits to be sent


def _why(protocol: Protocol) -> str:
    close = protocol.close_rcvd
    if close is not None:
        return f"the other side has closed it with code {close.code} {close.reason}".rstrip()
    return f"what came is no WebSocket: {protocol.parser_exc}"


# ---------------------------------------------------------------- handshakes


async def open_websocket(stream: trio.abc.Stream, url: str) -> WebSocketCarrier:
    """The client's side of a WebSocket over `stream`, which is closed if that fails.

    Raises `Unreachable` if the other side hangs up, `PeerError` if it refuses.
    """
    protocol = ClientProtocol(parse_uri(url), origin=Origin(url), max_size=MAX_FRAME)
    protocol.send_request(protocol.connect())
    await _shake_hands(stream, protocol, f"the WebSocket {url}")
    return WebSocketCarrier(stream, protocol, first=carrier.MAGIC)


async def accept_websocket(stream: trio.abc.Stream) -> WebSocketCarrier:
    """The gateway's side of it. Raises as `open_websocket`."""
    protocol = ServerProtocol(max_size=MAX_FRAME)
    await _shake_hands(stream, protocol, "a WebSocket")
    return WebSocketCarrier(stream, protocol, reader=carrier.CarrierReader(carrier.MAGIC))


async def _shake_hands(
    stream: trio.abc.Stream, protocol: ClientProtocol | ServerProtocol, what: str
) -> None:
    try:
        while protocol.state is State.CONNECTING:
            await stream.send_all(b"".join(protocol.data_to_send()))
            data = await stream.receive_some(CHUNK)
            if not data:
                raise Unreachable(f"{what} was not opened: the other side hung up")
            protocol.receive_data(data)
            if isinstance(protocol, ServerProtocol):
                _answer(protocol)
            if protocol.handshake_exc is not None:
                raise PeerError(f"{what} was refused: {protocol.handshake_exc}")
        await stream.send_all(b"".join(protocol.data_to_send()))
    except BaseException as exc:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        if isinstance(exc, trio.BrokenResourceError):
            raise Unreachable(f"{what} was not opened: the other side hung up") from exc
        raise


def _answer(protocol: ServerProtocol) -> None:
    for event in protocol.events_received():
        if isinstance(event, Request):
            protocol.send_response(protocol.accept(event))
