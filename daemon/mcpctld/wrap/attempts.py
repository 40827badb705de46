"""Failed authentication, counted by client, so that guessing is slow.

Only different guesses count: a client that goes on sending one old token is no attack, and must not
use up the attempts of its neighbours behind the same address. Memory is bounded: when there are too
many clients the oldest is forgotten, which lets it guess again but locks nobody out.
"""

from collections import OrderedDict

import msgspec

MAX_GUESSES = 10
WINDOW_S = 60.0
MAX_CLIENTS = 4096

_MARK_BYTES = 8  # enough to tell ten guesses apart, too little to give one away


class _Window(msgspec.Struct):
    """The minute that began with a client's first wrong guess."""

    ends: float
    guesses: set[bytes]


class Attempts:
    """The failures of the last minute. `now` is in seconds of a clock that never goes back."""

    def __init__(
        self,
        max_guesses: int = MAX_GUESSES,
        window_s: float = WINDOW_S,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._max_guesses = max_guesses
        self._window_s = window_s
        self._max_clients = max_clients
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # the first to end comes first

    def __len__(self) -> int:
        return len(self._windows)

    def wait_s(self, client: str, now: float) -> float:
        """How long this client has to wait before it may guess again; 0 when it may."""
        self._forget_old(now)
        window = self._windows.get(client)
        if window is None or len(window.guesses) < self._max_guesses:
            return 0.0
        return window.ends - now

    def add(self, client: str, guess: bytes, now: float) -> None:
        """Count a failure; `guess` is the digest of what was sent."""
        self._forget_old(now)
        window = self._windows.get(client)
        if window is None:
            if len(self._windows) >= self._max_clients:
                self._windows.popitem(last=False)
            window = self._windows[client] = _Window(now + self._window_s, set())
        if len(window.guesses) < self._max_guesses:
            window.guesses.add(guess[:_MARK_BYTES])

    def _forget_old(self, now: float) -> None:
        while self._windows and next(iter(self._windows.values())).ends <= now:
            self._windows.popitem(last=False)
