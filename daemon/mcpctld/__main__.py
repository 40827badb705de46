"""`mcpctld`: the resident agent. It takes no orders on its command line but how to log."""

import sys

from mcpctl import wire
from mcpctld.errors import McpctlError

USAGE = """\
usage: mcpctld [--version] [--help]

The resident agent of mcpctl, in the foreground. Started by `mcpctl attach` when needed, by `mcpctl daemon start`,
or by systemd or launchd after `mcpctl daemon install`. SIGTERM stops it when the calls in flight are done.
"""


def main() -> None:
    """The program."""
    sys.exit(run_with(sys.argv[1:]))


def run_with(arguments: list[str]) -> int:
    """Run with these arguments: the exit code."""
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")  # noqa: T201
        return 0
    if "--version" in arguments:
        print(f"mcpctld {wire.VERSION}")  # noqa: T201
        return 0
    if unknown := [word for word in arguments if word != "--started-by-stub"]:
        print(f"mcpctld: unknown argument {unknown[0]}; see mcpctld --help", file=sys.stderr)  # noqa: T201
        return wire.exit_code("bad-request")
    from mcpctld.run import run

    try:
        return run(foreground="--started-by-stub" not in arguments)
    except McpctlError as exc:
        print(f"mcpctld: {exc}", file=sys.stderr)  # noqa: T201
        return wire.exit_code(exc.kind)


if __name__ == "__main__":
    main()
