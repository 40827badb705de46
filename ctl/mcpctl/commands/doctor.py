"""`mcpctl doctor`: the whole way to a server, or the settings of a fly.toml before they hurt."""

import argparse
import os
from collections.abc import Iterable

from mcpctl import daemon_process, examining, fly_program, output, server_files, shapes
from mcpctl.client import Client
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import CtlError, UsageError
from mcpctl.examining import Around
from mcpctl.findings import Finding
from mcpctl.reaching import BOUND_S

MAX_BYTES = 1024 * 1024

PROBLEM_FOUND = 1
"""The exit code when something found is a problem, and not only advice."""


def add_to(commands: Commands) -> None:
    """Add the parser of this module."""
    text = "check the whole way to servers, or look over the fly.toml of one"
    parser = command(commands, "doctor", doctor, text)
    parser.add_argument(
        "name", nargs="?", metavar="NAME|FILE", help="a server, or a fly.toml; else all servers"
    )
    parser.add_argument(
        "--wake", action="store_true", help="wake a machine that sleeps, to check the way to it"
    )
    json_flag(parser)


def doctor(args: argparse.Namespace) -> int:
    """Print what is wrong and what to do about it; 1 when any of it is a problem."""
    if args.name is not None and (args.name.endswith(".toml") or os.path.isfile(args.name)):
        return _review(args)
    started = not daemon_process.answers()
    daemon_process.running_client()
    client = Client(timeout_s=BOUND_S)
    status = client.status()
    report = _Report(as_json=args.json)
    names = _names(args.name, [server["name"] for server in status["servers"]])
    if args.name is None:
        report.add(None, examining.daemon(status, started=started))
    around = Around(client, status, _tunnels(client), args.wake)
    for name in names:
        report.add(name, examining.examine(name, around))
    return report.end()


def _names(asked: str | None, known: list[str]) -> list[str]:
    """Those to look at; a file that the daemon cannot use counts, too."""
    names = sorted({*known, *server_files.names()})
    if asked is None:
        return names
    if asked not in names:
        raise server_files.unknown(asked)
    return [asked]


def _tunnels(client: Client) -> list[shapes.TunnelInfo]:
    try:
        return client.tunnels()["tunnels"]
    except CtlError:  # of an older daemon
        return []


class _Report:
    """Says findings as they come, or all at the end as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._daemon: list[Finding] = []
        self._servers: list[dict[str, object]] = []
        self._levels: list[str] = []

    def add(self, server: str | None, findings: Iterable[Finding]) -> None:
        """Those of a server, or of the daemon."""
        seen: list[Finding] = self._daemon
        if server is not None:
            seen = []
            self._servers.append({"name": server, "findings": seen})
        self._say(server or "the daemon")
        for one in findings:
            seen.append(one)
            self._levels.append(one["level"])
            self._say(f"  {one['level']:8}{one['step']:14}{one['message']}")

    def end(self) -> int:
        """The exit code."""
        problems, warnings = self._levels.count("problem"), self._levels.count("warning")
        if self._as_json:
            output.as_json({"daemon": self._daemon, "servers": self._servers})
        self._say(f"{problems} problems, {warnings} warnings")
        return PROBLEM_FOUND if problems else 0

    def _say(self, line: str) -> None:
        if not self._as_json:
            print(line, flush=True)


# ---------------------------------------------------------------- a fly.toml


def _review(args: argparse.Namespace) -> int:
    findings = fly_program.offline("review", {"text": _read(args.name)})["findings"]
    if args.json:
        output.as_json({"findings": findings})
    else:
        for one in findings:
            print(f"{one['level']}: {one['setting']}: {one['message']}")
        print(_summary(args.name, findings))
    return PROBLEM_FOUND if any(one["level"] == "problem" for one in findings) else 0


def _summary(path: str, findings: list[dict[str, str]]) -> str:
    if not findings:
        return f"{path}: nothing found that would hurt an MCP server"
    problems = sum(one["level"] == "problem" for one in findings)
    return f"{path}: {problems} problems, {len(findings) - problems} pieces of advice"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text") from exc
    if len(text) > MAX_BYTES:
        raise UsageError(f"cannot read {path}: it is too long for a fly.toml")
    return text
