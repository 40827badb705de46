"""TCP segments and their options (RFC 9293 §3.1, §3.2; RFC 7323 §2; RFC 2018).

Options read: maximum segment size, window scale, SACK permitted, SACK. Others are skipped, and none but these are sent.
"""

import struct

import msgspec

from mcpctld.protocols.inet.checksum import checksum, pseudo_header_sum, word_sum
from mcpctld.protocols.inet.drops import Drop, Dropped
from mcpctld.protocols.inet.ipv6 import HOP_LIMIT, TCP, Packet
from mcpctld.protocols.inet.ports import endpoint_key
from mcpctld.protocols.inet.tcp.sequence import MASK

HEADER_LENGTH = 20
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_KNOWN_FLAGS = FIN | SYN | RST | PSH | ACK

MAX_SCALE = 14
"""RFC 7323 §2.3: larger ones count as this."""
MAX_SACKS = 4
"""As many blocks as options have room for (RFC 2018 §3)."""
MAX_OPTIONS = 40

_HEADER = struct.Struct("!HHIIHHHH")
_SACK = struct.Struct("!II")
_END, _NOP, _MSS, _SCALE, _SACK_PERMITTED, _SACKS = 0, 1, 2, 3, 4, 5


class Options(msgspec.Struct, frozen=True, gc=False):
    """What options say; None and False where they are absent."""

    mss: int | None = None
    scale: int | None = None
    sack_permitted: bool = False
    sacks: tuple[tuple[int, int], ...] = ()


NO_OPTIONS = Options()


class Segment(msgspec.Struct, gc=False):
    """What came; numbers as on the wire."""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: Options
    payload: bytes

    def __repr__(self) -> str:
        names = (name for name, bit in _FLAG_NAMES if self.flags & bit)
        return f"<Segment {'+'.join(names)} of {len(self.payload)} bytes>"


_FLAG_NAMES = (("FIN", FIN), ("SYN", SYN), ("RST", RST), ("PSH", PSH), ("ACK", ACK))


def parse(packet: Packet) -> Segment:
    """Read a segment. Raises `Dropped`."""
    data = packet.payload
    if len(data) < HEADER_LENGTH:
        raise Dropped(Drop.TRUNCATED)
    packet.verify()
    source, destination, seq, ack, bits, window, _, _ = _HEADER.unpack_from(data)
    length = bits >> 12 << 2
    if not HEADER_LENGTH <= length <= len(data) or not source or not destination:
        raise Dropped(Drop.MALFORMED)
    options = NO_OPTIONS
    if length > HEADER_LENGTH:
        options = parse_options(data[HEADER_LENGTH:length])
    flags = bits & _KNOWN_FLAGS
    return Segment(source, destination, seq, ack, flags, window, options, data[length:])


def parse_options(data: bytes) -> Options:
    """Read options. Raises `Dropped` for lengths that cannot be (RFC 9293 §3.1, MUST-7)."""
    mss: int | None = None
    scale: int | None = None
    permitted = False
    sacks: tuple[tuple[int, int], ...] = ()
    at = 0
    while at < len(data) and (kind := data[at]) != _END:
        if kind == _NOP:
            at += 1
            continue
        value = _option(data, at)
        at += 2 + len(value)
        if kind == _MSS and len(value) == 2:
            mss = int.from_bytes(value, "big")
        elif kind == _SCALE and len(value) == 1:
            scale = min(value[0], MAX_SCALE)
        elif kind == _SACK_PERMITTED and not value:
            permitted = True
        elif kind == _SACKS and len(value) % 8 == 0:
            sacks = tuple(_SACK.iter_unpack(value))
    return Options(mss, scale, permitted, sacks)


def _option(data: bytes, at: int) -> bytes:
    """The value of the option at this place."""
    length = data[at + 1] if at + 1 < len(data) else 0
    if length < 2 or at + length > len(data):
        raise Dropped(Drop.MALFORMED)
    return data[at + 2 : at + length]


def encode_syn_options(mss: int, scale: int | None, *, sack_permitted: bool) -> bytes:
    """The options of a SYN, each padded to a multiple of four bytes: a receiver reads by words."""
    options = struct.pack("!BBH", _MSS, 4, mss)
    if scale is not None:
        options += struct.pack("!BBBB", _NOP, _SCALE, 3, scale)
    if sack_permitted:
        options += struct.pack("!BBBB", _NOP, _NOP, _SACK_PERMITTED, 2)
    return options


def encode_sacks(blocks: list[tuple[int, int]]) -> bytes:
    """The SACK option, of at most `MAX_SACKS` blocks; empty without blocks."""
    if not blocks:
        return b""
    shown = blocks[:MAX_SACKS]
    head = struct.pack("!BBBB", _NOP, _NOP, _SACKS, 2 + 8 * len(shown))
    return head + b"".join(_SACK.pack(start & MASK, end & MASK) for start, end in shown)


class Flow:
    """Our side of a connection: packets from us to them, all but the changing fields made ahead.

    `key` is what segments from them begin with: their address, their port, ours.
    """

    __slots__ = ("_addresses", "_base", "_ports", "key", "local_port", "remote", "remote_port")

    _LAYOUT = struct.Struct("!IHBB32sIIIHHHH")

    def __init__(self, local: bytes, local_port: int, remote: bytes, remote_port: int) -> None:
        self._addresses = local + remote
        self._ports = local_port << 16 | remote_port
        self._base = pseudo_header_sum(self._addresses, 0, TCP) + local_port + remote_port
        self.local_port = local_port
        self.remote = remote
        self.remote_port = remote_port
        self.key = endpoint_key(remote, remote_port, local_port)

    def encode(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        payload: bytes | bytearray = b"",
        options: bytes = b"",
    ) -> bytes:
        """A packet with one segment. Numbers may be beyond 32 bits; `options` are a multiple of four bytes long."""
        seq &= MASK
        ack &= MASK
        length = HEADER_LENGTH + len(options) + len(payload)
        bits = (
            length - len(payload)
        ) << 10 | flags  # the header's length in words, above the flags
        total = self._base + seq + ack + bits + window + length
        if payload:
            total += word_sum(payload)
        if options:
            total += word_sum(options)
        header = self._LAYOUT.pack(
            6 << 28, length, TCP, HOP_LIMIT, self._addresses,
            self._ports, seq, ack, bits, window, checksum(total), 0,
        )  # fmt: skip
        return b"".join((header, options, payload))
