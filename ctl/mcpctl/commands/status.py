"""`mcpctl status`: the daemon, its servers and sessions, once or live."""

import argparse
import queue
import sys
import threading
import time

from mcpctl import output, shapes
from mcpctl.client import Client
from mcpctl.commands import servers, sessions
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import CtlError, NotRunning

REDRAW_MIN_S = 1.0
"""However many events there are, the screen stays readable."""

REDRAW_MAX_S = 2.0
"""Calls make no events; their figures are fetched this often."""

HEAD = ("SERVER", "TRANSPORT", "SESSIONS", "CALLS", "ERRORS", "P50 MS", "P99 MS", "LAST ERROR")
CLEAR = "\x1b[H\x1b[2J"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    text = "show the daemon, its servers and its sessions; or a launched server as Fly has it"
    parser = command(commands, "status", one_or_all, text)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a launched server")
    json_flag(parser)
    parser.add_argument(
        "--watch", action="store_true", help="stay and redraw when something happens"
    )


def show(args: argparse.Namespace) -> int:
    """Print the status; without a daemon say so, and exit as `not-running`."""
    if args.watch:
        return watch(args)
    try:
        status = Client().status()
    except NotRunning as exc:
        if not args.json:
            raise
        output.as_json({"daemon": None})
        return exc.exit_code
    _print(status, as_json=args.json)
    return 0


def watch(args: argparse.Namespace) -> int:
    """Print the status again and again, until interrupted; with `--json` one line each time."""
    client = Client()
    happened: queue.SimpleQueue[None] = queue.SimpleQueue()
    listener: threading.Thread | None = None
    while True:
        if listener is None or not listener.is_alive():
            listener = threading.Thread(target=_listen, args=(happened,), daemon=True)
            listener.start()
        _draw(client, args.json)
        _wait(happened)


def _draw(client: Client, as_json: bool) -> None:
    try:
        status: shapes.Status | None = client.status()
    except NotRunning:
        status = None
    if sys.stdout.isatty() and not as_json:
        sys.stdout.write(CLEAR)
    if status:
        _print(status, as_json=as_json, compact=True)
    elif as_json:
        output.as_json({"daemon": None}, compact=True)
    else:
        print("the daemon is not running")
    if not as_json:
        print()
    sys.stdout.flush()


def _wait(happened: "queue.SimpleQueue[None]") -> None:
    time.sleep(REDRAW_MIN_S)
    try:
        happened.get(timeout=REDRAW_MAX_S - REDRAW_MIN_S)
        while True:  # what came meanwhile is in the same redraw
            happened.get_nowait()
    except queue.Empty:
        pass


def _listen(happened: "queue.SimpleQueue[None]") -> None:
    try:
        for _ in Client().events():
            happened.put(None)
    except CtlError:
        pass  # the next redraw says what is the matter, and listens again


def one_or_all(args: argparse.Namespace) -> int:
    """The status of one launched server, asked of Fly, or that of the daemon."""
    if args.name is None:
        return show(args)
    from mcpctl.commands import launched

    return launched.state(args)


def _print(status: shapes.Status, *, as_json: bool, compact: bool = False) -> None:
    if as_json:
        output.as_json(status, compact=compact)
        return
    _print_daemon(status["daemon"])
    print()
    output.table(HEAD, [_row(server) for server in status["servers"]], servers.NONE_YET)
    print()
    sessions.table(status["sessions"])
    for error in status["config_errors"]:
        print(f"\ncannot use {output.one_line(error['file'])}: {output.one_line(error['message'])}")


def _print_daemon(daemon: shapes.DaemonInfo) -> None:
    by = {"self": "by a client", "systemd": "by systemd", "launchd": "by launchd"}
    started = by.get(daemon["activation"], daemon["activation"])
    up = output.ago(daemon["started_at"])
    print(f"mcpctld {daemon['version']}, process {daemon['pid']}, up {up}, started {started}")
    print(f"servers in {daemon['config_dir']}/servers, log in {daemon['log_file']}")


def _row(server: shapes.ServerInfo) -> tuple[object, ...]:
    figures = server["figures"]
    return (
        server["name"],
        server["detected"] or server["transport"],
        _sessions(server),
        figures["calls"],
        figures["errors"],
        figures["p50_ms"],
        figures["p99_ms"],
        _last_error(server),
    )


def _sessions(server: shapes.ServerInfo) -> int | str:
    """How many, and how many of them share one session with the server."""
    count, sharing = server["sessions"], server["sharing"]
    return f"{count} ({sharing} share)" if sharing else count


def _last_error(server: shapes.ServerInfo) -> str | None:
    if server["missing_secrets"]:
        return f"missing secrets: {', '.join(server['missing_secrets'])}"
    error = server["last_error"]
    return f"{output.ago(error['at'])} ago: {error['message']}" if error else None
