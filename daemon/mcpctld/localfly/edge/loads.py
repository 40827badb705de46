"""How much each machine has to do, and who waits for it to have less."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import trio


class Loads:
    """Counts the connections to machines, and the requests that wait for one; each is one of the machine's load."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._idle_since: dict[str, float] = {}
        self._room: dict[str, trio.lowlevel.ParkingLot] = {}

    def __getitem__(self, machine: str) -> int:
        return self._counts[machine]

    def idle_s(self, machine: str) -> float:
        """For how long it has had nothing to do; since it was first asked for, where it never had."""
        now = trio.current_time()
        return 0.0 if self._counts[machine] else now - self._idle_since.setdefault(machine, now)

    def rests(self, machine: str) -> None:
        """It does not run: it will not have been idle when it does."""
        self._idle_since[machine] = trio.current_time()

    @contextlib.contextmanager
    def one_more(self, app: str, machine: str) -> Iterator[None]:
        """For as long as a request is with a machine."""
        self._counts[machine] += 1
        try:
            yield
        finally:
            self._counts[machine] -= 1
            self._idle_since[machine] = trio.current_time()
            if app in self._room:
                self._room[app].unpark()  # in turn

    async def wait_room(self, app: str, bound_s: float) -> None:
        """Wait until a machine of the app has less to do, or `bound_s` has passed."""
        lot = self._room.setdefault(app, trio.lowlevel.ParkingLot())
        with trio.move_on_after(bound_s):
            await lot.park()
        if not lot and self._room.get(app) is lot:  # it may be another one by now
            del self._room[app]

    def keep(self, machines: set[str]) -> None:
        """Forget all machines but these."""
        for gone in [each for each in self._idle_since if each not in machines]:
            del self._idle_since[gone]
            if not self._counts[gone]:
                del self._counts[gone]
