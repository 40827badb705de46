"""One question to the DNS, until there is an answer (RFC 1035 §7, RFC 7766).

Each attempt has a fresh id and a fresh port, so a forged answer must guess both (RFC 5452 §9). After a truncated answer
the same is asked over TCP; a server that does not know EDNS is asked without (RFC 6891 §6.2.2). Nothing is kept: the
answer says for how long it may be.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from mcpctld.protocols.inet.dns.message import (
    Answer,
    Code,
    Kind,
    MalformedMessage,
    decode_answer,
    encode_query,
)
from mcpctld.protocols.inet.events import Event, Resolved
from mcpctld.protocols.inet.ports import Entropy, OutOfPorts
from mcpctld.protocols.inet.sockets import UdpSocket
from mcpctld.protocols.inet.tcp.connection import Connection

PORT = 53
UDP_WAITS_S = (1.0, 2.0, 4.0, 4.0)
"""How long each attempt waits; a tunnel that has just come up may have lost the first."""
TCP_WAIT_S = 5.0

_FINAL = (Code.NO_ERROR, Code.NO_SUCH_NAME)
_WITHOUT_EDNS = (Code.FORMAT_ERROR, Code.NOT_IMPLEMENTED)


class Host(Protocol):
    """What a lookup needs of the stack."""

    def open_udp(self, address: bytes, port: int, events: deque[Event]) -> UdpSocket:
        """A socket for one peer, with a random port. Raises `OutOfPorts`."""

    def close_udp(self, socket: UdpSocket) -> None:
        """It is not needed any more."""

    def open_tcp(self, address: bytes, port: int, now: float, events: deque[Event]) -> Connection:
        """A connection. Raises `OutOfPorts`."""


class Lookup:
    """Asks the servers in turn. `answer` or `failure` is set at the end, and `Resolved` told."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        servers: Sequence[bytes],
        host: Host,
        entropy: Entropy,
        told: deque[Event],
    ) -> None:
        encode_query(0, name, kind, edns=True)  # raises ValueError
        self.name = name
        self.kind = kind
        self.answer: Answer | None = None
        self.failure = ""
        """Why there is no answer; empty if there is one, or none yet."""
        self.events: deque[Event] = deque()
        """Of the sockets of this lookup."""
        self.deadline = 0.0
        self.malformed = 0
        """Datagrams that were no answer to the question."""
        self._servers = servers
        self._host = host
        self._entropy = entropy
        self._told = told
        self._attempts = 0
        self._edns = True
        self._over_tcp = False
        self._id = 0
        self._socket: UdpSocket | None = None
        self._connection: Connection | None = None
        self._has_asked = False
        self._received = b""
        self._complaint = "no server has answered"

    @property
    def is_done(self) -> bool:
        """Whether it has come to its end."""
        return self.answer is not None or bool(self.failure)

    def begin(self, now: float) -> None:
        """Ask for the first time, or the next."""
        self._close()
        if self._attempts == len(UDP_WAITS_S):
            self._fail(self._complaint)
            return
        server = self._servers[self._attempts % len(self._servers)]
        wait = TCP_WAIT_S if self._over_tcp else UDP_WAITS_S[self._attempts]
        self.deadline = now + wait
        self._attempts += 1
        self._id = int.from_bytes(self._entropy(2), "big")
        try:
            self._ask(server, now)
        except OutOfPorts as exc:
            self._fail(str(exc))

    def _ask(self, server: bytes, now: float) -> None:
        if self._over_tcp:
            self._connection = self._host.open_tcp(server, PORT, now, self.events)
        else:
            self._socket = self._host.open_udp(server, PORT, self.events)
            self._socket.send(self._query())

    def handle_timer(self, now: float) -> None:
        """The deadline has come."""
        if not self.is_done and now >= self.deadline:
            self.begin(now)

    def handle_events(self, now: float) -> None:
        """Something has happened to one of our sockets."""
        while self.events and not self.is_done:
            self.events.popleft()
            if self._socket is not None:
                self._handle_datagrams(self._socket, now)
            else:
                assert self._connection is not None
                self._handle_connection(self._connection, now)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._close()
        self.failure = self.failure or "cancelled"

    def _query(self) -> bytes:
        return encode_query(self._id, self.name, self.kind, edns=self._edns)

    def _close(self) -> None:
        if self._socket is not None:
            self._host.close_udp(self._socket)
            self._socket = None
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._received = b""
        self._has_asked = False
        self.events.clear()

    # ------------------------------------------------------------ what comes

    def _handle_datagrams(self, socket: UdpSocket, now: float) -> None:
        while (data := socket.receive()) is not None:
            if (answer := self._decode(data)) is not None:
                self._consider(answer, now)
                return
        if socket.refused:
            self._complaint = f"the server cannot be reached: {socket.refused}"
            self.begin(now)

    def _handle_connection(self, connection: Connection, now: float) -> None:
        """A message over TCP is preceded by its length (RFC 7766 §8)."""
        if not self._has_asked and connection.outcome is None:
            self._has_asked = True
            query = self._query()
            connection.send_data(len(query).to_bytes(2, "big") + query)
            connection.send_eof()
        while data := connection.receive_data(65536):
            self._received += data
        end = 2 + int.from_bytes(self._received[:2], "big")
        if end <= len(self._received):
            self._take_message(self._received[2:end], now)
        elif connection.outcome is not None:  # only now: the answer and the end may come together
            self._complaint = f"the server cannot be reached: {connection.outcome.value}"
            self.begin(now)

    def _take_message(self, data: bytes, now: float) -> None:
        answer = self._decode(data)
        if answer is None:
            self.begin(now)
        else:
            self._consider(answer, now)

    def _decode(self, data: bytes) -> Answer | None:
        try:
            return decode_answer(data, self._id, self.name, self.kind)
        except MalformedMessage:
            self.malformed += 1
            return None

    def _consider(self, answer: Answer, now: float) -> None:
        """An answer to our question: is it the last word?"""
        if answer.is_truncated and not self._over_tcp:
            self._over_tcp = True
            self._attempts -= 1  # the same server
            self.begin(now)
        elif answer.code in _FINAL and not answer.is_truncated:
            self._close()
            self.answer = answer
            self._told.append(Resolved(self))
        else:
            self._edns &= answer.code not in _WITHOUT_EDNS
            self._complaint = f"the server answered with code {answer.code}"
            self.begin(now)

    def _fail(self, reason: str) -> None:
        self.failure = f"cannot look up {self.name!r}: {reason}"
        self._told.append(Resolved(self))
