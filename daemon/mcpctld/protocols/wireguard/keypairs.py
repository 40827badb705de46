"""The sessions of one peer: which of them sends, and which may still receive (whitepaper §6.3).

`current` sends. `next` is one that we answered: the other side uses it at once, we only when its first message has
proved that our answer came. What was replaced may still receive, because messages may be on their way.

The whitepaper keeps one that was replaced, we keep three. When both sides begin at once there are two new sessions,
and each side sends with the one that it began. So the peer's, though it is not our current one, is in use until it is
replaced; and when both begin at once again, the two from before still have messages on the way.
"""

from mcpctld.protocols.wireguard.keypair import Keypair

_KEPT = 3


class Keypairs:
    """At most five: `current`, `next` and three from before. Each method gives the indices that are no longer used."""

    __slots__ = ("_by_index", "_previous", "current", "find", "next")

    def __init__(self) -> None:
        self.current: Keypair | None = None
        self.next: Keypair | None = None
        self._previous: list[Keypair] = []
        self._by_index: dict[int, Keypair] = {}
        self.find = self._by_index.get
        """The one that receives under an index of ours, or None."""

    def __len__(self) -> int:
        return len(self._by_index)

    def initiated(self, keypair: Keypair) -> list[int]:
        """The other side answered, so it has the keys: use them."""
        replaced, self.next = self.next, None
        self._replace_current(keypair, replaced)
        return self._forget_others()

    def responded(self, keypair: Keypair) -> list[int]:
        """We answered: wait for the first message."""
        self.next = keypair
        return self._forget_others()

    def promote(self) -> list[int]:
        """The first message came with `next`: use it."""
        promoted, self.next = self.next, None
        assert promoted is not None
        self._replace_current(promoted, None)
        return self._forget_others()

    def clear(self) -> list[int]:
        """Forget all of them. Python cannot overwrite memory; OpenSSL overwrites its copy of a key that it frees."""
        self.current = self.next = None
        self._previous = []
        return self._forget_others()

    def _replace_current(self, keypair: Keypair, unproven: Keypair | None) -> None:
        before = [old for old in (unproven, self.current) if old is not None]
        self._previous = [*before, *self._previous][:_KEPT]
        self.current = keypair

    def _forget_others(self) -> list[int]:
        kept = [pair for pair in (self.current, self.next, *self._previous) if pair is not None]
        self._by_index.update((pair.local_index, pair) for pair in kept)
        forgotten = self._by_index.keys() - {pair.local_index for pair in kept}
        for index in forgotten:
            del self._by_index[index]
        return sorted(forgotten)
