"""`mcpctl add`, `remove`, `list`: the servers that clients can attach to."""

import argparse
import os
import shutil
from typing import Any

from mcpctl import fly_servers, output, secret_sources, server_draft, server_files, shapes
from mcpctl.client import Client
from mcpctl.commands import client_entries, client_flags
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.daemon_process import running_client
from mcpctl.errors import ApiError, CtlError, UsageError
from mcpctl.server_draft import Draft

TRANSPORTS = ("auto", "streamable-http", "http-sse", "fly-wrap")
ERAS = ("auto", "legacy", "modern", "mirror")

NONE_YET = "no server is added yet; 'mcpctl add --help' shows how"

ADD_USAGE = """\
mcpctl add --server NAME --url URL [options]
       mcpctl add --server NAME [options] -- COMMAND [ARGS...]
       mcpctl add --server NAME CLIENT-FLAGS     to put a server that there is into clients"""


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    _add_parser(command(commands, "add", add, "add a server: a URL or a command", usage=ADD_USAGE))
    parser = command(commands, "remove", remove, "remove a server and its secrets")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--server", metavar="NAME", help="the same as NAME")
    client_flags.add_flags(parser, "take its entries out of these only, and keep the server")
    parser = command(commands, "list", show, "list the servers that there are")
    json_flag(parser)


def add(args: argparse.Namespace) -> int:
    """Write a server's file, its secrets first; then the entries of the clients that were named."""
    name = server_draft.check_name(args.server)
    chosen = client_flags.targets(args)
    is_there = server_files.read(name) is not None
    if not (chosen and is_there and not args.url and not args.command):
        if is_there and not args.replace:
            raise server_files.exists(name)
        _add_server(args, name)
    return client_entries.put_in(args, name, chosen) if chosen else 0


def _add_server(args: argparse.Namespace, name: str) -> None:
    draft = _stdio(args) if args.command else _http(args)
    if not args.dry_run:
        put(running_client(), name, draft, replace=args.replace)
    for text in draft.notes:
        output.note(text)
    done = "would add" if args.dry_run else "added"
    print(f"{done} {name}: clients reach it with 'mcpctl attach {name}'")


def put(client: Client, name: str, draft: Draft, *, replace: bool) -> None:
    """Store the secrets, write the file, reload; put back what was there if it is refused."""
    data = server_files.encode(draft.spec)
    old = server_files.read(name)
    for key, value in draft.secrets.items():
        client.set_secret(name, key, value)
    server_files.write(name, data, replace=replace)
    try:
        refusal = _refusal(client.reload(), name)
    except CtlError:
        _put_back(name, old)
        raise
    if refusal:
        _put_back(name, old)
        _take_back(client, name, draft, old)
        raise UsageError(f"the daemon does not accept server {name!r}: {refusal}")
    _forget(client, name, server_files.secrets_in(old or b"") - server_files.secrets_in(data))


def remove(args: argparse.Namespace) -> int:
    """Take a server out of its clients' files; unless these were named, delete its file and secrets as well."""
    if (args.name is None) == (args.server is None):
        raise UsageError("say which server: mcpctl remove NAME")
    name = server_draft.check_name(args.name or args.server)
    if not client_flags.is_given(args) and not args.dry_run:
        launched = fly_servers.places().get(name)
        remove_server(name)
        if launched:
            output.note(f"app {launched['app']} is left on Fly; 'mcpctl destroy {name}' deletes it")
    return client_entries.take_out(args, name)


def remove_server(name: str) -> None:
    """Delete a server's file and its secrets; what clients' files say of it stays."""
    from mcpctl.storing import journal

    server_files.remove(name)
    client = running_client()
    client.reload()
    client.delete_secrets(name)
    journal.forget_adoptions(name)
    print(f"removed {name}")


def show(args: argparse.Namespace) -> int:
    """Print the servers, and on stderr the files that could not be read."""
    status = running_client().status()
    named, on_fly = client_entries.by_server(), fly_servers.places()
    if args.json:
        servers = [
            {**one, "clients": named.get(one["name"], []), "fly": on_fly.get(one["name"])}
            for one in status["servers"]
        ]
        output.as_json({"servers": servers})
    else:
        rows = [_row(server, named, on_fly) for server in status["servers"]]
        output.table(("NAME", "TRANSPORT", "SESSIONS", "CLIENTS", "TARGET"), rows, NONE_YET)
    for error in status["config_errors"]:
        output.note(f"cannot use {error['file']}: {error['message']}")
    return 0


