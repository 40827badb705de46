"""Which addresses belong to which peer (whitepaper §2, cryptokey routing): the longest prefix that fits."""

import ipaddress
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_REMEMBERED = 4096


class _Remembered(dict[bytes, T | None]):
    """The owners of addresses that were asked for; looks up the others. A hit costs one access to a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: dict[int, list[tuple[int, dict[int, T]]]] = {}

    def __missing__(self, address: bytes) -> T | None:
        number = int.from_bytes(address, "big")
        tables = self.prefixes.get(len(address), ())
        owner = next((hit for shift, nets in tables if (hit := nets.get(number >> shift))), None)
        if len(self) >= _MAX_REMEMBERED:  # a peer may send from as many as it has
            self.clear()
        self[address] = owner
        return owner


class AllowedIps(Generic[T]):
    """Addresses are bytes in network order, 4 or 16 of them."""

    def __init__(self) -> None:
        self._owners: dict[Network, T] = {}
        self._remembered: _Remembered[T] = _Remembered()
        self.owner = self._remembered.__getitem__
        """Whose an address is; None if nobody's."""

    def add(self, networks: Iterable[Network], owner: T) -> None:
        """A network that another one had is taken from it, as `wg` does."""
        for network in networks:
            self._owners[network] = owner
        self._index()

    def remove(self, owner: T) -> None:
        """It has no networks any more."""
        self._owners = {key: value for key, value in self._owners.items() if value is not owner}
        self._index()

    def _index(self) -> None:
        """By length of address, then by length of prefix, the longest first."""
        prefixes: dict[int, list[tuple[int, dict[int, T]]]] = {}
        for network in sorted(self._owners, key=lambda network: -network.prefixlen):
            shift = network.max_prefixlen - network.prefixlen
            tables = prefixes.setdefault(network.max_prefixlen // 8, [])
            if not tables or tables[-1][0] != shift:
                tables.append((shift, {}))
            tables[-1][1][int(network.network_address) >> shift] = self._owners[network]
        self._remembered.clear()
        self._remembered.prefixes = prefixes
