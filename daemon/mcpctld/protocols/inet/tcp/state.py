"""The states of a connection, and what leads from one to another, as data (RFC 9293 §3.3.2)."""

import enum

import msgspec

TWO_MSL_S = 60.0
"""As in all systems of today; RFC 9293 §3.4.2 says four minutes."""
FIN_WAIT_S = 60.0
"""For the peer's FIN, once nobody reads any more."""
CHALLENGES_PER_S = 2.0
MAX_CHALLENGES = 10
"""RFC 5961 §7: ten in five seconds."""


class State(enum.Enum):
    """RFC 9293 §3.3.2."""

    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


class Outcome(enum.Enum):
    """How a connection ended."""

    DONE = "closed by both sides"
    ABORTED = "given up by this side"
    REFUSED = "refused"
    RESET = "reset by the peer"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"


class Settings(msgspec.Struct, frozen=True):
    """What may differ from connection to connection. Bytes and seconds."""

    local_port: int | None = None
    """Our own port; None: a random one."""
    receive_buffer: int = 1 << 20
    send_buffer: int = 1 << 19
    keep_alive: float | None = None
    """After how long a silence to ask whether the peer is there (RFC 9293 §3.8.4); None: never."""
    keep_alive_interval: float = 15.0
    keep_alive_probes: int = 4


class ConnectionStatistics(msgspec.Struct, frozen=True):
    """Figures of one connection; sizes in bytes, times in seconds."""

    state: State
    mss: int
    srtt: float | None
    rttvar: float
    rto: float
    cwnd: int
    ssthresh: float
    in_flight: int
    send_window: int
    retransmissions: int
    duplicates: int
    challenges: int
    packets_received: int
    packets_sent: int
    unread: int


SYNCHRONIZING = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
SENDING = frozenset(
    {State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK}
)
RECEIVING = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
OVER = frozenset({State.TIME_WAIT, State.CLOSED})
WRITING = frozenset({State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT})
KEPT_ALIVE = frozenset({State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2})

# What our own FIN, its acknowledgement and the peer's FIN lead to (RFC 9293 §3.3.2, figure 5).
ON_SEND_EOF = {State.ESTABLISHED: State.FIN_WAIT_1, State.CLOSE_WAIT: State.LAST_ACK}
ON_FIN_ACKED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
ON_FIN = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
