"""When a change of the network matters to connections: by how this machine reaches the Internet, before and after.

The default route and the address that goes with it decide that. What else may come and go, an interface of a container
or a virtual machine, another address, a route to one more network, cuts none of the connections that are there.
"""

from typing import NamedTuple


class Path(NamedTuple):
    """How packets leave, in one family of addresses. Addresses are in network order."""

    interface: int
    """Its index; 0 where it is not known."""
    gateway: bytes
    source: bytes
    """Our own address; of IPv6 the network part alone, for hosts change the rest from time to time (RFC 8981)."""


class Paths(NamedTuple):
    """How packets leave; None where they cannot."""

    ipv4: Path | None = None
    ipv6: Path | None = None


class Network:
    """Remembers over which paths connections may have been made."""

    def __init__(self, paths: Paths) -> None:
        self._trusted = paths
        self._away = paths == Paths()

    def is_changed(self, paths: Paths) -> bool:
        """Whether connections made so far are not to be trusted any more, now that packets take these paths.

        That is so when a path they may use has gone or is another one. When all have gone there is nothing better yet:
        it is so once one is back, though it look the same, for it may be another network of the same addresses.
        """
        if paths == Paths():
            self._away = True
            return False
        before, self._trusted = self._trusted, paths
        was_away, self._away = self._away, False
        return was_away or any(
            old is not None and old != new for old, new in zip(before, paths, strict=True)
        )
