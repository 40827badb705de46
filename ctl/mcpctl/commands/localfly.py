"""`mcpctl localfly`: a Fly on this computer."""

import argparse
import os

from mcpctl import local_fly, output
from mcpctl.commands.common import Commands, command, json_flag, verbs
from mcpctl.errors import CtlError, NotRunning

FLAGS = (
    ("--port", "N", "where its API listens; as last time if not said"),
    ("--edge-port", "N", "where its apps are reached; as last time if not said"),
    ("--cold-start", "S", "how many seconds a machine's start takes beside the program's own time"),
    ("--start-race", "S", "for how many seconds a stopped machine refuses to start"),
    ("--autostop-period", "S", "how often idle machines are looked for, in seconds"),
)
"""Handed on as they are."""


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    group = verbs(command(commands, "localfly", None, "run a Fly on this computer, for --local"))
    starting = command(group, "start", start, "start the local Fly, and the machines that it had")
    starting.add_argument(
        "--foreground", action="store_true", help="stay here; the log goes to stderr"
    )
    for flag, metavar, text in FLAGS:
        starting.add_argument(flag, metavar=metavar, help=text)
    starting.add_argument(
        "--rate-limits", action="store_true", help="refuse requests as often as fly.io does"
    )
    starting.add_argument(
        "--fault",
        metavar="KIND[,FIELD=VALUE]...",
        action="append",
        default=[],
        help="a failure that is wanted, for tests (may be repeated)",
    )
    command(group, "stop", stop, "end the local Fly and its machines; its state is kept")
    json_flag(command(group, "status", status, "show whether the local Fly runs, and where"))


def start(args: argparse.Namespace) -> int:
    """Start it, unless it runs."""
    running = local_fly.find()
    if running is not None:
        raise CtlError("conflict", f"the local Fly runs already, process {running['pid']}")
    flags = _flags(args)
    if args.foreground:
        argv = local_fly.argv(flags)
        os.execv(argv[0], argv)  # noqa: S606  (our own program)
    _print(local_fly.start(flags))
    return 0


def _flags(args: argparse.Namespace) -> list[str]:
    flags = []
    for flag, _, _ in FLAGS:
        value = getattr(args, flag.removeprefix("--").replace("-", "_"))
        if value is not None:
            flags.append(f"{flag}={value}")
    if args.rate_limits:
        flags.append("--rate-limits")
    return [*flags, *(f"--fault={fault}" for fault in args.fault)]


def stop(_: argparse.Namespace) -> int:
    """End it."""
    place = local_fly.find()
    if place is None:
        output.note("the local Fly was not running")
        return 0
    local_fly.stop(place)
    print("the local Fly has ended")
    return 0


def status(args: argparse.Namespace) -> int:
    """Print whether it runs. The token is not shown."""
    place = local_fly.find()
    if args.json:
        shown = {key: value for key, value in (place or {}).items() if key != "token"}
        output.as_json({"running": place is not None, **shown})
    elif place is None:
        print("the local Fly is not running; start it with: mcpctl localfly start")
    else:
        _print(place)
    return 0 if place else NotRunning("").exit_code


def _print(place: local_fly.Place) -> None:
    print(f"the local Fly runs, process {place['pid']}, API {place['api']}")
    if place["edge"]:
        port = place["edge"].rpartition(":")[2]
        print(f"apps are reached at http://APP.localhost:{port}/")
