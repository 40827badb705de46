"""`mcpctl doctor`: look settings over before they hurt."""

import argparse

from mcpctl import fly_program, output
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import UsageError

MAX_BYTES = 1024 * 1024

PROBLEM_FOUND = 1
"""The exit code when something found is a problem, and not only advice."""


def add_to(commands: Commands) -> None:
    """Add the parser of this module."""
    parser = command(commands, "doctor", doctor, "look over the fly.toml of an MCP server")
    parser.add_argument("file", metavar="FILE", help="a fly.toml")
    json_flag(parser)


def doctor(args: argparse.Namespace) -> int:
    """Print what will hurt, and what to write in its place; 1 when any of it is a problem."""
    findings = fly_program.offline("review", {"text": _read(args.file)})["findings"]
    if args.json:
        output.as_json({"findings": findings})
    else:
        for one in findings:
            print(f"{one['level']}: {one['setting']}: {one['message']}")
        print(_summary(args.file, findings))
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
