"""The composition root of `mcpctl wrap`: builds every object, owns the nursery tree, and takes it down in order.

Stop (SIGTERM, SIGINT): `/health` says so, streams on which nothing is under way end, calls in flight get their bound,
then processes are ended, and everything is cancelled.
"""

import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.drivers.http.server import HttpServer, Limits, OnHttp2
from mcpctld.errors import UserError
from mcpctld.logs import FieldLogger
from mcpctld.model import Server, ServerSpec
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import Shared
from mcpctld.wrap import pulse
from mcpctld.wrap.affinity import Affinity
from mcpctld.wrap.children import Children
from mcpctld.wrap.front import Front
from mcpctld.wrap.guard import Guard
from mcpctld.wrap.options import EVERYWHERE, Options, child_environment
from mcpctld.wrap.soon import Soon
from mcpctld.wrap.spares import Spares
from mcpctld.wrap.world import World

if TYPE_CHECKING:  # httpx and jwt are for those who use OAuth
    from mcpctld.wrap.oauth import ResourceServer

CLOSE_BOUND_S = 10.0
BACKLOG = 1024
DRAIN_CHECK_S = 0.1
KEY_VARIABLE = "MCPCTL_SESSION_KEY"
"""A secret that machines have in common when they have no token to derive one from."""

_log = logging.getLogger("mcpctld.wrap")


async def serve(
    options: Options,
    environ: Mapping[str, str],
    *,
    task_status: trio.TaskStatus[list[int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until told to stop by a signal; tells the ports. Raises `UserError` when it cannot listen."""
    sockets = listen(options)
    ports = [sock.getsockname()[1] for sock in sockets]
    async with trio.open_nursery() as nursery:
        front = make_front(options, environ, nursery)
        start(front, nursery)
        limits = Limits(body=options.max_body_bytes)
        server = HttpServer(front, limits, on_http2=_http2(front, options.max_body_bytes))
        await nursery.start(server.serve, sockets)
        _log.info(
            "wrap.started",
            extra={"ports": ports, "command": options.command[0], "guarded": options.is_guarded},
        )
        task_status.started(ports)
        await wait_told()
        await stop(front, options.drain_timeout_s)
        server.drain()
        nursery.cancel_scope.cancel()
    _log.info("wrap.stopped")


def _http2(front: Front, limit: int) -> OnHttp2:
    async def on_http2(stream: trio.SocketStream, read: bytes) -> None:
        http2 = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.wrap.http2")
        await http2.serve(front, limit, stream, read)

    return on_http2


def make_front(options: Options, environ: Mapping[str, str], nursery: trio.Nursery) -> Front:
    """The front and all that stands behind it; it runs in `nursery`."""
    server = _server(options, environ)
    world = World(
        server=server,
        nursery=nursery,
        http=HttpClient(nursery, open_origin, lambda: 1),  # a process is not reached over HTTP
        shared=Shared("wrap", nursery),
        children=Children(options.max_children, lambda: front.evict()),
        affinity=_affinity(options, environ),
        log=FieldLogger(_log, {}),
        max_message_bytes=options.max_body_bytes,
        idle_timeout_s=options.idle_timeout_s,
        soon=Soon(nursery),
        spares=Spares(nursery, server.spec, options.spare),
    )
    tokens = _tokens(options)
    front = Front(world, Guard(options, tokens), tokens, options.path_prefix)
    return front


def _tokens(options: Options) -> "ResourceServer | None":
    if options.oauth is None:
        return None
    from mcpctld.wrap.oauth import ResourceServer

    return ResourceServer(options.oauth)


def start(front: Front, nursery: trio.Nursery) -> None:
    """Begin what runs beside the requests."""
    nursery.start_soon(front.health.run)
    nursery.start_soon(pulse.run, front.on_beat, front.wake)


async def stop(front: Front, bound_s: float) -> None:  # noqa: ASYNC910  (at once when nothing is under way)
    """Let what is under way finish, then end every process."""
    front.drain()
    with trio.move_on_after(bound_s):
        while front.busy:  # noqa: ASYNC110  (of many sessions; looked at for a few seconds in a lifetime)
            await trio.sleep(DRAIN_CHECK_S)
    front.close()
    with trio.move_on_after(CLOSE_BOUND_S):
        await front.spares.close()
        while front.running:  # noqa: ASYNC110
            await trio.sleep(DRAIN_CHECK_S)


async def wait_told() -> None:
    """Wait for SIGTERM or SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("wrap.signal", extra={"signal": signal.Signals(number).name})
            return


def _server(options: Options, environ: Mapping[str, str]) -> Server:
    environment = child_environment(environ, options.credentials.secrets)
    program, *arguments = options.command
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        raise UserError(f"cannot start {program!r}: there is no such program on PATH")
    command = [path, *arguments]
    return Server(
        name=os.path.basename(program),
        spec=ServerSpec(command=command, env=environment, cwd=os.getcwd()),
    )


def _affinity(options: Options, environ: Mapping[str, str]) -> Affinity:
    common = environ.get(KEY_VARIABLE, "") or "\n".join(sorted(options.credentials.secrets))
    replays = options.replay == "auto"
    return Affinity(options.machine_id, common.encode(), secrets.token_bytes, replays=replays)


def listen(options: Options) -> list[socket.socket]:
    """Sockets that listen. Raises `UserError`."""
    made: list[socket.socket] = []
    port = options.port
    for host in options.hosts:
        try:
            made.append(_listen(host, port))
        except OSError as exc:
            if made and host != options.hosts[0]:
                continue  # a machine without IPv6
            raise UserError(
                f"cannot listen on {host} port {port}: {exc.strerror or exc}; choose another with --port or --bind"
            ) from exc
        port = port or made[0].getsockname()[1]
    return made


def _listen(host: str, port: int) -> socket.socket:
    both = host == EVERYWHERE and socket.has_dualstack_ipv6()
    if host == EVERYWHERE and not both:
        host = "0.0.0.0"  # noqa: S104  (every interface was asked for)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
