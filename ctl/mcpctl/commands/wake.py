"""`mcpctl wake`: start the machine behind a server ahead of need."""

import argparse

from mcpctl import output
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.daemon_process import running_client


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "wake", wake, "start the Fly machine of a server, and wait for it")
    parser.add_argument("name", metavar="NAME")
    json_flag(parser)


def wake(args: argparse.Namespace) -> int:
    """Wake it; the exit code says whether it is awake."""
    woken = running_client().wake(args.name)
    if args.json:
        output.as_json(woken)
    else:
        machine = woken["machine"]
        print(f"{args.name} is awake: {machine['app']} {machine['id']}, {woken['seconds']:.1f} s")
    return 0
