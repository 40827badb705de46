"""The flags that name clients and their files, and what they stand for."""

import argparse
import os
from typing import TYPE_CHECKING

from mcpctl.errors import CtlError

if TYPE_CHECKING:
    from mcpctl.clients import Client, Entry, Found, Place

    Target = tuple[Client, Place]

FLAGS = {
    "claude": "claude-desktop",
    "cursor": "cursor",
    "neovim": "neovim",
    "vscode": "vscode",
    "windsurf": "windsurf",
    "zed": "zed",
}
"""The flags of flyctl, and the clients that they name."""

_SECTIONS = (
    ("mcpServers", "claude-code"),
    ("context_servers", "zed"),
    ("servers", "vscode"),
    ("mcp_servers", "codex"),
    ("extensions", "goose"),
    ("amp.mcpServers", "amp"),
    ("mcp", "opencode"),
)
"""The keys below which entries stand, and the client whose entries look so, for a file of another name."""
_DEFAULTS = {"toml": "codex", "yaml": "goose", "json": "claude-code"}


def add_flags(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the flags that choose clients whose files are changed: `what` is done with them."""
    add_choice(parser, what).add_argument(
        "--dry-run",
        action="store_true",
        help="show as a diff what would change, and change nothing",
    )


def add_choice(parser: argparse.ArgumentParser, what: str) -> argparse._ArgumentGroup:
    """Add the flags that choose clients; `what` is done with their files."""
    group = parser.add_argument_group(f"clients: {what}")
    for flag, name in FLAGS.items():
        group.add_argument(f"--{flag}", action="store_true", help=f"the same as --client {name}")
    group.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="NAME",
        help="a client that 'mcpctl clients' shows; may be repeated",
    )
    group.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="PATH",
        help="a file, whose format and key are recognised; may be repeated",
    )
    group.add_argument(
        "--project", action="store_true", help="the clients' files of the project in this folder"
    )
    return group


def is_given(args: argparse.Namespace) -> bool:
    """Whether any client or file was named."""
    return bool(args.config or _names(args))


def targets(args: argparse.Namespace) -> "list[Target]":
    """The clients and files that were named, each once. Raises `CtlError` for an unknown one."""
    from mcpctl.clients import client_named

    found = [_target(client_named(name), args) for name in _names(args)]
    return found + [recognised(path) for path in _paths(args)]


def findings(args: argparse.Namespace) -> "list[Found]":
    """What the files hold of the clients that were named, or of all."""
    from mcpctl.clients import Machine, client_named, clients, examine, survey

    project = os.getcwd() if args.project else None
    chosen = [client_named(name) for name in _names(args)]
    if not is_given(args):
        chosen = list(clients().values())
    return survey(chosen, Machine.this(), project) + [
        examine(*recognised(path)) for path in _paths(args)
    ]


def entries(args: argparse.Namespace) -> "list[Entry]":
    """The entries in those files; those of an administrator are left out."""
    found = [one for one in findings(args) if one.place.scope != "system"]
    return [entry for one in found for entry in one.entries]


def recognised(path: str) -> "Target":
    """Whose file this is: by its name, else by what is in it."""
    from mcpctl.clients import Machine, client_named, clients, in_project

    for client in clients().values():
        for place in client.places(Machine.this()):
            if place.path == path and not place.why_not:
                return client, place
        for place in client.project:
            if path.endswith("/" + place.path):
                return client, in_project(place, path.removesuffix("/" + place.path))
    section, name, kind = _looked_up(path)
    return client_named(name), _place(path, section, kind)


def _names(args: argparse.Namespace) -> list[str]:
    flagged = [name for flag, name in FLAGS.items() if getattr(args, flag)]
    return list(dict.fromkeys([*flagged, *args.client]))


def _paths(args: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(os.path.abspath(path) for path in args.config))


def _target(client: "Client", args: argparse.Namespace) -> "Target":
    from mcpctl.clients import Machine

    place = client.project_target(os.getcwd()) if args.project else client.target(Machine.this())
    if place is None:
        what = "file for a project" if args.project else "file of its own"
        raise CtlError("bad-request", f"{client.title} has no {what}")
    return client, place


def _looked_up(path: str) -> tuple[str, str, str]:
    """The key in use in a file, the client whose entries look so there, and the format."""
    from mcpctl.editing import document
    from mcpctl.storing.snapshot import look

    suffix = os.path.splitext(path)[1].lower()
    kind: document.Format = (
        "toml" if suffix == ".toml" else "yaml" if suffix in (".yaml", ".yml") else "json"
    )
    value = document.meaning(look(path).data or b"", kind)
    for section, name in _SECTIONS:
        if isinstance(value, dict) and section in value:
            return section, name, kind
    default = _DEFAULTS[kind]
    return next(section for section, name in _SECTIONS if name == default), default, kind


def _place(path: str, section: str, kind: str) -> "Place":
    from typing import cast

    from mcpctl.clients import Place
    from mcpctl.editing.document import Format

    return Place(path, (section,), cast(Format, kind))
