"""`mcpctl conformance`: the official suite's server scenarios against any server."""

import argparse
import socket
import tomllib
from urllib.parse import urlsplit

from mcpctl import conformance_suite, output, server_draft, server_files
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.conformance_suite import Result
from mcpctl.errors import CtlError, UsageError

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
USUAL = "2025-11-25"
SCENARIO_FAILED = 1
"""The exit code when a check of a scenario failed."""
REACH_BOUND_S = 10.0


def add_to(commands: Commands) -> None:
    """Add the parser of this module."""
    text = "run the official conformance suite against a server"
    parser = command(commands, "conformance", conformance, text)
    parser.add_argument("target", metavar="URL|NAME")
    parser.add_argument(
        "--spec-version",
        choices=REVISIONS,
        default=USUAL,
        metavar="V",
        help=f"the revision of MCP to speak: {', '.join(REVISIONS)} (default {USUAL})",
    )
    parser.add_argument("--scenario", metavar="S", help="run this scenario only")
    json_flag(parser)


def conformance(args: argparse.Namespace) -> int:
    """Run the scenarios and print what they found."""
    url = url_of(args.target)
    conformance_suite.node()
    _check_reachable(url)
    results = conformance_suite.run(url, args.spec_version, args.scenario, output.note)
    if args.json:
        output.as_json(_document(url, args.spec_version, results))
    else:
        _print(results)
    return SCENARIO_FAILED if any(result.failed for result in results) else 0


def url_of(target: str) -> str:
    """The URL to test. A server that needs more than its URL is refused: the suite sends no headers."""
    if "://" in target:
        return str(server_draft.http_draft(target).spec["url"])
    data = server_files.read(server_draft.check_name(target))
    if data is None:
        raise CtlError("not-found", f"there is no server {target!r}; 'mcpctl list' names them")
    spec = _spec(target, data)
    if not isinstance(spec.get("url"), str):
        raise UsageError(f"{target} is a command, and the suite tests servers behind a URL only")
    if spec.get("headers") or spec.get("instance"):
        raise UsageError(
            f"{target} is reached with headers of its own, and the suite cannot send any; "
            "start a copy of the server that needs no credentials, and give its URL"
        )
    return str(spec["url"])


def _spec(name: str, data: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(data.decode())
    except ValueError as exc:  # not UTF-8, or not TOML
        raise UsageError(f"cannot read {server_files.path_of(name)}: {exc}") from exc


def _check_reachable(url: str) -> None:
    """Else every scenario would say the same."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), REACH_BOUND_S).close()
    except OSError as exc:
        why = exc.strerror or exc
        raise CtlError("unreachable", f"nothing answers at {parts.hostname}:{port}: {why}") from exc


def _print(results: list[Result]) -> None:
    rows = [(found.scenario, found.passed, found.failed, _first(found)) for found in results]
    output.table(("SCENARIO", "PASSED", "FAILED", "FIRST PROBLEM"), rows)
    bad = sum(bool(result.failed) for result in results)
    print(f"{len(results)} scenarios, {bad} of them with failed checks")


def _first(result: Result) -> str:
    """The text of the first failure, else of the first warning."""
    by_weight = sorted(result.problems, key=lambda problem: problem.status)
    if not by_weight:
        return ""
    problem = by_weight[0]
    return problem.message if problem.status == "FAILURE" else f"warning: {problem.message}"


def _document(url: str, revision: str, results: list[Result]) -> dict[str, object]:
    return {
        "suite": conformance_suite.version(),
        "url": url,
        "spec_version": revision,
        "scenarios": [
            {
                "scenario": result.scenario,
                "passed": result.passed,
                "failed": result.failed,
                "problems": [
                    {"check": found.check, "status": found.status, "message": found.message}
                    for found in result.problems
                ],
            }
            for result in results
        ],
    }
