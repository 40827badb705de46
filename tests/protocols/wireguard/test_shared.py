"""`mcpctld.protocols.wireguard.shared`: what is drawn, and what is queued."""

from mcpctld.protocols.wireguard.clock import Clock
from mcpctld.protocols.wireguard.events import KeysErased
from mcpctld.protocols.wireguard.keys import PrivateKey
from mcpctld.protocols.wireguard.limits import MAX_EVENTS, REKEY_TIMEOUT_JITTER
from mcpctld.protocols.wireguard.shared import Shared

PRIVATE = PrivateKey(bytes(range(32)))


def shared(byte: bytes) -> Shared[str]:
    return Shared(PRIVATE, lambda size: byte * size, Clock(0.0, 0.0), 1420)


def test_jitter_is_below_its_bound():
    assert shared(b"\0").jitter() == 0.0
    assert 0.99 * REKEY_TIMEOUT_JITTER < shared(b"\xff").jitter() < REKEY_TIMEOUT_JITTER


def test_keys_are_drawn():
    assert shared(b"\7").new_private_key().public == PrivateKey(b"\7" * 32).public


def test_events_are_bounded():
    queue = shared(b"\0")
    event = KeysErased(bytes(32))
    assert [queue.emit(event) for _ in range(MAX_EVENTS + 1)] == [True] * MAX_EVENTS + [False]
    assert len(queue.events) == MAX_EVENTS
