"""`mcpctl secret`: the secrets of a server. Values go in, and never come out."""

import argparse

from mcpctl import output, secret_sources
from mcpctl.client import Client
from mcpctl.commands.common import Commands, command, json_flag, verbs
from mcpctl.daemon_process import running_client


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    group = verbs(
        command(commands, "secret", None, "keep, list and remove the secrets of a server")
    )
    parser = command(group, "set", put, "keep a secret")
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument(
        "key",
        metavar="KEY[=V|=@FILE]",
        help="KEY alone: from the variable KEY, else asked for",
    )
    parser = command(
        group, "list", show, "list the secrets that a server names, never their values"
    )
    parser.add_argument("server", metavar="SERVER")
    json_flag(parser)
    parser = command(group, "remove", remove, "remove one secret of a server, or all")
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument("key", nargs="?", metavar="KEY")


def put(args: argparse.Namespace) -> int:
    """Keep one secret; sessions that open from now on use it."""
    key, value = secret_sources.read_secret(args.key)
    client = running_client()
    _check_server(client, args.server)
    client.set_secret(args.server, key, value)
    print(f"set {key} of {args.server}")
    return 0


def show(args: argparse.Namespace) -> int:
    """Print the names of the secrets and whether each is set."""
    server = running_client().server(args.server)
    missing = set(server["missing_secrets"])
    if args.json:
        output.as_json({"secrets": server["secrets"], "missing": server["missing_secrets"]})
    else:
        output.table(
            ("SECRET", "STATE"),
            [(key, "missing" if key in missing else "set") for key in server["secrets"]],
        )
    return 0


def remove(args: argparse.Namespace) -> int:
    """Remove one secret, or all of a server."""
    client = running_client()
    if args.key is None:
        client.delete_secrets(args.server)
        print(f"removed all secrets of {args.server}")
    else:
        client.delete_secret(args.server, args.key)
        print(f"removed {args.key} of {args.server}")
    return 0


def _check_server(client: Client, name: str) -> None:
    client.server(name)  # raises not-found with suggestions: a typing error would lose the secret
