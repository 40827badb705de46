"""`mcpctl wrap`: see `mcpctl wrap --help`."""

import os
import sys

import trio

from mcpctl import wire
from mcpctld.errors import McpctlError
from mcpctld.logs import log_to_stderr
from mcpctld.wrap.options import parse_options


def main() -> None:
    """The program."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run with these words: the exit code."""
    try:
        options = parse_options(argv, os.environ)
        log_to_stderr()
        for note in options.notes:
            print(f"mcpctl wrap: {note}", file=sys.stderr)  # noqa: T201
        from mcpctld.wrap.serve import serve

        trio.run(serve, options, dict(os.environ))
    except McpctlError as exc:
        print(f"mcpctl wrap: {exc}", file=sys.stderr)  # noqa: T201
        return wire.exit_code(exc.kind)
    return 0


if __name__ == "__main__":
    main()
