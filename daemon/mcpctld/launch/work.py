"""What every step of a launch works with."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from mcpctld.config.secretstore import SecretStore
from mcpctld.fly.client import Fly
from mcpctld.launch import telling
from mcpctld.launch.journal import Journal, Record
from mcpctld.launch.telling import Tell

T = TypeVar("T")

LAUNCH_KEY = "mcpctl_launch"
"""In the metadata of a machine: the id of the launch that made it."""
BEARER_KEY = "bearer-token"
"""Under this name the server's bearer token lies in our secret store."""


@dataclass(slots=True)
class Work:
    """One launch under way."""

    fly: Fly
    record: Record
    journal: Journal
    store: SecretStore
    tell: Tell
    entropy: Callable[[int], bytes]

    async def save(self) -> None:
        """Write the record down."""
        await trio.to_thread.run_sync(self.journal.write, self.record)

    async def change(self, name: str, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request that changes something, with its name in the journal until the next `save`."""
        self.record.pending = name
        await self.save()
        answer = await request()
        self.record.pending = ""
        return answer

    async def forget(self) -> None:
        """Nothing is left: neither is the record, nor the token."""
        if self.record.token_kept:
            await self.store.delete(self.record.server, BEARER_KEY)
        await trio.to_thread.run_sync(functools.partial(self.journal.remove, self.record.server))

    def done(self, name: str, text: str) -> None:
        """Tell that a step is done."""
        self.tell(telling.step(name, text))

    def note(self, text: str) -> None:
        """Tell something that is worth knowing."""
        self.tell(telling.log(text))
