"""`mcpctl sessions`: the clients that are attached."""

import argparse

from mcpctl import output, shapes
from mcpctl.client import Client
from mcpctl.commands.common import Commands, command, json_flag, verbs

HEAD = (
    *("SESSION", "SERVER", "CLIENT", "STATE", "MCP"),
    *("UP", "CALLS", "ERRORS", "P50 MS", "P99 MS", "PID"),
)


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "sessions", show, "list the attached clients")
    json_flag(parser)
    group = verbs(parser, required=False)
    parser = command(group, "end", end, "end a session; its client sees the end of its server")
    parser.add_argument("id", metavar="ID")


def show(args: argparse.Namespace) -> int:
    """Print the sessions of a daemon that runs."""
    sessions = Client().sessions()
    if args.json:
        output.as_json(sessions)
    else:
        table(sessions["sessions"])
    return 0


def end(args: argparse.Namespace) -> int:
    """End one session."""
    Client().end_session(args.id)
    print(f"ended {args.id}")
    return 0


def table(sessions: list[shapes.SessionInfo]) -> None:
    """Print one line for each session."""
    output.table(HEAD, [_row(session) for session in sessions], "no client is attached")


def _row(session: shapes.SessionInfo) -> tuple[object, ...]:
    figures = session["figures"]
    return (
        session["id"],
        session["server"],
        " ".join(filter(None, (session["client"], session["client_version"]))) or None,
        session["state"],
        _revision(session),
        output.ago(session["started_at"]),
        figures["calls"],
        figures["errors"],
        figures["p50_ms"],
        figures["p99_ms"],
        session["pid"],
    )


def _revision(session: shapes.SessionInfo) -> str | None:
    """The revision that the client speaks, and whether the server speaks one of the other era."""
    bridged = "bridged" if session["bridge"] else None
    return " ".join(filter(None, (session["protocol_version"], bridged))) or None
