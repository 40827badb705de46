"""Asking a silent peer whether it is still there (RFC 9293 §3.8.4). Off unless it is wanted."""

import math

from mcpctld.protocols.inet.tcp.state import Settings


class KeepAlive:
    """When to ask, and when to give up. Times in seconds."""

    def __init__(self, settings: Settings) -> None:
        self.heard_at = 0.0
        """When something acceptable came last."""
        self._idle = math.inf if settings.keep_alive is None else settings.keep_alive
        self._interval = settings.keep_alive_interval
        self._most = settings.keep_alive_probes
        self._probes = 0

    @property
    def deadline(self) -> float:
        """When to ask next; infinite for never."""
        return self.heard_at + self._idle + self._probes * self._interval

    def hear(self, now: float) -> None:
        """The peer is there."""
        self.heard_at = now
        self._probes = 0

    def probe(self) -> bool:
        """The deadline has come. False: enough have been sent without an answer."""
        self._probes += 1
        return self._probes <= self._most
