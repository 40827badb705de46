"""Layers in the test's hand: a client's ears above, transports of the test's below, time that jumps."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.errors import McpctlError
from mcpctld.logs import FieldLogger
from mcpctld.model import MiB, Server, ServerSpec
from mcpctld.protocols.jsonrpc import Message, id_key, parse
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import Context, Facts, Shared, Upstream
from sessions.upstream import Puppet
from upstreams.world import Ears

LONG_S = 7200.0


class Stack:
    """One chain of layers."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.ears = Ears()
        self.transports: list[Puppet] = []
        self.top: Upstream
        self.ended: McpctlError | None = None
        self.over = trio.Event()

    @property
    def server(self) -> Puppet:
        """The newest transport."""
        return self.transports[-1]

    def make(self, context: Context) -> Puppet:
        self.transports.append(Puppet(context))
        return self.transports[-1]

    def send(self, **message: Any) -> Message:
        """A message of the client."""
        parsed = parse(json.dumps({"jsonrpc": "2.0", **message}).encode())
        assert isinstance(parsed, Message)
        self.top.send(parsed)
        return parsed

    async def asked(self, method: str, nth: int = 0) -> Message:
        """Wait until the newest transport was sent a message of this method."""
        while True:
            server = self.server
            found = [parse(line) for line in server.sent]
            found = [one for one in found if isinstance(one, Message) and one.method == method]
            if len(found) > nth:
                return found[nth]
            with trio.move_on_after(1):
                await server.changed.wait()

    async def answer(self, method: str, result: Any = None, nth: int = 0) -> Message:
        """Let the newest transport answer a request."""
        request = await self.asked(method, nth)
        self.server.answer(request.id, json.dumps({} if result is None else result).encode())
        return request

    async def heard(self, id: Any) -> dict[str, Any]:
        """Wait for the client's answer."""
        while True:
            for line in self.ears.lines:
                message = json.loads(line)
                if message.get("id") == id and "method" not in message:
                    return message
            await self.ears.heard.wait()

    async def failed(self, id: Any) -> McpctlError:
        """Wait for the client's error."""
        while True:
            for found, error in self.ears.failures:
                if found == id:
                    return error
            await self.ears.heard.wait()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All that the client heard."""
        return [json.loads(line) for line in self.ears.lines]


@contextlib.asynccontextmanager
async def stack(
    make_top: Callable[[Context, Callable[[Context], Upstream]], Upstream],
    *,
    facts: Facts | None = None,
    shared: Shared | None = None,
    kind: str = "http",
    **spec: Any,
) -> AsyncIterator[Stack]:
    """A chain that runs."""
    where = {"url": "http://x/"} if kind == "http" else {"command": ["/bin/x"]}
    described = ServerSpec(**{**where, **spec})
    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            made = Stack(shared or Shared("key", nursery, facts or Facts()))
            context = Context(
                server=Server(name="somebody", spec=described),
                spec=described,
                downstream=made.ears,
                http=HttpClient(nursery, open_origin, lambda: 1),
                nursery=nursery,
                shared=made.shared,
                max_message_bytes=MiB,
                log=FieldLogger(logging.getLogger("mcpctld.session"), {}),
            )
            made.top = make_top(context, made.make)
            nursery.start_soon(_run, made)
            yield made
            await made.top.aclose()
            nursery.cancel_scope.cancel()


async def _run(made: Stack) -> None:
    try:
        await made.top.run()
    except McpctlError as exc:
        made.ended = exc
        made.over.set()


def same_id(one: bytes, other: bytes) -> bool:
    """Whether two ids are equal."""
    return id_key(one) == id_key(other)
