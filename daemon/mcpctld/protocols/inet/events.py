"""What the stack tells: something has happened to one of its sockets, which says the rest."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mcpctld.protocols.inet.dns.resolver import Lookup
    from mcpctld.protocols.inet.sockets import Ping, UdpSocket
    from mcpctld.protocols.inet.tcp.connection import Connection


class Connected(msgspec.Struct, frozen=True):
    """The handshake is over."""

    connection: "Connection"


class Accepted(msgspec.Struct, frozen=True):
    """A peer has begun a connection to a port that takes them; `Connected` or `Closed` follows."""

    connection: "Connection"


class Readable(msgspec.Struct, frozen=True):
    """There is something to read where there was nothing: bytes, or the end of them."""

    connection: "Connection"


class Writable(msgspec.Struct, frozen=True):
    """There is room to send again, after `send_data` took less than it was given."""

    connection: "Connection"


class Closed(msgspec.Struct, frozen=True):
    """It is over; the connection's `outcome` says how. Comes once."""

    connection: "Connection"


class Received(msgspec.Struct, frozen=True):
    """A datagram waits to be read."""

    socket: "UdpSocket"


class Answered(msgspec.Struct, frozen=True):
    """An echo request has been answered, or refused on its way."""

    ping: "Ping"


class Resolved(msgspec.Struct, frozen=True):
    """A question to the DNS has come to its end; its `answer` is there."""

    lookup: "Lookup"


Event = Connected | Accepted | Readable | Writable | Closed | Received | Answered | Resolved
