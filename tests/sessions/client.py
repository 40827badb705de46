"""A client on pipes, attached in this process: what sessions and upstreams are tested with.

async with sessions.attached(spec) as client:
    assert (await client.ask(1, "ping"))["result"] == {}
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio
import trio.testing

from leaks import open_fds
from mcpctld.drivers.http.client import HttpClient
from mcpctld.model import MiB, Server, ServerSpec
from mcpctld.sessions.attached import Attached
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder
from mcpctld.sessions.session import Services, Session
from mcpctld.sessions.shelf import Shelf
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import Context, Facts, Shared, Upstream, make_upstream

BOUND_S = 20.0
"""The longest that anything here is waited for: a test that needs it has failed."""
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "tester", "version": "1"},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Handles:
    """Both ends of what a stub hands over."""

    control: socket.socket
    theirs: socket.socket
    fds: list[int]
    stdin: int
    stdout: int
    stderr: int


def make_handles() -> Handles:
    """Three pipes and a control connection."""
    control, theirs = socket.socketpair()
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in "012")
    fds = [in_read, out_write, err_write]
    return Handles(control, theirs, fds, in_write, out_read, err_read)


class Client:
    """The client's ends."""

    def __init__(self, handles: Handles) -> None:
        self.stdin = trio.lowlevel.FdStream(handles.stdin)
        self.stdout = trio.lowlevel.FdStream(handles.stdout)
        self.stderr = trio.lowlevel.FdStream(handles.stderr)
        self.control = trio.socket.from_stdlib_socket(handles.control)
        self.waiting: list[dict[str, Any]] = []
        self._buffer = bytearray()
        self._said = b""

    # ------------------------------------------------------------ bytes

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        with trio.fail_after(BOUND_S):
            await self.stdin.send_all(data)

    async def line(self) -> bytes:
        """The next line, without its newline; `EOFError` at the end."""
        searched = 0
        with trio.fail_after(BOUND_S):
            while (at := self._buffer.find(b"\n", searched)) < 0:
                searched = len(self._buffer)
                data = await self.stdout.receive_some(1 << 20)
                if not data:
                    raise EOFError(bytes(self._buffer))
                self._buffer += data
        found = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return found

    # ------------------------------------------------------------ messages

    async def send(self, **message: Any) -> None:
        """One message."""
        await self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def message(self) -> dict[str, Any]:
        """The next message, kept ones first."""
        return self.waiting.pop(0) if self.waiting else json.loads(await self.line())

    async def answer(self, ident: Any) -> dict[str, Any]:
        """The response with this id; what comes before it is kept for `message`."""
        return await self.find(
            lambda seen: "method" not in seen and same(seen.get("id", "absent"), ident)
        )

    async def notified(self, method: str) -> dict[str, Any]:
        """The next notification or request with this method."""
        return await self.find(lambda seen: seen.get("method") == method)

    async def find(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that is `wanted`; others are kept."""
        for index, kept in enumerate(self.waiting):
            if wanted(kept):
                return self.waiting.pop(index)
        while not wanted(seen := json.loads(await self.line())):
            self.waiting.append(seen)
        return seen

    async def ask(self, ident: Any, method: str, **params: Any) -> dict[str, Any]:
        """A request and its answer."""
        await self.send(id=ident, method=method, params=params)
        return await self.answer(ident)

    async def initialize(self, **params: Any) -> dict[str, Any]:
        """The handshake of the older revisions."""
        answer = await self.ask("init", "initialize", **(INITIALIZE | params))
        await self.send(method="notifications/initialized")
        return answer

    # ------------------------------------------------------------ the end

    async def released(self) -> tuple[int, str]:
        """What the waiting shell is told: its exit code, and a line for stderr."""
        with trio.fail_after(BOUND_S):
            while data := await self.control.recv(65536):
                self._said += data
        assert self._said.count(b"\n") == 1, self._said
        code, _, text = self._said.decode().removesuffix("\n").partition(" ")
        return int(code), text

    async def finish(self) -> tuple[int, str]:
        """Close stdin, and wait for the end."""
        await self.stdin.aclose()
        return await self.released()

    async def kill(self) -> None:
        """Close all that a client holds, as the system does for one that was killed."""
        await self.stdin.aclose()
        await self.stdout.aclose()
        await self.stderr.aclose()

    async def aclose(self) -> None:
        """Close everything, the stub's connection too."""
        with trio.CancelScope(shield=True):
            await self.kill()
        self.control.close()


def same(one: object, other: object) -> bool:
    """Equal as JSON: in Python `1 == True == 1.0`."""
    return type(one) is type(other) and one == other


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The error in an answer, which must be one of ours."""
    error: dict[str, Any] = answer["error"]
    assert error["message"].startswith("mcpctl: "), error
    assert error["data"]["source"] == "mcpctl", error
    return error


class Attachment(Client):
    """The client, and the session behind it."""

    def __init__(self, handles: Handles, session: Session, http: HttpClient, events: EventBus):
        super().__init__(handles)
        self.session = session
        self.http = http
        self.events = events
        self.ended = trio.Event()
        self.running = trio.CancelScope()


def make_server(spec: ServerSpec, name: str = "somebody") -> Server:
    """A server that no file describes."""
    return Server(name=name, spec=spec)


@contextlib.asynccontextmanager
async def attached(
    spec: ServerSpec,
    *,
    make: Callable[[Context], Upstream] = make_upstream,
    max_message_bytes: int = 64 * MiB,
    facts: Facts | None = None,
    fields: list[tuple[str, str]] | None = None,
) -> AsyncIterator[Attachment]:
    """A session and its client. At the end of the block the session is ended; no descriptor may stay open."""
    before = open_fds()
    handles = make_handles()
    async with trio.open_nursery() as nursery:
        http = HttpClient(nursery, open_origin, lambda: 512)
        events = EventBus()
        shared = Shared("key", nursery, facts or Facts())
        unopened = Shelf("/nowhere", nursery)  # so nothing is kept
        services = Services(http, events, shared, unopened, max_message_bytes, make)
        control = trio.socket.from_stdlib_socket(handles.theirs)
        given = Attached(control, handles.fds, fields or [])
        session = Session("s1", make_server(spec), spec, given, services, Recorder())
        client = Attachment(handles, session, http, events)
        nursery.start_soon(_run, client)
        try:
            yield client
        finally:
            await client.aclose()
            with trio.fail_after(BOUND_S) as scope:
                scope.shield = True
                await client.ended.wait()
            nursery.cancel_scope.cancel()
    await no_more_than(before)


async def no_more_than(before: set[str]) -> None:
    """Wait until no descriptor is open that was not; servers of the test close theirs when they notice."""
    with trio.fail_after(BOUND_S):
        while not open_fds() <= before:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def _run(client: Attachment) -> None:
    try:
        with client.running:
            await client.session.run()
    finally:
        client.ended.set()


class Journal(logging.Handler):
    """Everything that was logged, as `event` and fields."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def of(self, event: str) -> list[logging.LogRecord]:
        """The records of one event."""
        return [record for record in self.records if record.getMessage() == event]

    @property
    def text(self) -> str:
        """All of it, to look for what must not be there."""
        formatter = logging.Formatter("%(message)s")
        return "\n".join(formatter.format(r) + repr(vars(r)) for r in self.records)


@contextlib.contextmanager
def journal() -> Any:
    """Collect the log while the block lasts."""
    handler = Journal()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def bounded(test: Any) -> Any:
    """Fail a test that takes longer than anything may."""

    @functools.wraps(test)
    async def within(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(BOUND_S):
            await test(*args, **kwargs)

    return within
