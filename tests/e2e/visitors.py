"""Sessions of one server over HTTP, which may be on any of its machines."""

from typing import Any

import httpx
import trio

from e2e.rawclient import CLIENT, LATEST
from e2e.wrapped import request


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
