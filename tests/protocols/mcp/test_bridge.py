"""The interface of bridges."""

import math

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.protocols.mcp.bridge import Bridge, GiveUp


class Sieve(Bridge):
    """Gives up whatever it is told of."""

    def receive_client(self, message: Message | Batch, now: float) -> None:
        self._emit(GiveUp(message.raw))

    def receive_server(self, message: Message | Batch, now: float) -> None:
        self._emit(GiveUp(message.raw))

    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        self._emit(GiveUp(id))

    def forget(self, id: bytes, now: float) -> None:
        self._emit(GiveUp(id))

    def receive_time(self, now: float) -> None:
        self._emit(GiveUp(b"%d" % now))


def test_events_come_out_in_their_order_and_then_none():
    sieve = Sieve()
    sieve.forget(b"1", 0.0)
    sieve.receive_time(2.0)
    assert [sieve.next_event(), sieve.next_event()] == [GiveUp(b"1"), GiveUp(b"2")]
    assert sieve.next_event() is None
    assert sieve.deadline == math.inf
