"""`fly mcp wrap` in the test's hand: one process, whose words go to the one client that holds the GET."""

import json
from typing import Any

import trio

from fixtures.scripted import Exchange
from upstreams.world import World


class Wrapper:
    """It has taken over the server of a `World`. Its process answers all requests but those that begin with `never`."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.listener: Exchange | None = None
        self.others = False
        """Another client holds the stream."""
        self.slow_head = False
        """The head of the answer to the GET comes with the first line."""
        self.heard: list[bytes] = []
        self.results: dict[str, Any] = {}
        """What is answered, by method; `{}` to others. A dict with `code` is an error."""
        self.changed = trio.Event()
        w.server.on("GET")(self.listen)
        w.server.on("POST")(self.take)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the process has heard."""
        return [json.loads(line) for body in self.heard for line in body.splitlines() if line]

    async def hears(self, method: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th message with this method."""
        while len(found := self.of(method)) < count:
            await self.changed.wait()
        return found[count - 1]

    def of(self, method: str) -> list[dict[str, Any]]:
        """The messages with this method; those with none are answers."""
        return [seen for seen in self.messages if seen.get("method", "") == method]

    async def id_of(self, method: str, count: int = 1) -> int:
        """Under which id the process has a request."""
        found: int = (await self.hears(method, count))["id"]
        return found

    # ------------------------------------------------------------ HTTP

    async def listen(self, exchange: Exchange) -> None:
        if self.others or self.listener is not None:
            await exchange.answer(409, b"Another client is already connected")
            return
        self.listener = exchange
        try:
            if not self.slow_head:
                await exchange.start_events()
            await exchange.client_left()
        finally:
            if self.listener is exchange:
                self.listener = None
        await exchange.drop()

    async def take(self, exchange: Exchange) -> None:
        self.heard.append(exchange.body)
        await exchange.answer(202)
        for line in exchange.body.splitlines():
            message = json.loads(line) if line else {}
            if "id" in message and not message.get("method", "never").startswith("never"):
                await self.answer(message)
        self.changed.set()
        self.changed = trio.Event()

    # ------------------------------------------------------------ what the process says

    async def answer(self, request: dict[str, Any]) -> None:
        """Answer a request as `results` has it."""
        result = self.results.get(request["method"], {})
        kind = "error" if "code" in result else "result"
        await self.tell(id=request["id"], **{kind: result})

    async def tell(self, **message: Any) -> None:
        """One message."""
        await self.say(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def say(self, data: bytes) -> None:
        """Bytes as they are."""
        if self.listener is not None:
            if not self.listener.answered:
                await self.listener.start_events()
            await self.listener.chunk(data)

    async def hang_up(self) -> None:
        """The machine goes to sleep: the stream ends."""
        assert self.listener is not None
        stream, self.listener = self.listener.stream, None
        await stream.aclose()
