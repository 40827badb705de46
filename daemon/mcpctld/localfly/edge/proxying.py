"""The edge at work: connections of clients, each with its requests one after the other."""

import logging

import trio

from mcpctld.localfly.edge.client import Client, Left
from mcpctld.localfly.edge.finding import Finder
from mcpctld.localfly.edge.holding import Patience
from mcpctld.localfly.edge.journey import Journey
from mcpctld.localfly.edge.loads import Loads
from mcpctld.localfly.edge.remembering import ReplayCache
from mcpctld.localfly.fleet import Fleet
from mcpctld.protocols.http1_server import Broken, encode_response

IDLE_S = 60.0
"""Between requests, and for a head to arrive."""

_log = logging.getLogger("mcpctld.localfly.edge")


class Edge:
    """Serves any number of connections by `serve`; what outlives one of them runs in `nursery`."""

    def __init__(
        self, nursery: trio.Nursery, fleet: Fleet, loads: Loads, region: str, patience: Patience
    ) -> None:
        self._fleet = fleet
        self._region = region
        self._cache = ReplayCache()
        self._finder = Finder(nursery, fleet, loads, patience, region)

    async def serve(self, stream: trio.SocketStream) -> None:  # noqa: ASYNC910  (a task of its own)
        """Serve a connection until it ends. What goes wrong with it stays with it."""
        try:
            async with stream:
                await self._serve(Client(stream))
        except Exception:
            _log.exception("serving a connection failed")

    async def _serve(self, client: Client) -> None:
        while True:
            head = await client.next_head(IDLE_S)
            if head is None:
                return
            if isinstance(head, Broken):
                await _refuse(client, head)
                return
            journey = Journey(self._fleet, self._finder, self._cache, self._region, client, head)
            ending = await journey.travel()
            if ending == "finish":
                await client.finish()
            if ending != "keep":
                return
            client.reader.next_request()


async def _refuse(client: Client, broken: Broken) -> None:
    text = f"localfly: {broken.reason}\n".encode()
    try:
        await client.send(b"".join(encode_response(broken.status, (), text, keep_alive=False)))
    except Left:
        return  # noqa: ASYNC910  (what failed, or ended, has waited)
    await client.finish()
