"""Processes of the server that are started before anybody needs them: `npx` and `uvx` take seconds, a client none.

A spare has been told nothing, so it serves whoever comes next, in whatever revision. It is one more process than
`--max-children` allows to be in use.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import trio

from mcpctld.drivers.process import Child, start_child
from mcpctld.errors import McpctlError
from mcpctld.model import ServerSpec


class Spares:
    """Keeps `count` of them, from the first `refill` on. `take` stands in for `start_child`."""

    def __init__(self, nursery: trio.Nursery, spec: ServerSpec, count: int) -> None:
        self._nursery = nursery
        self._spec = spec
        self._count = count
        self._ready: deque[Child] = deque()
        self._starting = 0
        self._closed = False

    def refill(self) -> None:
        """Start as many as are missing; called once the server has answered, so that none is started in vain."""
        while not self._closed and len(self._ready) + self._starting < self._count:
            self._starting += 1
            self._nursery.start_soon(self._start)

    async def _start(self) -> None:  # noqa: ASYNC910
        spec = self._spec
        try:
            child = await start_child(self._nursery, spec.command or [], spec.env, spec.cwd)
        except McpctlError:
            return  # noqa: ASYNC910  (who needs one will meet the same, and tell)
        finally:
            self._starting -= 1
        if self._closed:
            await child.stop()
        else:
            self._ready.append(child)

    async def take(
        self, nursery: trio.Nursery, argv: Sequence[str], env: Mapping[str, str], cwd: str | None
    ) -> Child:
        """A process: a spare if one lives, else a new one. Raises as `start_child` does."""
        while self._ready:
            child = self._ready.popleft()
            if child.returncode is None:
                self.refill()
                await trio.lowlevel.checkpoint()
                return child
            await child.stop()  # it has ended by itself: some servers do when nobody speaks to them
        return await start_child(nursery, argv, env, cwd)

    async def close(self) -> None:  # noqa: ASYNC910  (at once when there are none)
        """End them."""
        self._closed = True
        while self._ready:
            await self._ready.popleft().stop()
