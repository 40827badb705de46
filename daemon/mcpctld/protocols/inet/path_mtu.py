"""How large packets may be on the way to each destination (RFC 8201 §5.2)."""

from mcpctld.protocols.inet.ipv6 import MIN_MTU

LIFETIME_S = 600.0
"""After this a larger size is tried again: the path may be another one (RFC 8201 §5.3)."""
MAX_DESTINATIONS = 256


class PathMtus:
    """What is known of paths; of the others the link's MTU holds."""

    def __init__(self, link_mtu: int) -> None:
        self.link_mtu = link_mtu
        self._known: dict[bytes, tuple[int, float]] = {}  # in the order in which they expire

    def get(self, destination: bytes, now: float) -> int:
        """The size of the largest packet, in bytes, header included."""
        mtu, expires = self._known.get(destination, (self.link_mtu, now))
        return mtu if expires > now else self.link_mtu

    def lower(self, destination: bytes, mtu: int, now: float) -> int:
        """A router says that larger ones do not pass; what holds from now on.

        Never less than every path carries: who says so wants to slow us down (RFC 8201 §4).
        """
        mtu = min(max(mtu, MIN_MTU), self.get(destination, now))
        self.note(destination, mtu, now)
        return mtu

    def note(self, destination: bytes, mtu: int, now: float) -> None:
        """Packets of this size have been found to pass, and larger ones not to."""
        self._known.pop(destination, None)
        if len(self._known) >= MAX_DESTINATIONS:
            del self._known[next(iter(self._known))]
        self._known[destination] = mtu, now + LIFETIME_S
