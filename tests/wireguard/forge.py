"""Datagrams of people who know nothing but a public key."""

from collections.abc import Callable

from mcpctld.protocols.wireguard.cookies import CookieJar
from mcpctld.protocols.wireguard.messages import Initiation, encode_initiation


def forged_initiation(public: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Nothing in it but the MAC1 is right."""
    sender = int.from_bytes(entropy(4), "little")
    message = encode_initiation(Initiation(sender, entropy(108)))
    return CookieJar(public).add_macs(message, 0.0)
