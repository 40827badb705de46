"""A home and raw clients on it: what most end-to-end tests begin with."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio

from e2e import rawclient
from e2e.rawclient import RawClient
from fixtures import scripted
from fixtures.scripted import Upstream
from harness import FIXTURES, Form, Home


class Stage:
    """Adds servers of the tests' own, and attaches."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def parrot(self, *flags: str, name: str = "parrot") -> Path:
        """Add the parrot; the folder through which it is steered."""
        folder = self.home.path / name
        folder.mkdir()
        command = [sys.executable, "-I", "-S", str(FIXTURES / "parrot.py"), str(folder), *flags]
        self.home.add(name, command=command)
        return folder

    def remote(self, upstream: Upstream | str, name: str = "remote", **spec: Any) -> None:
        """Add a server over HTTP."""
        url = upstream if isinstance(upstream, str) else upstream.url
        self.home.add(name, url=url, **spec)

    @contextlib.asynccontextmanager
    async def upstream(self, **how: Any) -> AsyncIterator[Upstream]:
        """A scriptable HTTP server that outlives the daemon: sessions can be ended politely."""
        async with scripted.serve(**how) as running:
            try:
                yield running
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self.home.stop_daemon)

    @contextlib.asynccontextmanager
    async def attached(
        self, name: str | None, *more: str, url: str | None = None, form: Form = "script"
    ) -> AsyncIterator[RawClient]:
        """A client that has not said anything yet."""
        argv = self.home.attach(name, *more, url=url, form=form)
        async with rawclient.run(argv, self.home.env) as client:
            yield client

    @contextlib.asynccontextmanager
    async def session(
        self, name: str | None, *more: str, version: str = rawclient.LATEST, **where: Any
    ) -> AsyncIterator[RawClient]:
        """A client that has shaken hands."""
        async with self.attached(name, *more, **where) as client:
            await client.initialize(version)
            yield client

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the daemon's log with this event."""
        return [line for line in self.home.log() if line.get("event") == event]


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The error of an answer, which must be one of ours."""
    error: dict[str, Any] = answer["error"]
    assert error["message"].startswith("mcpctl: "), error
    assert error["data"]["source"] == "mcpctl", error
    return error
