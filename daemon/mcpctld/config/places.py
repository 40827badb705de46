"""Where our files are, and how their folders are made."""

import os
import re

from mcpctld.errors import Denied, UserError

SERVERS = "servers"
SETTINGS = "config.toml"
SUFFIX = ".toml"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The name of a server, and of a secret: safe as a file name, in a URL path and in a shell."""

NAME_RULE = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"


def servers_folder(config_dir: str) -> str:
    """The folder of the server files."""
    return os.path.join(config_dir, SERVERS)


def server_file(config_dir: str, name: str) -> str:
    """The file that describes server `name`."""
    return os.path.join(config_dir, SERVERS, name + SUFFIX)


def settings_file(config_dir: str) -> str:
    """The file of the daemon's own settings."""
    return os.path.join(config_dir, SETTINGS)


def check_name(name: str, what: str) -> str:
    """Return `name`, the name of a `what`; raises `UserError` when it breaks the rule."""
    if not NAME.fullmatch(name):
        raise UserError(f"cannot use {name!r} as the name of a {what}: write {NAME_RULE}")
    return name


def make_private_folder(path: str) -> None:
    """Make `path` with mode 0700 if it is absent; blocking.

    An existing folder keeps its mode. Raises `Denied` when it belongs to another user, and
    `UserError` when it cannot be made.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        owner = os.stat(path).st_uid
    except OSError as exc:
        raise UserError(f"cannot make the folder {path}: {exc.strerror or exc}") from exc
    if owner != os.getuid():
        raise Denied(f"cannot use the folder {path}: it belongs to user {owner}, not to you")
