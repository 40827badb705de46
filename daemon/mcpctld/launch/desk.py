"""What every operation of the program has at hand: where things are kept, and the way to each Fly."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import trio

from mcpctl import wire
from mcpctld.config.secretstore import SecretStore
from mcpctld.errors import NotFound
from mcpctld.fly.client import Fly
from mcpctld.fly.endpoints import find_endpoints
from mcpctld.launch.journal import Journal, Record
from mcpctld.launch.telling import Tell, tell_stdout
from mcpctld.launch.work import Work
from mcpctld.tunnels.tls import system_context

At = Literal["fly.io", "local"]


@dataclass(slots=True)
class Desk:
    """The places of one user."""

    environ: Mapping[str, str]
    state_dir: str
    tell: Tell
    journal: Journal = field(init=False)
    store: SecretStore = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.state_dir)
        self.store = SecretStore(self.state_dir)

    async def open_fly(self, at: At) -> Fly:
        """A client of the Fly at `at`; to be used with `async with`."""
        find = functools.partial(find_endpoints, at, self.environ, self.state_dir)
        endpoints = await trio.to_thread.run_sync(find)
        return Fly(endpoints, agent=f"mcpctl/{wire.VERSION}", context=system_context)

    def work(self, fly: Fly, record: Record) -> Work:
        """What the steps of `record` work with."""
        return Work(fly, record, self.journal, self.store, self.tell, os.urandom)

    async def launched(self, server: str) -> Record:
        """The record of a server that was launched from here. Raises `NotFound`."""
        record = await trio.to_thread.run_sync(self.journal.read, server)
        if record is None or not record.finished:
            raise NotFound(
                f"there is no record of a launch of {server} on this computer, so it cannot be changed from here; "
                f"`mcpctl launch --server {server}` makes one"
            )
        return record


def open_desk() -> Desk:
    """The desk of this process's user."""
    return Desk(os.environ, wire.state_dir(), tell_stdout)
