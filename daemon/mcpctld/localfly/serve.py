"""The composition root of the local Fly: builds every object, owns the nursery, and takes it down in order."""

import importlib.util
import logging
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from mcpctld.drivers.http.server import HttpServer, Limits
from mcpctld.errors import UserError
from mcpctld.localfly import place
from mcpctld.localfly.api import Api, Router
from mcpctld.localfly.faults import Fault, Faults
from mcpctld.localfly.homes import Homes
from mcpctld.localfly.proxied import Proxied
from mcpctld.localfly.routes.table import ROUTES
from mcpctld.localfly.state import World
from mcpctld.localfly.supervisor import Settings, Supervisor

LOOPBACK = "127.0.0.1"
MOST_BODY = 16 * 1024 * 1024
TOKEN_BYTES = 24
EDGE = "mcpctld.localfly.edge.serve"

_log = logging.getLogger("mcpctld.localfly")


@dataclass(frozen=True, slots=True)
class Options:
    """All that was asked for. Ports: None is that of last time if it is free, 0 one that the system chooses."""

    folder: str
    port: int | None = None
    edge_port: int | None = None
    autostop_period_s: float = 60.0
    settings: Settings = field(default_factory=Settings)
    faults: tuple[Fault, ...] = ()


async def serve(
    options: Options,
    environ: Mapping[str, str],
    *,
    task_status: trio.TaskStatus[place.Place] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until told to stop by a signal. Raises `UserError` and `Conflict`."""
    lock = place.take(options.folder)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                world = World(options.folder)
                await trio.to_thread.run_sync(world.load)
                supervisor = _supervisor(nursery, world, options, environ)
                here = await _open(nursery, supervisor, options)
                nursery.start_soon(_save, world)
                supervisor.resume()
                task_status.started(here)
                async for number in signals:
                    _log.info("localfly.signal", extra={"signal": signal.Signals(number).name})
                    break
                await _close(supervisor, options.folder)
                nursery.cancel_scope.cancel()
    finally:
        os.close(lock)
    _log.info("localfly.stopped")


def _supervisor(
    nursery: trio.Nursery, world: World, options: Options, environ: Mapping[str, str]
) -> Supervisor:
    wanted = Faults()
    wanted.all = list(options.faults)
    return Supervisor(nursery, world, Homes(world, environ), options.settings, wanted)


async def _open(nursery: trio.Nursery, supervisor: Supervisor, options: Options) -> place.Place:
    """Listen, and say where."""
    folder, last = options.folder, place.last_ports(options.folder)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    sock = _listen(options.port, last.api)
    api = Api(nursery, supervisor, Router(ROUTES), token)
    await nursery.start(HttpServer(api, Limits(body=MOST_BODY)).serve, [sock])
    port = sock.getsockname()[1]
    edge = await _open_edge(nursery, supervisor, options, last.edge)
    place.keep_ports(folder, place.Ports(api=port, edge=edge))
    here = place.Place(
        pid=os.getpid(),
        api=f"http://{LOOPBACK}:{port}",
        edge=f"http://{LOOPBACK}:{edge}" if edge else "",
        token=token,
    )
    place.tell(folder, here)
    _log.info("localfly.started", extra={"api": here.api, "edge": here.edge})
    return here


def _listen(wanted: int | None, last: int) -> socket.socket:
    for port in (wanted,) if wanted is not None else (last, 0):
        try:
            return socket.create_server((LOOPBACK, port), backlog=1024)
        except OSError as exc:
            failure = exc
    raise UserError(f"cannot listen on {LOOPBACK} port {wanted}: {failure.strerror or failure}")


async def _open_edge(
    nursery: trio.Nursery, supervisor: Supervisor, options: Options, last: int
) -> int:
    """The proxy's port; 0 where there is no proxy."""
    await trio.lowlevel.checkpoint()
    if importlib.util.find_spec(EDGE.rpartition(".")[0]) is None:
        return 0
    edge = importlib.import_module(EDGE)
    wanted = options.edge_port
    for port in (wanted,) if wanted is not None else (last, 0):
        try:
            found: int = await edge.serve(
                nursery, Proxied(supervisor), port, autostop_period_s=options.autostop_period_s
            )
        except OSError as exc:
            failure = exc
        else:
            return found
    raise UserError(f"cannot listen on {LOOPBACK} port {wanted}: {failure.strerror or failure}")


async def _save(world: World) -> None:
    """Write what changes without a request."""
    while True:
        await world.changed.wait()
        try:
            await world.flush()
        except UserError as exc:
            _log.warning("localfly.not_saved", extra={"error": str(exc)})


async def _close(supervisor: Supervisor, folder: str) -> None:
    with trio.CancelScope(shield=True):  # bounded by how long processes get
        place.withdraw(folder)
        supervisor.closing = True
        await supervisor.close()
        await supervisor.world.flush()
