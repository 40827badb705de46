"""A local Fly, in the foreground: `python -P -m mcpctld.localfly`. See `mcpctl localfly --help`."""

import argparse
import os
import sys

import msgspec
import trio

from mcpctl import wire
from mcpctld.errors import McpctlError
from mcpctld.localfly.faults import Fault, parse_fault
from mcpctld.localfly.place import default_folder
from mcpctld.localfly.serve import Options, serve
from mcpctld.localfly.supervisor import Settings
from mcpctld.logs import log_to_stderr, open_log

LOG = "localfly.log"


def main() -> None:
    """The program."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run with these words: the exit code."""
    given = _parser().parse_args(argv)
    options = Options(
        folder=os.path.abspath(given.state),
        port=given.port,
        edge_port=given.edge_port,
        autostop_period_s=given.autostop_period,
        settings=Settings(
            cold_start_s=given.cold_start,
            start_race_s=given.start_race,
            rate_limits=given.rate_limits,
        ),
        faults=tuple(given.fault),
    )
    try:
        if given.log:
            os.makedirs(options.folder, mode=0o700, exist_ok=True)
            open_log(f"{options.folder}/{LOG}", to_stderr=False)
        else:
            log_to_stderr()
        trio.run(serve, options, dict(os.environ))
    except McpctlError as exc:
        print(f"mcpctl localfly: {exc}", file=sys.stderr)  # noqa: T201
        return wire.exit_code(exc.kind)
    except OSError as exc:
        print(f"mcpctl localfly: {exc}", file=sys.stderr)  # noqa: T201
        return wire.exit_code("unreachable")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcpctl localfly start", description="A Fly on this computer.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--state", metavar="DIR", default=default_folder(), help="where everything is kept")
    add("--port", type=int, help="of the API; as last time if not said")
    add("--edge-port", type=int, help="of the proxy; as last time if not said")
    add(
        "--cold-start",
        type=float,
        default=0.0,
        metavar="S",
        help="what a boot takes beside the program's own time",
    )
    add(
        "--start-race",
        type=float,
        default=0.0,
        metavar="S",
        help="how long a stopped machine refuses to start",
    )
    add(
        "--autostop-period",
        type=float,
        default=60.0,
        metavar="S",
        help="how often idle machines are looked for",
    )
    add("--rate-limits", action="store_true", help="refuse requests as often as fly.io does")
    add(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="KIND[,FIELD=VALUE]...",
        help="a failure that is wanted",
    )
    add("--log", action="store_true", help="write the log into the folder instead of stderr")
    return parser


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except (ValueError, msgspec.ValidationError) as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


if __name__ == "__main__":
    main()
