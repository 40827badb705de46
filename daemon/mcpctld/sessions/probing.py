"""Attempts to reach a server that many sessions need: one tries while it is down, and all go when it is up."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from mcpctld.errors import McpctlError, TimedOut, Unreachable

FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 10.0


@dataclass(slots=True)
class Turn:
    """One attempt: set `error` to what came of it, None for success."""

    error: McpctlError | None = None


class Probing:
    """Of one server. While it is well everybody may try at once."""

    def __init__(self) -> None:
        self._failures = 0
        self._next = 0.0
        self._seen = 0.0  # when an attempt last succeeded
        self._busy = False
        self._lot = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for a turn to try; the attempt belongs into the block."""
        while self._failures and self._busy:
            await self._lot.park()
        turn, probes = Turn(), self._failures > 0
        self._busy = self._busy or probes
        try:
            if probes:
                await trio.sleep_until(self._next)
            began = trio.current_time()
            yield turn
            self._note(turn.error, began, probes=probes)
        finally:
            if probes:
                self._busy = False
                self._lot.unpark_all()

    def _note(self, error: McpctlError | None, began: float, *, probes: bool) -> None:
        """A server that answers, and be it with an error, is there.

        Of many attempts made at once the failures count as one, and not at all if one of them succeeded.
        """
        if not isinstance(error, Unreachable | TimedOut):
            self._failures = 0
            self._seen = trio.current_time()
            self._lot.unpark_all()
        elif began >= self._seen and (probes or not self._failures):
            pause = min(FIRST_PAUSE_S * 2.0**self._failures, LAST_PAUSE_S)
            self._next = trio.current_time() + pause * random.uniform(0.5, 1.5)  # noqa: S311  (jitter)
            self._failures += 1
