"""`mcpctl inspect`: what a server offers, and trying it out; or the official inspector on it."""

import argparse
import sys
from typing import TYPE_CHECKING

from mcpctl import mcp_client, output
from mcpctl.commands import client_flags, tools
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import CtlError, UsageError
from mcpctl.mcp_link import Fields

if TYPE_CHECKING:
    from mcpctl.clients import Entry

USAGE = """\
mcpctl inspect NAME [-i] [--json]
       mcpctl inspect (--url URL | -a APP) [options]
       mcpctl inspect [NAME] CLIENT-FLAG     the entry of that name in a client's file"""

VALUED = (
    "url",
    "app",
    "bearer_token",
    "user",
    "password",
    "instance",
    "era",
    "timeout",
    "bind_addr",
)
SWITCHES = ("sse", "stream", "ping")
"""Options that `mcpctl proxy` has too, and that are read as it reads them."""


def add_to(commands: Commands) -> None:
    """Add the parser of this module."""
    parser = command(
        commands, "inspect", inspect, "show what a server offers, and try it out", usage=USAGE
    )
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--server", metavar="NAME", help="the same as NAME")
    parser.add_argument(
        "-i", "--inspector", action="store_true", help="open the MCP Inspector on it (needs npx)"
    )
    tools.timeout_flag(parser, None)
    json_flag(parser)
    _add_url_flags(parser.add_argument_group("a server that was not added"))
    client_flags.add_choice(parser, "the server that an entry of theirs attaches to")


def inspect(args: argparse.Namespace) -> int:
    """Show everything; then do what is typed, or comes through a pipe."""
    words, fields = _target(args)
    if args.inspector:
        _open_inspector(args, words)
    timeout_s = args.timeout or tools.TIMEOUT_S
    with mcp_client.session(fields, timeout_s, tools.tell) as session:
        from mcpctl import inspecting, offer

        found = offer.ask(session)
        if args.json:
            output.as_json(found.as_json())
            return 0
        output.text_out("\n".join(offer.told(found)))
        loop = inspecting.Loop(session, found, tools.describe)
        if not sys.stdin.isatty():
            return loop.run(iter(sys.stdin))
        if not sys.stdout.isatty():
            return 0
        print("\n'help' says what can be done here")
        return loop.run(inspecting.typed_lines(f"{args.name or 'mcp'}> "))


def _target(args: argparse.Namespace) -> tuple[list[str], Fields]:
    """The words by which `mcpctl` attaches to the server, and the greeting's fields."""
    if args.name is not None and args.server is not None:
        raise UsageError("NAME and --server are the same: give one of them")
    name = args.name or args.server
    flags = _proxy_flags(args)
    if client_flags.is_given(args):
        name = _server_of(args, name)
    elif args.url or args.app:
        if name is not None:
            raise UsageError("give a server's NAME, or --url or --app, and not both")
        return ["proxy", *flags], _read(["proxy", *flags])
    if name is None:
        raise UsageError("say which server: mcpctl inspect NAME, --url URL or --app APP")
    if set(flags) - {"--timeout", str(args.timeout)}:
        raise UsageError(
            "a server that was added has its own settings: these flags are for --url and --app"
        )
    return ["attach", name], [("server", name)]


def _server_of(args: argparse.Namespace, name: str | None) -> str:
    """The server of ours that an entry in the chosen files attaches to."""
    found = [entry for entry in client_flags.entries(args) if name in (None, entry.name)]
    servers = {entry.server for entry in found if entry.server is not None}
    if len(servers) == 1:
        return servers.pop()
    if len(servers) > 1:
        raise UsageError(
            f"these files name {', '.join(sorted(servers))}; say which: mcpctl inspect NAME"
        )
    raise _not_ours(found, name)


def _not_ours(found: "list[Entry]", name: str | None) -> CtlError:
    if not found:
        return CtlError("not-found", f"these files have no server{f' {name!r}' if name else ''}")
    first = found[0].name
    return CtlError(
        "bad-request",
        f"{first!r} is not reached through the agent; 'mcpctl adopt {first}' moves it there",
    )


def _proxy_flags(args: argparse.Namespace) -> list[str]:
    given = [(name, getattr(args, name)) for name in VALUED]
    flags = [
        word
        for name, value in given
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return flags + [f"--{name}" for name in SWITCHES if getattr(args, name)]


def _read(argv: list[str]) -> Fields:
    from mcpctl import attach_flags
    from mcpctl.attach import AttachError

    try:
        return attach_flags.parse(argv)
    except AttachError as exc:
        raise CtlError(exc.kind, str(exc)) from exc


def _open_inspector(args: argparse.Namespace, words: list[str]) -> None:
    """Become the inspector; it reaches the server as we would have."""
    from mcpctl import attach_flags
    from mcpctl.attach import AttachError

    try:
        if words[0] == "proxy":
            attach_flags.parse([*words, "--inspector"])
        attach_flags.become_inspector(words, {})
    except AttachError as exc:
        raise CtlError(exc.kind, str(exc)) from exc


def _add_url_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", metavar="URL", help="http or https")
    group.add_argument("-a", "--app", metavar="APP", help="the server at https://APP.fly.dev/")
    group.add_argument("--bearer-token", metavar="T", help="or the variable MCPCTL_BEARER_TOKEN")
    group.add_argument("-u", "--user", metavar="USER", help="basic authentication")
    group.add_argument("-p", "--password", metavar="P", help="or the variable MCPCTL_PASSWORD")
    group.add_argument("--instance", metavar="MACHINE", help="pin every request to this machine")
    group.add_argument("--era", metavar="E", help="auto, legacy, modern or mirror")
    group.add_argument("--sse", action="store_true", help="it speaks HTTP+SSE")
    group.add_argument("--stream", action="store_true", help="it speaks Streamable HTTP")
    group.add_argument("-b", "--bind-addr", metavar="A", help="taken, and does nothing")
    group.add_argument("--ping", action="store_true", help="taken, and does nothing")
