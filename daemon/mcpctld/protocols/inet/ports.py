"""What nobody outside may guess: source ports (RFC 6056) and initial sequence numbers (RFC 6528)."""

import hashlib
from collections.abc import Callable

Entropy = Callable[[int], bytes]
"""So many random bytes, fit for secrets."""

FIRST_PORT = 0x8000
"""Half of all ports, where systems take theirs from (RFC 6056 §3.2)."""
ATTEMPTS = 64
_TICKS_PER_S = 250_000  # RFC 9293 §3.4.1: once every 4 microseconds
_MASK = 0xFFFFFFFF


class OutOfPorts(Exception):
    """Too many sockets are in use."""


def endpoint_key(peer: bytes, peer_port: int, port: int) -> bytes:
    """By what a packet from the peer finds its socket: the address, and what its payload begins with."""
    return peer + peer_port.to_bytes(2, "big") + port.to_bytes(2, "big")


def choose_port(entropy: Entropy, is_free: Callable[[int], bool]) -> int:
    """A random port that is free (RFC 6056 §3.3.1). Raises `OutOfPorts` where they are all but used up."""
    for _ in range(ATTEMPTS):
        port = FIRST_PORT | int.from_bytes(entropy(2), "big")
        if is_free(port):
            return port
    raise OutOfPorts(f"cannot open a socket: no free port was found in {ATTEMPTS} attempts")


class SequenceNumbers:
    """Initial sequence numbers: they grow for each pair of endpoints and tell nothing of others (RFC 6528 §3)."""

    __slots__ = ("_secret",)

    def __init__(self, entropy: Entropy) -> None:
        self._secret = entropy(16)

    def initial(self, endpoints: bytes, now: float) -> int:
        """The number for a connection between these endpoints, addresses and ports in any fixed form."""
        digest = hashlib.blake2s(endpoints, key=self._secret, digest_size=4).digest()
        return int.from_bytes(digest, "big") + int(now * _TICKS_PER_S) & _MASK
