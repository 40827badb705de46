"""The composition root: builds every object, owns the nursery tree, and takes it down in order.

Start: folders, log, lock, sockets, configuration, then clients. Stop (SIGTERM, SIGINT or the API): no new clients,
calls in flight get their bound, sessions end, then everything is cancelled and our socket files are removed.
"""

import importlib
import logging
import os
import resource
import signal
import socket

import trio

from mcpctl import shapes, wire
from mcpctld.config.secretstore import SecretStore
from mcpctld.config.store import ServerStore
from mcpctld.drivers import activation, memory, unix
from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.watch import watch_folder
from mcpctld.logs import open_log
from mcpctld.sessions.agent import Agent, describe_daemon
from mcpctld.sessions.commons import Commons
from mcpctld.tunnels.origin import open_origin

WANTED_FILES = 65536
"""Each session holds some five descriptors and its connections; the usual soft limit of 1024 is soon reached."""

_log = logging.getLogger("mcpctld")


def run(*, foreground: bool) -> int:
    """Be the daemon, until told to stop: the exit code. Raises `McpctlError` when it cannot start."""
    log_file = f"{wire.state_dir()}/mcpctld.log"
    open_log(log_file, to_stderr=foreground)
    raise_file_limit()
    memory.keep_big_buffers()
    os.chdir("/")  # keep no folder busy that a client happened to start us in
    given, manager = activated_sockets()
    unix.private_folder(wire.runtime_dir())
    lock = unix.lock_file(f"{wire.runtime_dir()}/mcpctld.lock")
    listeners = {name: take_socket(name, given) for name in activation.NAMES}
    try:
        trio.run(serve, listeners, describe_daemon(manager, log_file))
    finally:
        for name, listener in listeners.items():
            listener.close()
            if name not in given:
                remove(socket_path(name))
        os.close(lock)
        _log.info("daemon.stopped")
    return 0


async def serve(listeners: dict[str, socket.socket], info: shapes.DaemonInfo) -> None:
    """Everything that runs, until a stop is asked for and done."""
    async with trio.open_nursery() as nursery:
        store = ServerStore(wire.config_dir())
        secrets = SecretStore(wire.state_dir())
        http = HttpClient(nursery, open_origin, lambda: store.settings.max_connections_per_origin)
        agent = Agent(store, secrets, http, Commons(nursery), info)
        await secrets.open()
        await agent.reload()
        nursery.start_soon(stop_on_signal, agent)
        accepting = trio.CancelScope()
        nursery.start_soon(serve_attach, listeners["attach"], agent, accepting)
        nursery.start_soon(serve_control, listeners["control"], agent)
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
        accepting.cancel()
        await agent.drain()
        nursery.cancel_scope.cancel()


async def serve_attach(listener: socket.socket, agent: Agent, accepting: trio.CancelScope) -> None:
    """Take in attached clients; with `accepting` cancelled no more come, and those who are here stay."""
    attach = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    await agent.serve(attach, accepting)


async def serve_control(listener: socket.socket, agent: Agent) -> None:
    """Serve the control API, from the first connection on: a daemon that nobody asks stays small."""
    await trio.lowlevel.wait_readable(listener)
    api = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.api.serve")
    await api.serve(listener.fileno(), agent)


async def stop_on_signal(agent: Agent) -> None:
    """SIGTERM and SIGINT drain; a second one is not waited for."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("daemon.signal", extra={"signal": signal.Signals(number).name})
            agent.shutdown()


# ---------------------------------------------------------------- sockets


def activated_sockets() -> tuple[dict[str, int], shapes.Activation]:
    """The sockets that a service manager made for us, and which one it was."""
    if given := activation.listen_fds(os.environ, os.getpid()):
        return given, "systemd"
    if given := activation.launchd_sockets():
        return given, "launchd"
    return {}, "self"


def socket_path(name: str) -> str:
    """Where the socket of this name belongs."""
    return wire.attach_socket() if name == "attach" else wire.control_socket()


def take_socket(name: str, given: dict[str, int]) -> socket.socket:
    """The listening socket of this name: the one given, or one that we make."""
    if name not in given:
        return unix.listen(socket_path(name))
    listener = socket.socket(fileno=given[name])
    listener.setblocking(False)
    return listener


def remove(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        pass


def raise_file_limit() -> None:
    """Allow ourselves as many descriptors as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # macOS refuses more than kern.maxfilesperproc: the old limit stays
