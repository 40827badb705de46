"""What the kernel knows of a TCP connection and says at once, or is to find out."""

import select
import socket
import struct
import sys

import trio

from mcpctld.drivers import keepalive

_TCP_INFO_BYTES = 128
_BYTES_ACKED = struct.Struct(
    "120xQ"
)  # `tcpi_bytes_acked` of struct tcp_info, <linux/tcp.h>, since Linux 4.1


class Witness:
    """Asks about the TCP socket at the bottom of a stream; knows nothing where there is none."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._socket = _socket_below(stream)
        self._poll = select.poll()
        if self._socket is not None:
            self._poll.register(self._socket.fileno(), select.POLLIN)

    def set_pace(self, pace: keepalive.Pace) -> None:
        """Have the peer probed at this pace."""
        if self._socket is not None:
            keepalive.set_pace(self._socket, pace)

    def acked(self) -> int | None:
        """Bytes that the peer's kernel has acknowledged, ever; None where that cannot be known."""
        if sys.platform != "linux" or self._socket is None:
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            return int(_BYTES_ACKED.unpack(info)[0])
        except (OSError, struct.error):
            return None

    def has_news(self) -> bool:
        """Whether the peer has sent something, or closed, that has not been received yet."""
        return bool(self._poll.poll(0))


def _socket_below(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """The socket of the stream itself, or of what TLS runs over, however many layers of it."""
    while (below := getattr(stream, "transport_stream", None)) is not None:
        stream = below
    return stream.socket if isinstance(stream, trio.SocketStream) else None
