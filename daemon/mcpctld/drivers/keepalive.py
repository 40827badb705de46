"""How soon the kernel finds out that nobody is at the other end of a TCP connection any more.

A connection on which nothing comes is probed (RFC 9293 §3.8.4), and one whose bytes are not acknowledged is given up
(§3.8.3): an answer may take an hour, a vanished peer must not.
"""

import socket
import sys
from dataclasses import dataclass
from typing import Protocol

_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # macOS
# macOS: TCP_RXT_CONNDROPTIME of <netinet/tcp.h>, in seconds; Python has no name for it.
_UNACKNOWLEDGED = 0x80 if sys.platform == "darwin" else getattr(socket, "TCP_USER_TIMEOUT", None)
_UNIT = 1 if sys.platform == "darwin" else 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """After `idle_s` of silence a probe goes every `interval_s`, and after `count` without an answer it is the end.

    So it is after `silence_s` without a sign of life, for probes as for bytes sent. Linux then ignores `count`.
    """

    idle_s: int
    interval_s: int
    count: int
    silence_s: int


STEADY = Pace(idle_s=30, interval_s=10, count=3, silence_s=45)
"""For every connection: a dead path is found within a minute, and its cost is a packet in 30 s."""
URGENT = Pace(idle_s=1, interval_s=5, count=5, silence_s=45)
"""After a change of network: a dead path is found within some 15 to 45 s, and no single lost packet is the end."""


class Adjustable(Protocol):
    """A socket, or a stream over one."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """As `socket.setsockopt`."""


def set_pace(connection: Adjustable, pace: Pace) -> None:
    """Have a TCP connection probed at this pace, from now on."""
    values = (
        (_IDLE, pace.idle_s),
        (socket.TCP_KEEPINTVL, pace.interval_s),
        (socket.TCP_KEEPCNT, pace.count),
        (_UNACKNOWLEDGED, pace.silence_s * _UNIT),
    )
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in values:
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass  # reset already, or no TCP: its reader notices, or has nothing to notice
