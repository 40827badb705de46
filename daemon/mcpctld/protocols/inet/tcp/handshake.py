"""The opening of a connection: the SYN, and what both sides can do (RFC 9293 §3.5, RFC 7323 §2, RFC 2018 §2)."""

from mcpctld.protocols.inet.tcp.rto import INITIAL_S
from mcpctld.protocols.inet.tcp.segment import ACK, SYN, Flow, Options, encode_syn_options

DEFAULT_MSS = 1220
"""Of a peer that names none (RFC 9293 §3.7.1)."""
MIN_MSS = 48
"""A peer that wants less than this wants our time."""
MAX_SYNS = 6
"""Sent at 0, 1, 3, 7, 15 and 31 s; given up after 63."""
MAX_WINDOW = 0xFFFF


class Handshake:
    """What is offered and what is agreed on."""

    def __init__(self, flow: Flow, iss: int, mss: int, capacity: int) -> None:
        """`mss`: of what may come; `capacity`: of the receive buffer, in bytes."""
        self.iss = iss
        self.syns = 0
        """How many have been sent."""
        self.sent_at = 0.0
        """When the last one was."""
        self.sack = False
        """Whether the peer takes selective acknowledgements."""
        self.scale = (capacity // MAX_WINDOW).bit_length()
        """By how many bits our window is shifted, and the peer's. Both or none (RFC 7323 §2.2)."""
        self.peer_scale = 0
        self.peer_mss = DEFAULT_MSS
        """Of what may be sent."""
        self._flow = flow
        self._mss = mss
        self._window = min(capacity, MAX_WINDOW)  # of a SYN, which is never scaled
        self._scales = True

    def syn(self, ack: int | None, now: float) -> bytes:
        """A SYN; with an acknowledgement if the peer's own has come."""
        self.syns += 1
        self.sent_at = now
        options = encode_syn_options(
            self._mss,
            self.scale if self._scales else None,
            sack_permitted=ack is None or self.sack,
        )
        flags = SYN if ack is None else SYN | ACK
        return self._flow.encode(self.iss, ack or 0, flags, self._window, options=options)

    @property
    def deadline(self) -> float:
        """When the next SYN is due, or it is to be given up."""
        return self.sent_at + INITIAL_S * (1 << (self.syns - 1))

    @property
    def is_hopeless(self) -> bool:
        """Whether enough have been sent."""
        return self.syns >= MAX_SYNS

    def agree(self, options: Options, path_mss: int) -> None:
        """The peer's SYN has come."""
        self.sack = options.sack_permitted
        self._scales = options.scale is not None
        self.peer_scale = options.scale or 0
        if not self._scales:
            self.scale = 0
        self.peer_mss = min(max(options.mss or DEFAULT_MSS, MIN_MSS), path_mss)
