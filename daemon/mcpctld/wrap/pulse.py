"""What is done every few seconds, by one task for everything: keep connections alive, end what is not used.

Suspend and resume (Fly machines, laptops) show as a difference of two clocks. Connections from before are dead then,
and only writing to them finds that out: so after a jump everything is said at once.
"""

import time
from collections.abc import Callable

import trio

BEAT_S = 15.0
"""Fly's proxy, nginx and most others give up on a connection that was silent for 60 s."""
TICK_S = 5.0
JUMP_S = 5.0


async def run(on_beat: Callable[[float], None], on_wake: Callable[[], None]) -> None:
    """Beat until cancelled. `on_beat` is given trio's time."""
    beaten = trio.current_time()
    drift = _drift()
    while True:
        await trio.sleep(TICK_S)
        now = trio.current_time()
        jumped = abs(_drift() - drift) > JUMP_S
        if jumped:
            drift = _drift()
            on_wake()
        if jumped or now - beaten >= BEAT_S:
            beaten = now
            on_beat(now)


def _drift() -> float:
    """Seconds that the wall clock is ahead of the one that stands still in sleep."""
    return time.time() - time.monotonic()
