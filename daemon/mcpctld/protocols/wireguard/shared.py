"""What the peers of one device have in common: its key, its tables, and the queues to its driver."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.allowed_ips import AllowedIps
from mcpctld.protocols.wireguard.clock import Clock
from mcpctld.protocols.wireguard.events import Event
from mcpctld.protocols.wireguard.indices import IndexTable
from mcpctld.protocols.wireguard.keys import KEY_SIZE, PrivateKey
from mcpctld.protocols.wireguard.limits import MAX_EVENTS, REKEY_TIMEOUT_JITTER

T = TypeVar("T")


class Shared(Generic[T]):
    """`T` is the peer. `output`: datagrams and where they go."""

    def __init__(
        self, private: PrivateKey, entropy: Callable[[int], bytes], clock: Clock, mtu: int
    ) -> None:
        self.private = private
        self.clock = clock
        self.mtu = mtu
        self.indices: IndexTable[T] = IndexTable(entropy)
        self.routes: AllowedIps[T] = AllowedIps()
        self.output: list[tuple[bytes, Address]] = []
        self.events: deque[Event] = deque()
        self._entropy = entropy

    def new_private_key(self) -> PrivateKey:
        """An ephemeral one."""
        return PrivateKey(self._entropy(KEY_SIZE))

    def jitter(self) -> float:
        """Seconds, from 0 to `REKEY_TIMEOUT_JITTER`."""
        return int.from_bytes(self._entropy(4), "little") / 2**32 * REKEY_TIMEOUT_JITTER

    def emit(self, event: Event) -> bool:
        """Queue an event; False when there is no room."""
        if len(self.events) >= MAX_EVENTS:
            return False
        self.events.append(event)
        return True
