"""A stub in this process, which takes its client from one daemon to the next."""

import contextlib
import dataclasses
import os
import socket
from collections.abc import AsyncIterator

import trio
import trio.testing

from mcpctl import wire
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.mapped import Mapped, anonymous_file
from mcpctld.model import MiB, ServerSpec
from mcpctld.protocols.checkpoint import Checkpoint
from mcpctld.protocols.checkpoint_format import UNIT, Found, Mark, Notes, read
from mcpctld.sessions.attached import Attached
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder
from mcpctld.sessions.session import Services, Session
from mcpctld.sessions.shelf import Shelf
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import Context, Facts, Shared, Upstream
from sessions.client import BOUND_S, Client, make_handles, make_server
from sessions.upstream import Puppet

SPEC = ServerSpec(url="http://nowhere.example/mcp")


@dataclasses.dataclass
class Daemon:
    """One session of it."""

    session: Session
    upstreams: list[Puppet]
    control: socket.socket
    over: trio.Event = dataclasses.field(default_factory=trio.Event)
    running: trio.CancelScope = dataclasses.field(default_factory=trio.CancelScope)

    @property
    def upstream(self) -> Puppet:
        return self.upstreams[-1]

    def said(self) -> bytes:
        """What the waiting shell was told; empty when the connection ended without a word."""
        self.control.settimeout(BOUND_S)
        return self.control.recv(65536)


class Stub:
    """Holds the client's descriptors and the checkpoint; `client` is the other end."""

    def __init__(self, max_message_bytes: int = 64 * MiB) -> None:
        handles = make_handles()
        handles.theirs.close()
        self.fds = [*handles.fds, anonymous_file()]
        self.client = Client(handles)
        self.facts = Facts()
        self.max_message_bytes = max_message_bytes

    @contextlib.asynccontextmanager
    async def attached(self, make: type[Puppet] = Puppet) -> AsyncIterator[Daemon]:
        """A daemon that has taken the session over, until it lets go; it is cut off at the end of the block."""
        ours, theirs = socket.socketpair()
        made: list[Puppet] = []

        def make_upstream(context: Context) -> Upstream:
            made.append(make(context))
            return made[-1]

        async with trio.open_nursery() as nursery:
            http = HttpClient(nursery, open_origin, lambda: 512)
            shared = Shared("key", nursery, self.facts)
            services = Services(
                http,
                EventBus(),
                shared,
                Shelf("/nowhere", nursery),
                self.max_message_bytes,
                make_upstream,
            )
            fds = [os.dup(fd) for fd in self.fds]
            attached = Attached(trio.socket.from_stdlib_socket(theirs), fds, [])
            try:
                session = Session("s1", make_server(SPEC), SPEC, attached, services, Recorder())
            except BaseException:
                attached.close()
                ours.close()
                raise
            daemon = Daemon(session, made, ours)
            nursery.start_soon(_run, daemon)
            while not made and not daemon.over.is_set():
                await trio.lowlevel.checkpoint()
            try:
                yield daemon
            finally:
                daemon.running.cancel()
                with trio.CancelScope(shield=True):
                    await daemon.over.wait()
                nursery.cancel_scope.cancel()
                ours.close()

    # ------------------------------------------------------------ what a daemon that was killed has left

    def leave(self, *lines: tuple[int, bytes], partial: bytes = b"", **notes: object) -> None:
        """Lines with their marks, and notes."""
        memory = Mapped(os.dup(self.fds[3]), wire.CHECKPOINT_AT, 3 * UNIT)
        checkpoint = Checkpoint(memory, self.max_message_bytes, Notes(**notes))  # type: ignore[arg-type]
        data = b"".join(b"%b\n" % text for _, text in lines) + partial
        checkpoint.room()[: len(data)] = data
        checkpoint.receive(len(data))
        for number, (mark, _) in enumerate(lines, 1):
            if mark == Mark.KEPT:
                checkpoint.keep(number)
                checkpoint.finish(number)
            elif mark != Mark.READ:
                checkpoint._raw[checkpoint._open[number][1]] = mark
        checkpoint.note(checkpoint.notes)
        memory.close()

    def found(self) -> Found:
        """What stands there now."""
        memory = Mapped(os.dup(self.fds[3]), wire.CHECKPOINT_AT, 3 * UNIT)
        found = read(memory.raw)
        memory.close()
        assert found is not None
        return found

    async def aclose(self) -> None:
        await self.client.aclose()
        for fd in self.fds:
            os.close(fd)


async def _run(daemon: Daemon) -> None:
    try:
        with daemon.running:
            await daemon.session.run()
    finally:
        daemon.over.set()
