"""Another session with the server of a `World`."""

import dataclasses

import trio

from mcpctld.errors import McpctlError
from mcpctld.upstreams import make_upstream
from upstreams.world import World


class Guest(World):
    """Another session in the same world."""

    def __init__(self, w: World) -> None:
        super().__init__(w.server, w.log)
        self.shared = w.shared
        self.running = trio.CancelScope()
        self.upstream = make_upstream(dataclasses.replace(w.upstream.context, downstream=self.ears))
        w.upstream.context.nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self.running:
                await self.upstream.run()
        except McpctlError as exc:
            self.ended = exc
        finally:
            self.over.set()

    async def leave(self) -> None:
        """As a session ends."""
        await self.upstream.aclose()
        self.running.cancel()
        await self.over.wait()
