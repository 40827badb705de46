"""What is due when. Sans-IO: the time is told."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

Action = Callable[[float], None]
"""Takes the time."""


class _Timer(NamedTuple):
    due: float
    act: Action


class Timers:
    """One timer for each key.

    There are few different delays, and of one delay what was set first is due first: so each has a queue, and nothing
    is sorted.
    """

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[Hashable, _Timer]] = {}

    @property
    def deadline(self) -> float:
        """When the next one is due; `math.inf` for never."""
        firsts = (next(iter(queue.values())).due for queue in self._queues.values() if queue)
        return min(firsts, default=math.inf)

    def set(self, key: Hashable, now: float, delay: float, act: Action) -> None:
        """Do something after `delay`, instead of what was set for `key` before."""
        self.drop(key)
        self._queues.setdefault(delay, OrderedDict())[key] = _Timer(now + delay, act)

    def drop(self, key: Hashable) -> None:
        """Do nothing for `key`."""
        for queue in self._queues.values():
            queue.pop(key, None)

    def run(self, now: float) -> None:
        """Do what is due."""
        for queue in tuple(self._queues.values()):
            self._run(queue, now)

    def _run(self, queue: OrderedDict[Hashable, _Timer], now: float) -> None:
        # What an action sets anew is due later than now, so this ends.
        while queue and next(iter(queue.values())).due <= now:
            _, timer = queue.popitem(last=False)
            timer.act(now)