def _add_parser(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=None)
    parser.add_argument("--server", metavar="NAME", required=True, help="the name to give it")
    parser.add_argument("--replace", action="store_true", help="put it in the place of NAME")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="K[=V|=@FILE]",
        help="keep a secret; a command gets it as variable K, a header names it ${secret:K}",
    )
    parser.add_argument(
        "--era",
        choices=ERAS,
        help="the era of MCP that it speaks: legacy (before 2026-07-28) or modern; found out when not given",
    )
    _add_url_flags(parser.add_argument_group("a server behind a URL"))
    group = parser.add_argument_group("a command to run here")
    group.add_argument("--env", action="append", default=[], metavar="K=V", help="set a variable")
    group.add_argument("--cwd", metavar="FOLDER", help="run it in this folder")
    client_flags.add_flags(parser, "put an entry into their files")


def _add_url_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", metavar="URL", help="http or https")
    group.add_argument("--transport", choices=TRANSPORTS, help="found out when not given")
    group.add_argument("--instance", metavar="ID", help="pin every request to this Fly machine")
    group.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'K: V'",
        help="send this header on every request; may be repeated",
    )
    group.add_argument(
        "--bearer-token",
        nargs="?",
        const=secret_sources.PROMPT,
        metavar="T",
        help="send this token; without T from MCPCTL_BEARER_TOKEN, else asked for",
    )
    group.add_argument("-u", "--user", metavar="U", help="send basic authentication")
    group.add_argument(
        "-p",
        "--password",
        nargs="?",
        const=secret_sources.PROMPT,
        metavar="P",
        help="its password; without P from MCPCTL_PASSWORD, else asked for",
    )


def _http(args: argparse.Namespace) -> Draft:
    if not args.url:
        raise UsageError("say what to add: --url URL, or -- COMMAND ARGS...")
    if args.env or args.cwd:
        raise UsageError("--env and --cwd are for commands, not for a URL")
    return server_draft.http_draft(
        args.url,
        args.header,
        secret_sources.read_secrets(args.secret),
        _authorization(args),
        transport=args.transport,
        era=args.era,
        instance=args.instance,
    )


def _authorization(args: argparse.Namespace) -> tuple[str, str, str] | None:
    """The scheme, the name of the secret and its value."""
    if args.bearer_token is not None and args.user is not None:
        raise UsageError("--bearer-token and --user exclude each other")
    if args.password is not None and args.user is None:
        raise UsageError("--password needs --user")
    if args.bearer_token is not None:
        return "Bearer", "bearer-token", secret_sources.bearer_token(args.bearer_token)
    if args.user is None:
        return None
    if ":" in args.user:  # RFC 7617 §2
        raise UsageError("a user name for basic authentication cannot have a colon")
    from base64 import b64encode

    pair = f"{args.user}:{secret_sources.password(args.password)}"
    return "Basic", "basic", b64encode(pair.encode("utf-8", "surrogateescape")).decode()


def _stdio(args: argparse.Namespace) -> Draft:
    for flag in ("url", "transport", "instance", "header", "bearer_token", "user", "password"):
        if getattr(args, flag):
            raise UsageError(f"--{flag.replace('_', '-')} is for a URL, not for a command")
    program = shutil.which(args.command[0])
    if program is None:
        raise UsageError(f"cannot find the command {args.command[0]!r} in PATH")
    if args.cwd is not None and not os.path.isdir(args.cwd):
        raise UsageError(f"cannot run the command in {args.cwd}: there is no such folder")
    return server_draft.stdio_draft(
        [os.path.abspath(program), *args.command[1:]],
        args.env,
        secret_sources.read_secrets(args.secret),
        os.environ,
        cwd=args.cwd and os.path.abspath(args.cwd),
        era=args.era,
    )


def _row(
    server: shapes.ServerInfo, named: dict[str, list[str]], on_fly: dict[str, dict[str, Any]]
) -> tuple[object, ...]:
    found = f" ({server['detected']})" if server["detected"] else ""
    target = server["url"] or " ".join(server["command"] or [])
    if fly := on_fly.get(server["name"]):
        target += f" (app {fly['app']}, machine {fly.get('machine') or 'any'})"
    clients = ", ".join(named.get(server["name"], [])) or None
    return server["name"], server["transport"] + found, server["sessions"], clients, target


def _refusal(reloaded: shapes.Reloaded, name: str) -> str | None:
    file = f"servers/{name}.toml"
    for error in reloaded["config_errors"]:
        if error["file"].endswith(file):
            return error["message"]
    return None if name in reloaded["servers"] else "it did not find the file; see 'mcpctl status'"


def _put_back(name: str, old: bytes | None) -> None:
    if old is None:
        server_files.remove(name)
    else:
        server_files.write(name, old, replace=True)


def _take_back(client: Client, name: str, draft: Draft, old: bytes | None) -> None:
    client.reload()
    if old is None:
        client.delete_secrets(name)
    elif draft.secrets:
        output.note(
            f"the former file is back, but secrets were replaced: {', '.join(draft.secrets)}"
        )


def _forget(client: Client, name: str, keys: set[str]) -> None:
    for key in sorted(keys):
        try:
            client.delete_secret(name, key)
        except ApiError as exc:
            output.note(f"cannot delete secret {key}, which is no longer used: {exc}")
