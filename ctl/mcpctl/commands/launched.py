"""What can be done to a server that was launched: `update`, `rollback`, `scale`, `secrets`, `rotate`, `destroy`."""

import argparse
import sys
from typing import Any

from mcpctl import fly_program, fly_servers, output, secret_sources, server_files
from mcpctl.commands import client_entries, launch_flags, servers
from mcpctl.commands.common import Commands, Run, command, json_flag
from mcpctl.daemon_process import running_client
from mcpctl.errors import UsageError
from mcpctl.fly_program import Event
from mcpctl.server_draft import check_name

MACHINE_HEAD = ("MACHINE", "STATE", "REGION", "SIZE", "CHECKS", "IMAGE")


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = _parser(
        commands, "update", update, "give a launched server another command, image or size"
    )
    parser.set_defaults(command=None)
    parser.add_argument("line", nargs="?", metavar="COMMAND", help="the command, if it changes")
    launch_flags.add_changes(parser)
    _parser(
        commands, "rollback", rollback, "give a launched server what it had before the last change"
    )
    parser = _parser(commands, "scale", scale, "give a launched server a machine of another size")
    launch_flags.add_size(parser.add_argument_group("its size"))
    parser = _parser(
        commands, "secrets", secrets, "list, set and remove the secrets of a launched server's app"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="K[=V|=@FILE]", help="set a secret"
    )
    parser.add_argument("--unset", action="append", default=[], metavar="K", help="remove a secret")
    _parser(
        commands,
        "rotate",
        rotate,
        "give a launched server a new bearer token; clients notice nothing",
    )
    parser = _parser(
        commands, "destroy", destroy, "delete a launched server, its app and all that is in it"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def update(args: argparse.Namespace) -> int:
    """Change some of what the launch said; what is not said stays. It goes back when the server does not answer."""
    changes = launch_flags.changes(args, launch_flags.command_line(args))
    if not changes:
        raise UsageError("say what to change: a command, --image, --vm-memory, --env and so on")
    return _done(args, "updated", _run("update", args, wish=changes))


def rollback(args: argparse.Namespace) -> int:
    """Go back to the configuration before the last change."""
    return _done(args, "rolled back", _run("rollback", args))


def scale(args: argparse.Namespace) -> int:
    """Change the size of the machine."""
    size = launch_flags.size(args)
    if not size:
        raise UsageError("say how large: --vm-memory, --vm-size, --vm-cpus or --vm-cpu-kind")
    return _done(args, "scaled", _run("scale", args, **size))


def secrets(args: argparse.Namespace) -> int:
    """Set and remove secrets, and start the machine with them; without either list their names."""
    values = secret_sources.read_secrets(args.set)
    made = _run("secrets", args, set=values, unset=args.unset)
    if values or args.unset:
        return _done(args, "changed the secrets of", made)
    if args.json:
        output.as_json(made)
    else:
        rows = [(one["name"], one["digest"]) for one in made["secrets"]]
        output.table(("NAME", "DIGEST"), rows, "the app has no secrets")
    return 0


def rotate(args: argparse.Namespace) -> int:
    """Replace the bearer token, on the machine and in the secret store, with no moment at which none works."""

    def takes(event: Event) -> bool:
        if event.get("name") == "switched":  # before the old token stops working
            running_client().reload()
        return False

    place = fly_servers.place_of(check_name(args.name))
    return _done(args, "rotated the token of", fly_program.run("rotate", place, takes=takes))


def state(args: argparse.Namespace) -> int:
    """Print the machines of a launched server as Fly has them; none is woken by it."""
    found = _run("status", args)
    if args.json:
        output.as_json(found)
        return 0
    print(f"app {found['app']} on {found['at']}: {found['url'] or 'no address is known'}\n")
    output.table(
        MACHINE_HEAD, [_machine_row(one) for one in found["machines"]], "the app has no machine"
    )
    return 0


def destroy(args: argparse.Namespace) -> int:
    """Delete the app; then the server's file, its secrets and its entries in the files of clients.

    One whose file is gone already is known by the record of its launch.
    """
    name = check_name(args.name)
    is_here = server_files.read(name) is not None
    place = fly_servers.place_of(name) if is_here else {"server": name}
    what = f"app {place['app']}" if is_here else f"what was launched as {name}"
    if not args.yes and not _confirmed(f"delete {what} and all that is in it?"):
        raise UsageError("nothing was deleted; --yes does not ask")
    made = fly_program.run("destroy", place)
    if is_here:
        servers.remove_server(name)
    code = client_entries.take_out_everywhere(name)
    return code or _done(args, "destroyed", made)


def _parser(commands: Commands, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    parser = command(commands, name, run, text)
    parser.add_argument("name", metavar="NAME")
    json_flag(parser)
    return parser


def _run(operation: str, args: argparse.Namespace, **more: Any) -> Event:
    return fly_program.run(operation, {**fly_servers.place_of(check_name(args.name)), **more})


def _done(args: argparse.Namespace, what: str, made: Event) -> int:
    """Say what was done."""
    if args.json:
        output.as_json(made)
    else:
        print(f"{what} {args.name}: app {made.get('app')}")
    return 0


def _machine_row(machine: Event) -> tuple[object, ...]:
    guest = machine.get("guest") or {}
    size = (
        f"{guest.get('cpus', '?')} {guest.get('cpu_kind', '?')}, {guest.get('memory_mb', '?')} MB"
    )
    checks = ", ".join(str(one["status"]) for one in machine.get("checks") or ()) or None
    return machine["id"], machine["state"], machine["region"], size, checks, machine.get("image")


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
