"""Which counters of a session have come (§5.4.6): RFC 6479, with a window as large as the Linux kernel's."""

from mcpctld.protocols.wireguard.limits import REJECT_AFTER_MESSAGES

_BLOCK_BITS = 64
_BLOCKS = 128
WINDOW = (_BLOCKS - 1) * _BLOCK_BITS
"""So far behind the greatest one a counter may be: 8128. One block more is being filled (RFC 6479 §2)."""


class ReplayWindow:
    """Accepts each counter once, in any order within the window."""

    __slots__ = ("_blocks", "_greatest")

    def __init__(self) -> None:
        self._blocks = [0] * _BLOCKS
        self._greatest = -1

    def accept(self, counter: int) -> bool:
        """Note a counter; False if it came before, is too old, or is beyond what a session may send.

        Only of a message that has been authenticated: anybody can write a number.
        """
        greatest = self._greatest
        if counter > greatest:
            if counter >= REJECT_AFTER_MESSAGES:
                return False
            if counter >> 6 != greatest >> 6:
                self._clear((greatest >> 6) + 1, counter >> 6)
            self._greatest = counter
        elif counter + WINDOW < greatest:
            return False
        at = counter >> 6 & 127
        block, bit = self._blocks[at], 1 << (counter & 63)
        if block & bit:
            return False
        self._blocks[at] = block | bit
        return True

    def _clear(self, first: int, last: int) -> None:
        """Forget what the blocks that are entered held a window ago."""
        for block in range(max(first, last - _BLOCKS + 1), last + 1):
            self._blocks[block & 127] = 0
