"""Sessions of one server over HTTP, which may be on any of its machines."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import trio

from e2e.rawclient import CLIENT, LATEST, RawClient
from e2e.stage import Stage
from e2e.wrapped import Wrap, request


class Visitor:
    """One session."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.id = ""
        self.pid = 0

    @property
    def machine(self) -> str:
        """Where it lives."""
        return self.id.partition(".")[0]

    async def begin(self) -> None:
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": CLIENT}
        answer = await self.post(request(0, "initialize", **params))
        assert answer.status_code == 200, answer.text
        self.id = answer.headers["Mcp-Session-Id"]
        told = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert told.status_code == 202
        self.pid = await self.ask()

    async def post(self, message: dict[str, Any]) -> httpx.Response:
        fields = {"Mcp-Session-Id": self.id} if self.id else {}
        return await self.client.post("/", json=message, headers=fields)

    async def ask(self) -> int:
        """The process that answers."""
        answer = await self.post(request(1, "test/pid"))
        assert answer.status_code == 200, answer.text
        return int(answer.json()["result"]["pid"])

    async def stay(self, times: int) -> None:
        """Ask again and again: it is always the same one."""
        for _ in range(times):
            assert await self.ask() == self.pid


async def visit(visitors: list[Visitor], step: Any, at_once: int) -> None:
    """Have all of them do something, so many at once."""
    limit = trio.CapacityLimiter(at_once)

    async def one(visitor: Visitor) -> None:
        async with limit:
            await step(visitor)

    async with trio.open_nursery() as nursery:
        for visitor in visitors:
            nursery.start_soon(one, visitor)


async def attached_clients_recover(
    stage: Stage, url: str, token: str, wraps: list[Wrap], die: Callable[[Wrap], Awaitable[None]]
) -> None:
    """Clients of `mcpctl attach`, one machine that dies: its sessions are made anew, the others go on."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(trio.to_thread.run_sync, stage.home.stop_daemon)
        clients: list[RawClient] = []
        for _ in range(4):
            session = stage.session(None, "--bearer-token", token, url=url, version=LATEST)
            clients.append(await stack.enter_async_context(session))
        before = [(await client.ask(1, "test/pid"))["result"]["pid"] for client in clients]
        assert len(set(before)) == len(clients)
        dead = next(wrap for wrap in wraps if before[0] in wrap.below())
        theirs = [pid in dead.below() for pid in before]
        await die(dead)
        after = [(await client.ask(2, "test/pid"))["result"]["pid"] for client in clients]
        for was_there, old, new in zip(theirs, before, after, strict=True):
            assert (old == new) is not was_there
        assert len(set(after)) == len(clients)
