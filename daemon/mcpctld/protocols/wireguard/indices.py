"""The indices by which the other side names our handshakes and sessions (whitepaper §5.4.2): whose is one."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

INDEX_SIZE = 4


class IndexTable(Generic[T]):
    """Drawn at random, so that they tell nothing and nobody finds one by counting."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._owners: dict[int, T] = {}
        self.owner = self._owners.get
        """Whose an index is; None for nobody's."""

    def __len__(self) -> int:
        return len(self._owners)

    def allocate(self, owner: T) -> int:
        """One that is free."""
        while True:
            index = int.from_bytes(self._entropy(INDEX_SIZE), "little")
            if index not in self._owners:
                self._owners[index] = owner
                return index

    def release(self, indices: Iterable[int]) -> None:
        """They are free again."""
        for index in indices:
            self._owners.pop(index, None)
