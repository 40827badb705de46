"""The command line, all of it but `attach`, `proxy` and `wrap`.

Each noun is a module of `mcpctl.commands` that adds its own parsers. The first word says which one
to load, so that a command pays for itself only; `--help` loads them all.
"""

import argparse
import importlib
import os
import sys

from mcpctl import wire
from mcpctl.errors import CtlError

MODULES = {
    "add": "servers",
    "remove": "servers",
    "list": "servers",
    "launch": "launch",
    "volume": "launch",
    "update": "launched",
    "rollback": "launched",
    "scale": "launched",
    "secrets": "launched",
    "rotate": "launched",
    "destroy": "launched",
    "doctor": "doctor",
    "clients": "clients",
    "adopt": "adopt",
    "release": "adopt",
    "secret": "secret",
    "status": "status",
    "wake": "wake",
    "sessions": "sessions",
    "tunnels": "tunnels",
    "tools": "tools",
    "call": "tools",
    "inspect": "inspect",
    "logs": "logs",
    "conformance": "conformance",
    "localfly": "localfly",
    "restart": "daemon",
    "daemon": "daemon",
}
"""Each command and the module that has it."""

FAST = {
    "attach": "connect stdin and stdout to a server: what an MCP client starts",
    "proxy": "attach with the flags of 'fly mcp proxy'",
    "wrap": "serve a stdio server over HTTP",
}
"""What `__main__` runs by itself; here for the list of commands only."""

INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""

PIPE_CLOSED = 141
"""128 + SIGPIPE: whoever read our answer has had enough of it."""

DESCRIPTION = "One resident agent between your MCP clients and your MCP servers."
EPILOG = """\
attach NAME and proxy connect an MCP client to a server: see 'mcpctl attach --help'.
exit codes: 0 done, 1 a tool or a scenario failed, """


def main(argv: list[str]) -> int:
    """Run one command and answer its exit code; every failure is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # text of servers may hold anything
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(argv)
        sys.stdout.flush()  # here, where a reader that has left is no error
        return code
    except CtlError as exc:
        return _fail(str(exc), exc.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        silence_stdout()
        return PIPE_CLOSED
    except OSError as exc:  # every other seam has translated its own
        silence_stdout()
        return _fail(
            f"cannot write the answer: {exc.strerror or exc}", wire.exit_code("unreachable")
        )
    except Exception as exc:
        if os.environ.get("MCPCTL_DEBUG"):
            raise
        what = f"bug: {type(exc).__name__}: {exc} (MCPCTL_DEBUG=1 shows where)"
        return _fail(what, wire.exit_code("internal"))


def _run(argv: list[str]) -> int:
    try:
        return run(argv)
    except SystemExit as exc:  # argparse has printed its help, or what is wrong
        return exc.code if isinstance(exc.code, int) else 0


def run(argv: list[str]) -> int:
    """Parse and run; raises what the command raises."""
    words, command = split_command(argv)
    wanted = words[0] if words else ""
    args = make_parser(wanted).parse_args(words)
    if command is not None and not hasattr(args, "command"):
        make_parser(wanted).error(
            "only 'mcpctl add', 'launch' and 'update' take a command after --"
        )
    if command is not None:
        args.command = command
    return int(args.run(args))


def split_command(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """Cut at the first `--`: what stands behind it is a command to record and not ours to parse."""
    if "--" not in argv:
        return argv, None
    cut = argv.index("--")
    return argv[:cut], argv[cut + 1 :]


def make_parser(wanted: str = "") -> argparse.ArgumentParser:
    """The parser with the commands of the module that has `wanted`, or with all."""
    parser = argparse.ArgumentParser(
        prog="mcpctl",
        description=DESCRIPTION,
        epilog=EPILOG + ", ".join(f"{code} {kind}" for kind, (_, code, _) in wire.KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mcpctl {wire.VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in FAST.items():  # `__main__` has run them before we are asked
        commands.add_parser(name, help=text, add_help=False)
    modules = [MODULES[wanted]] if wanted in MODULES else dict.fromkeys(MODULES.values())
    for module in modules:
        importlib.import_module(f"mcpctl.commands.{module}").add_to(commands)
    return parser


def silence_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter complains at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)


def _fail(text: str, code: int) -> int:
    from mcpctl.output import note

    note(text)
    return code
