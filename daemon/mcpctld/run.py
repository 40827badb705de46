"""The composition root: builds every object, owns the nursery tree, and takes it down in order.

Start: folders, log, lock, sockets, configuration, then clients. Stop (the API): no new clients, calls in flight get
their bound, sessions end, then everything is cancelled and our socket files are removed. Hand over (SIGTERM, SIGINT or
the API): the lock and the sockets are given up first, and each session goes to the next daemon when its calls are done.
"""

import functools
import importlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable

import trio

from mcpctl import shapes, wire
from mcpctld.clients.seen import Seen
from mcpctld.config.secretstore import SecretStore
from mcpctld.config.store import ServerStore
from mcpctld.drivers import memory
from mcpctld.drivers.changes import watch_changes
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.standing import Standing
from mcpctld.drivers.watch import watch_folder
from mcpctld.logs import open_log
from mcpctld.model import FlySpec
from mcpctld.sessions.agent import Agent, describe_daemon
from mcpctld.sessions.commons import Commons
from mcpctld.sessions.shelf import Shelf
from mcpctld.tunnels.choice import Tunnels
from mcpctld.tunnels.origin import open_origin
from mcpctld.wake.engine import Engine
from mcpctld.wake.machines import Machines
from mcpctld.wake.records import Records

WANTED_FILES = 65536
"""Each session holds some five descriptors and its connections; the usual soft limit of 1024 is soon reached."""
CLIENTS_AFTER_S = 0.5
"""Whoever has started the daemon is waiting for a server: the files of clients come after that."""
SAVE_BOUND_S = 2.0
"""How long what was learned of servers may take to be written when the daemon stops."""

_log = logging.getLogger("mcpctld")


def run(*, foreground: bool) -> int:
    """Be the daemon, until told to stop: the exit code. Raises `McpctlError` when it cannot start."""
    log_file = f"{wire.state_dir()}/mcpctld.log"
    open_log(log_file, to_stderr=foreground)
    raise_file_limit()
    memory.keep_big_buffers()
    memory.collect_less()
    os.chdir("/")  # keep no folder busy that a client happened to start us in
    signals = Signals()
    with Standing() as standing:
        trio.run(serve, standing, describe_daemon(standing.manager, log_file), signals)
    _log.info("daemon.stopped")
    return 0


async def serve(standing: Standing, info: shapes.DaemonInfo, signals: "Signals") -> None:
    """Everything that runs, until a stop is asked for and done."""
    async with trio.open_nursery() as nursery:
        store = ServerStore(wire.config_dir())
        secrets = SecretStore(wire.state_dir())
        tunnels = Tunnels(nursery, lambda: store.settings, wire.state_dir())
        connect = functools.partial(open_origin, ways=tunnels)
        http = HttpClient(nursery, connect, lambda: store.settings.max_connections_per_origin)
        commons = Commons(nursery, Shelf(wire.state_dir(), nursery))
        wake = Engine(
            nursery,
            Records(wire.state_dir(), nursery),
            machines_of,
            lambda type_, data: agent.events.publish(type_, data),
            lambda name: agent.rest(name),
        )
        agent = Agent(store, secrets, http, commons, info, tunnels=tunnels, wake=wake)
        seen = Seen()
        agent.client_files = seen.files
        seen.on_named(newly_named(wake))
        await secrets.open()
        await wake.load()
        await agent.reload()
        nursery.start_soon(stop_on_signal, agent)
        accepting = trio.CancelScope()
        nursery.start_soon(serve_attach, standing.listeners["attach"], agent, accepting)
        nursery.start_soon(serve_control, standing.listeners["control"], agent)
        nursery.start_soon(watch_changes, functools.partial(renew, tunnels, http, wake))
        nursery.start_soon(watch_clients, seen, agent)
        await nursery.start(watch_folder, wire.config_dir(), agent.refresh)
        _log.info(
            "daemon.started",
            extra={
                "pid": info["pid"],
                "activation": info["activation"],
                "version": info["version"],
            },
        )
        await agent.wait_stopping()
        signals.stopping = True
        accepting.cancel()
        await save(commons, wake)  # before another daemon looks
        if agent.hands_over:
            standing.listeners["attach"].close()  # who waits there is turned away, and comes again
            standing.leave()
        await agent.drain()
        await save(commons, wake)
        nursery.cancel_scope.cancel()


async def save(*learned: Commons | Engine) -> None:  # noqa: ASYNC910  (each waits for the disk)
    """Keep what was learned of servers and their machines, if the disk takes it in time."""
    with trio.move_on_after(SAVE_BOUND_S):
        for one in learned:
            await one.save()


def renew(tunnels: Tunnels, http: HttpClient, wake: Engine, why: str) -> None:
    """The network is another one, or this computer has slept: what leads to others comes first."""
    tunnels.renew()
    http.renew(why)
    wake.look_again()


def newly_named(wake: Engine) -> Callable[[frozenset[str]], None]:
    """Wakes the machine of a server that a client's file has just gained, not of those that it had at our start; and
    lets that of a server sleep which the last file has just lost.
    """
    before: frozenset[str] | None = None

    def hear(named: frozenset[str]) -> None:
        nonlocal before
        for name in () if before is None else named - before:
            wake.gained(name)
        for name in () if before is None else before - named:
            wake.lost(name)
        before = named

    return hear


async def machines_of(fly: FlySpec) -> Machines:
    """Those of the Fly that a server names. Loaded for the first of them: most daemons never ask any Fly."""
    made = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.wake.fly_machines")
    machines: Machines = await made.machines_at(fly.at, wire.state_dir())
    return machines


async def serve_attach(listener: socket.socket, agent: Agent, accepting: trio.CancelScope) -> None:
    """Take in attached clients; with `accepting` cancelled no more come, and those who are here stay."""
    attach = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    await agent.serve(attach, accepting)


async def serve_control(listener: socket.socket, agent: Agent) -> None:
    """Serve the control API, from the first connection on: a daemon that nobody asks stays small."""
    await trio.lowlevel.wait_readable(listener)
    api = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.api.serve")
    await api.serve(listener.fileno(), agent)


async def watch_clients(seen: Seen, agent: Agent) -> None:
    """Watch the files of clients, once the daemon stands: what is known of clients is loaded in a thread."""
    await trio.sleep(CLIENTS_AFTER_S)
    try:
        room = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.clients.watching")
        await room.watch_clients(seen, agent.events.publish, agent.folders)
    except Exception:  # sessions go on without it
        _log.exception("clients.watch_failed")


class Signals:
    """SIGTERM and SIGINT while `stop_on_signal` does not hear them: at our start they end us, while we go they change
    nothing, for what we leave has to be put in order.
    """

    def __init__(self) -> None:
        self.stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        if not self.stopping:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


async def stop_on_signal(agent: Agent) -> None:
    """SIGTERM and SIGINT hand the sessions over to the next daemon; a second one changes nothing."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("daemon.signal", extra={"signal": signal.Signals(number).name})
            agent.shutdown(hand_over=True)


def raise_file_limit() -> None:
    """Allow ourselves as many descriptors as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # macOS refuses more than kern.maxfilesperproc: the old limit stays
