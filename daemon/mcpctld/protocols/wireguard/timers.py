"""The timers of one peer (whitepaper §6). They know what is due, `peer` knows what to do about it."""

import enum
import math

from mcpctld.protocols.wireguard.limits import (
    ERASE_AFTER,
    KEEPALIVE_TIMEOUT,
    REKEY_TIMEOUT,
)

STALE_AFTER = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
"""Whoever gets data answers within `KEEPALIVE_TIMEOUT`; silence for longer means that it does not get it (§6.5)."""


class Timer(enum.Enum):
    """What can be due."""

    RETRANSMIT = "retransmit"
    """No answer to an initiation (§6.4)."""
    KEEPALIVE = "keepalive"
    """Data came, and nothing has gone back (§6.5)."""
    STALE = "stale"
    """Data went, and nothing has come back (§6.5)."""
    ERASE = "erase"
    """No new session for a long time (§6.3)."""
    PERSISTENT = "persistent"
    """Nothing went either way for as long as the user wants; keeps the way through a NAT open."""


_ATTRIBUTES = tuple(timer.value for timer in Timer)


class Timers:
    """Each method says what happened at `now`. `jitter` is in seconds, below `REKEY_TIMEOUT_JITTER`.

    When a timer is due stands in the attribute of its name, for speed: two of them change with every message.
    """

    __slots__ = ("_interval", "jitter", *_ATTRIBUTES)

    def __init__(self, persistent_keepalive: float | None) -> None:
        self._interval = persistent_keepalive
        self.jitter = 0.0
        self.retransmit = self.keepalive = self.stale = self.erase = self.persistent = math.inf

    def next(self) -> float:
        """When the next one is due; `math.inf` for never."""
        return min(self.retransmit, self.keepalive, self.stale, self.erase, self.persistent)

    def pop(self, now: float) -> list[Timer]:
        """Those that are due, the first first; each only once."""
        due = sorted((at, name) for name in _ATTRIBUTES if (at := getattr(self, name)) <= now)
        for _, name in due:
            setattr(self, name, math.inf)
        return [Timer(name) for _, name in due]

    def sent(self, now: float, *, data: bool) -> None:
        """An authenticated message went; `data`: with a packet in it."""
        self.keepalive = math.inf
        if data and self.stale == math.inf:
            self.stale = now + STALE_AFTER + self.jitter
        if self._interval:
            self.persistent = now + self._interval

    def received(self, now: float, *, data: bool) -> None:
        """An authenticated message came; `data`: with a packet in it."""
        self.stale = math.inf
        if data and self.keepalive == math.inf:
            self.keepalive = now + KEEPALIVE_TIMEOUT
        if self._interval:
            self.persistent = now + self._interval

    def initiated(self, now: float) -> None:
        """An initiation went."""
        self.retransmit = now + REKEY_TIMEOUT + self.jitter

    def postponed(self, until: float) -> None:
        """An initiation is wanted, and may not go before then."""
        if self.retransmit == math.inf:
            self.retransmit = until + self.jitter

    def derived(self, now: float) -> None:
        """There are new keys."""
        self.erase = now + ERASE_AFTER

    def established(self) -> None:
        """Both sides have them."""
        self.retransmit = math.inf

    def gave_up(self, now: float) -> None:
        """Nothing is tried any more."""
        self.keepalive = math.inf
        if self.erase == math.inf:
            self.derived(now)
