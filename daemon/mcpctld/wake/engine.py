"""The wake engine: one watch for each server that has a machine on a Fly."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import trio

from mcpctl import shapes
from mcpctld.errors import UserError
from mcpctld.model import FlySpec, Server
from mcpctld.wake.chronicle import Publish
from mcpctld.wake.ledger import DAY_S
from mcpctld.wake.machines import Machines
from mcpctld.wake.records import Records
from mcpctld.wake.watch import Watch

WAKE_BOUND_S = 120.0
"""How long `mcpctl wake` waits."""
DAYS = 30
"""The span of the ledger's middle column."""


_log = logging.getLogger("mcpctld.wake")


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: Watch
    scope: trio.CancelScope


class Engine:
    """Follows the configuration; nothing is asked of any Fly before a server with `[fly]` is used."""

    def __init__(
        self,
        nursery: trio.Nursery,
        records: Records,
        machines: Callable[[FlySpec], Awaitable[Machines]],
        publish: Publish,
        rest: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`machines`: those of the Fly that a server's `[fly]` names. The others as of `Watch`."""
        self._nursery = nursery
        self._records = records
        self._machines = machines
        self._publish = publish
        self._rest = rest
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    async def load(self) -> None:
        """Read what an earlier daemon has kept."""
        await self._records.load()

    def apply(self, servers: Mapping[str, Server]) -> None:
        """These are configured: watch what is new, stop watching what is gone."""
        flown = {name: server.spec for name, server in servers.items() if server.spec.fly}
        for name in tuple(self._watched):
            if name not in flown:
                self._watched.pop(name).scope.cancel()
        for name, spec in flown.items():
            assert spec.fly is not None
            if name in self._watched:
                self._watched[name].watch.configure(spec.fly, proxied=_proxied(spec.url))
            else:
                self._begin(name, spec.fly, spec.url)

    def _begin(self, name: str, fly: FlySpec, url: str | None) -> None:
        watch = Watch(
            name, fly, self._machines, self._records, self._publish, self._rest,
            proxied=_proxied(url), clock=self._clock,
        )  # fmt: skip
        watched = self._watched[name] = _Watched(watch, trio.CancelScope())
        self._nursery.start_soon(self._run, watched)

    async def _run(self, watched: _Watched) -> None:  # noqa: ASYNC910  (a task of its own)
        try:
            with watched.scope:
                await watched.watch.run()
        except Exception:  # a bug at one machine must not cost the others theirs
            _log.exception("wake.failed", extra={"server": watched.watch.name})

    def watch(self, name: str) -> Watch | None:
        """That of a server; None when it has no machine."""
        watched = self._watched.get(name)
        return watched.watch if watched is not None else None

    def gained(self, name: str) -> None:
        """A client's configuration names this server now: it will be attached soon."""
        watch = self.watch(name)
        if watch is not None and watch.fly.policy != "never":
            watch.name_it(True)
            watch.attached("client configuration")

    def lost(self, name: str) -> None:
        """No client's configuration names this server any more: it is not kept warm."""
        watch = self.watch(name)
        if watch is not None:
            watch.name_it(False)

    def look_again(self) -> None:
        """The network is another one, or this computer has slept: what was thought of machines and hours may be old."""
        for watched in self._watched.values():
            watched.watch.poke()

    async def wake(self, name: str) -> shapes.Woken:
        """Have a server's machine awake, and wait for that. Raises why it is not."""
        watch = self.watch(name)
        if watch is None:
            raise UserError(f"{name} has no machine to wake: its file has no table [fly]")
        began = trio.current_time()
        await watch.wake(WAKE_BOUND_S)
        took = round(trio.current_time() - began, 3)
        return {"server": name, "seconds": took, "machine": watch.describe()}

    def describe(self, name: str) -> shapes.Machine | None:
        """What there is to show of a server's machine; None when it has none."""
        watch = self.watch(name)
        return watch.describe() if watch is not None else None

    def cost(self) -> shapes.Cost:
        """What the ledger says, of all servers that are in it."""
        ledger, now = self._records.ledger, self._clock()
        ledger.settle(now)
        today = int(now // DAY_S)
        return {
            "servers": [
                {
                    "server": name,
                    "today_s": ledger.spent(name, today),
                    "month_s": ledger.spent(name, today - DAYS + 1),
                    "total_s": ledger.spent(name),
                    "awake": account.since is not None,
                }
                for name, account in sorted(ledger.accounts.items())
            ]
        }

    async def save(self) -> None:
        """Keep what was learned."""
        if self._watched:
            self._records.ledger.settle(self._clock())
            self._records.changed_now()
        await self._records.save()


def _proxied(url: str | None) -> bool:
    """Whether Fly's proxy answers at this URL; at `.internal` the machine itself does (docs, "Private networking")."""
    return not (urlsplit(url or "").hostname or "").endswith(".internal")
