"""Several sessions with one server, and a server that can be listened to."""

import contextlib
import copy
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import trio

from fixtures.scripted import Exchange
from mcpctld.upstreams import make_upstream
from upstreams.world import Ears, World, nothing_kept

P = "io.modelcontextprotocol/"
META = {
    f"{P}protocolVersion": "2026-07-28",
    f"{P}clientCapabilities": {},
    f"{P}clientInfo": {"name": "tester", "version": "1"},
}
FLAGS = {"toolsListChanged", "promptsListChanged", "resourcesListChanged"}


def ask(w: World, ident: Any, method: str, *, meta: dict[str, Any] = META, **params: Any) -> None:
    """A request of 2026-07-28."""
    w.send(id=ident, method=method, params={"_meta": meta, **params})


def cancel(w: World, ident: Any) -> None:
    """The client gives a request up."""
    w.send(method="notifications/cancelled", params={"requestId": ident, "_meta": META})


@contextlib.asynccontextmanager
async def neighbour(w: World) -> AsyncIterator[World]:
    """Another session with the same server and credentials."""
    other = copy.copy(w)
    other.ears = Ears()
    other.upstream = make_upstream(dataclasses.replace(w.upstream.context, downstream=other.ears))
    yield other
    await other.upstream.aclose()
    nothing_kept(other.upstream)


class Channel:
    """The server's side of one listen."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.wanted: dict[str, Any] = exchange.message["params"]["notifications"]
        self.open = True

    async def acknowledge(self, honoured: dict[str, Any] | None = None) -> None:
        """The first message."""
        await self.say(
            "notifications/subscriptions/acknowledged",
            notifications=self.wanted if honoured is None else honoured,
        )

    async def say(self, method: str, **params: Any) -> None:
        """A notification."""
        meta = {f"{P}subscriptionId": self.exchange.message["id"]}
        params = {"_meta": meta, **params}
        await self.exchange.event({"jsonrpc": "2.0", "method": method, "params": params})

    async def end(self) -> None:
        """In good order."""
        meta = {f"{P}subscriptionId": self.exchange.message["id"]}
        await self.exchange.event_reply({"resultType": "complete", "_meta": meta})

    async def cut(self) -> None:
        """The connection is lost."""
        self.open = False
        await self.exchange.stream.aclose()


class Listened:
    """A server that is listened to, and acknowledges at once unless `patient`."""

    def __init__(self, w: World) -> None:
        self.server = w.server
        self.channels: list[Channel] = []
        self.patient = False
        w.server.on("subscriptions/listen")(self._listen)

    async def _listen(self, exchange: Exchange) -> None:
        channel = Channel(exchange)
        await exchange.start_events()
        self.channels.append(channel)
        if not self.patient:
            await channel.acknowledge()
        self.server.note()
        with contextlib.suppress(trio.ClosedResourceError):
            await exchange.client_left()
        channel.open = False
        self.server.note()
        await exchange.drop()

    @property
    def open(self) -> list[Channel]:
        """Those that are held."""
        return [channel for channel in self.channels if channel.open]

    async def wait(self, count: int) -> Channel:
        """The `count`-th channel, when it has come."""
        while len(self.channels) < count:
            await self.server.changed.wait()
        return self.channels[count - 1]

    async def wait_open(self, count: int) -> None:
        """Wait until so many are held."""
        while len(self.open) != count:
            await self.server.changed.wait()


async def acknowledged(w: World, ident: Any) -> dict[str, Any]:
    """What of the listen `ident` is honoured, when that has been said."""
    while not (found := told(w, ident, "notifications/subscriptions/acknowledged")):
        assert not w.ears.failures, w.ears.failures
        await w.ears.heard.wait()
    assert len(found) == 1
    notifications: dict[str, Any] = found[0]["params"]["notifications"]
    return notifications


def told(w: World, ident: Any, method: str) -> list[dict[str, Any]]:
    """The notifications of the listen `ident` so far."""
    return [
        seen
        for seen in w.messages
        if seen.get("method") == method
        and seen["params"]["_meta"][f"{P}subscriptionId"] == ident
        and type(seen["params"]["_meta"][f"{P}subscriptionId"]) is type(ident)
    ]
