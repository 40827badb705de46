"""Pauses that grow."""


class Pauses:
    """`first` seconds, then twice as long each time, up to `last`."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._next = first

    def take(self) -> float:
        """The next one, in seconds."""
        pause = self._next
        self._next = min(self._next * 2, self._last)
        return pause

    def reset(self) -> None:
        """Begin with the first again."""
        self._next = self._first
