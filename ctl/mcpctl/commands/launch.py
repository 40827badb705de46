"""`mcpctl launch` and `mcpctl volume`: put a server on Fly, and clients in touch with it."""

import argparse
import os
from typing import Any

from mcpctl import fly_program, fly_servers, local_fly, output, server_files
from mcpctl.commands import client_entries, client_flags, launch_flags, servers
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.daemon_process import running_client, translated
from mcpctl.errors import CtlError, UsageError
from mcpctl.server_draft import check_name

USAGE = """\
mcpctl launch "COMMAND" [options]
       mcpctl launch [options] -- COMMAND [ARGS...]
       mcpctl launch --image IMAGE [options]"""

_SOURCE, _DESTINATION = "data", "/data"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(
        commands,
        "launch",
        launch,
        "put an MCP server on Fly, and clients in touch with it",
        usage=USAGE,
    )
    parser.add_argument("line", nargs="?", metavar="COMMAND", help='such as "uvx mcp-server-time"')
    _add_common(parser)
    parser = command(commands, "volume", volume, "put a server on Fly that keeps files on a volume")
    _add_volume(parser)
    _add_common(parser)
    parser.set_defaults(server="volume")


def launch(args: argparse.Namespace) -> int:
    """Make the app, write the server's file, put entries into clients; or only show what would be done."""
    if args.abort:
        return _abort(args)
    wish = launch_flags.wish(args, launch_flags.command_line(args))
    if args.eject is not None:
        return _eject(args, wish)
    planned = fly_program.offline("plan", wish)
    wish["server"] = name = planned["server"]
    chosen = client_flags.targets(args)
    if server_files.read(name) is not None and not args.replace:
        raise server_files.exists(name)
    for text in planned["notes"]:
        output.note(text)
    if args.dry_run:
        _show_plan(args, planned)
    else:
        _make(args, wish, planned)
    code = client_entries.put_in(args, name, chosen) if chosen else 0
    if args.inspector and not args.dry_run:
        inspect(name)
    return code


def volume(args: argparse.Namespace) -> int:
    """Launch the server of files, or another one, with a volume that grows."""
    options = {
        "initial_size": args.initial_size,
        "auto_extend_size_threshold": args.auto_extend_size_threshold,
        "auto_extend_size_increment": args.auto_extend_size_increment,
        "auto_extend_size_limit": args.auto_extend_size_limit,
        "snapshot_retention": args.snapshot_retention or None,
    }
    said = ",".join(f"{key}={value}" for key, value in launch_flags.given(options).items())
    if args.volume:
        raise UsageError("the volume is said by --source and --destination here, not by --volume")
    args.volume = [f"{args.source}:{args.destination}:{said}"]
    args.line = f"npx -y @modelcontextprotocol/server-filesystem {args.destination}"
    return launch(args)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=None)
    launch_flags.add_flags(parser)
    group = parser.add_argument_group("how it is done")
    group.add_argument(
        "--replace", action="store_true", help="put it in the place of the server of that name here"
    )
    group.add_argument(
        "--keep", action="store_true", help="leave what was made when something fails"
    )
    group.add_argument(
        "--abort", action="store_true", help="take back what a launch that broke off has made"
    )
    group.add_argument(
        "--eject", metavar="DIR", help="write fly.toml and Dockerfile into DIR, and make nothing"
    )
    group.add_argument(
        "-i", "--inspector", action="store_true", help="open the MCP Inspector on it (needs npx)"
    )
    json_flag(parser)
    client_flags.add_flags(parser, "put an entry into their files")


def _add_volume(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the volume")
    for flag, usual, text in (
        ("--source", _SOURCE, "its name"),
        ("--destination", _DESTINATION, "the folder it is mounted on"),
        ("--initial-size", "1GB", "its size at first"),
        ("--auto-extend-size-threshold", "80", "it grows when so many percent are full"),
        ("--auto-extend-size-increment", "1GB", "by so much"),
        ("--auto-extend-size-limit", "10GB", "to at most so much"),
        ("--snapshot-retention", "", "for how many days its snapshots are kept"),
    ):
        group.add_argument(
            flag, default=usual, metavar="X", help=f"{text} (default {usual})" if usual else text
        )
    parser.set_defaults(line=None)


def _make(args: argparse.Namespace, wish: dict[str, Any], planned: dict[str, Any]) -> None:
    if wish["at"] == "local" and local_fly.find() is None:
        local_fly.start([])
        output.note("started the local Fly; 'mcpctl localfly stop' ends it")
    made = fly_program.run("launch", {"wish": wish, "keep": args.keep})
    draft = fly_servers.draft(wish, made, planned["transport"])
    try:
        servers.put(running_client(), wish["server"], draft, replace=args.replace)
    except CtlError:
        what = f"app {made['app']} runs, but is no server here"
        output.note(f"{what}; 'mcpctl destroy {wish['server']}' deletes it")
        raise
    if args.json:
        output.as_json({"server": wish["server"], **made})
    else:
        print(f"launched {wish['server']}: app {made['app']}, {made['url']}")


def _show_plan(args: argparse.Namespace, planned: dict[str, Any]) -> None:
    if args.json:
        output.as_json(planned)
        return
    print(f"would launch {planned['server']} as app {planned['app']}:")
    for call in planned["calls"]:
        print(f"  {call['why']}: {call['method']} {call['path']}")


def _abort(args: argparse.Namespace) -> int:
    name = check_name(args.server or args.name or "") if args.server or args.name else None
    if name is None:
        name = fly_program.offline(
            "plan", launch_flags.wish(args, launch_flags.command_line(args))
        )["server"]
    fly_program.run("abort", {"server": name, "at": launch_flags.place(args)})
    print(f"took back what was made of {name}")
    return 0


def _eject(args: argparse.Namespace, wish: dict[str, Any]) -> int:
    ejected = fly_program.offline("eject", wish)
    for text in ejected["notes"]:
        output.note(text)
    for name, text in ejected["files"].items():
        _write(os.path.join(args.eject, name), text, replace=args.replace)
    if args.json:
        output.as_json(ejected)
    else:
        print(f"wrote {', '.join(ejected['files'])} to {args.eject}; 'fly deploy' there makes it")
    return 0


def _write(path: str, text: str, *, replace: bool) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w" if replace else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise CtlError("conflict", f"{path} exists already; --replace writes over it") from exc
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror or exc}") from exc


def inspect(name: str) -> None:
    """Become the inspector on the server, as a client would reach it."""
    from mcpctl.attach_flags import become_inspector

    with translated():
        become_inspector(["attach", name], {})
