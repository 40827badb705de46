"""`mcpctld`: the resident agent. It takes no orders on its command line but how to log."""

import sys
from collections.abc import Callable

from mcpctl import wire
from mcpctld.errors import McpctlError, UserError

USAGE = """\
usage: mcpctld [--version] [--help]
       mcpctld --read-secrets SERVER KEY...

The resident agent of mcpctl, in the foreground. Started by `mcpctl attach` when needed, by `mcpctl daemon start`,
or by systemd or launchd after `mcpctl daemon install`. SIGTERM stops it when the calls in flight are done.

  --read-secrets SERVER KEY...   print secrets as a JSON object, never to a terminal: how `mcpctl release` gives a
                                 token back to the file that it came from; the daemon itself never gives one out
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
    if arguments[:1] == ["--read-secrets"]:
        return _guarded(lambda: _read_secrets(arguments[1:]))
    if unknown := [word for word in arguments if word != "--started-by-stub"]:
        print(f"mcpctld: unknown argument {unknown[0]}; see mcpctld --help", file=sys.stderr)  # noqa: T201
        return wire.exit_code("bad-request")
    from mcpctld.run import run

    return _guarded(lambda: run(foreground="--started-by-stub" not in arguments))


def _guarded(work: Callable[[], int]) -> int:
    """Do it: its exit code, or that of its error."""
    try:
        return work()
    except McpctlError as exc:
        print(f"mcpctld: {exc}", file=sys.stderr)  # noqa: T201
        return wire.exit_code(exc.kind)


def _read_secrets(words: list[str]) -> int:
    """Print secrets as the user's own process, to another one of theirs."""
    import json

    from mcpctld.config.reveal import reveal

    if len(words) < 2:
        raise UserError("--read-secrets takes a server and its keys")
    if sys.stdout.isatty():
        raise UserError("a secret is not shown on a terminal")
    sys.stdout.write(json.dumps(reveal(words[0], words[1:])))
    return 0


if __name__ == "__main__":
    main()
