"""An entry of a client, as a server of ours: its specification and secrets, or why it stays as it is."""

import os
import re
import shutil
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from mcpctl import server_draft
from mcpctl.adoption.bridges import Remote, bridge
from mcpctl.adoption.programs import program
from mcpctl.adoption.values import NotAdoptable, filled, looks_secret
from mcpctl.client_edits import secret_arguments
from mcpctl.clients import Launch
from mcpctl.errors import UsageError
from mcpctl.server_draft import SECRET_LOOKING, Draft

_PRIVATE = (".internal", ".flycast")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What an entry turned out to be: `kind` is `url`, `command` or the name of a bridge."""

    kind: str
    draft: Draft
    may_log_in: bool = False


def recognise(launch: Launch, environ: Mapping[str, str], *, private: bool = False) -> Recognised:
    """The server behind an entry; `private`: the agent has a way into private networks. Raises `NotAdoptable`."""
    if launch.unread:
        raise NotAdoptable(f"it uses {', '.join(launch.unread)}, which has no counterpart here")
    try:
        if launch.url is not None:
            remote = Remote(launch.url, tuple(launch.headers.items()), transport=launch.transport)
            remote = replace(remote, may_log_in=not launch.headers)
            return _remote("url", remote, launch, environ, private)
        name, args = program(launch.words)
        found = bridge(name, args, launch.env)
        if found is not None:
            return _remote(found[0], found[1], launch, environ, private)
        return Recognised("command", _command(launch, environ))
    except UsageError as exc:
        raise NotAdoptable(str(exc)) from exc


def _remote(
    kind: str, remote: Remote, launch: Launch, environ: Mapping[str, str], private: bool
) -> Recognised:
    def fill(text: str) -> str:
        return filled(text, launch.env, environ)

    url, basic = _split_user(fill(remote.url))
    _check_host(url, private)
    secrets: dict[str, str] = {}
    headers = [_header(name, fill(value), secrets) for name, value in remote.headers]
    authorization = None
    if remote.bearer:
        authorization = "Bearer", "bearer-token", fill(remote.bearer)
    elif pair := remote.basic or basic:
        text = ":".join(map(fill, pair))
        authorization = "Basic", "basic", b64encode(text.encode()).decode()
    draft = server_draft.http_draft(
        url, headers, secrets, authorization, transport=remote.transport, instance=remote.instance
    )
    return Recognised(kind, draft, remote.may_log_in and not draft.secrets)


def _header(name: str, value: str, secrets: dict[str, str]) -> str:
    """A header whose value is a secret, whatever its name says."""
    key = re.sub(r"[^a-z0-9._-]", "-", name.lower()).strip("-._") or "header"
    secrets[key] = value
    return f"{name}: ${{secret:{key}}}"


def _split_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without the credentials in it, and these."""
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError as exc:
        raise NotAdoptable("its URL cannot be read") from exc
    if user is None:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return bare, (unquote(user), unquote(password or ""))


def _check_host(url: str, private: bool) -> None:
    parts = urlsplit(url)
    if not private and (parts.hostname or "").endswith(_PRIVATE):
        raise NotAdoptable(
            "its server is in a private network of Fly.io; give mcpctl a way there first: "
            "a table [tunnels.fly] in config.toml"
        )
    for name, value in parse_qsl(parts.query):
        if SECRET_LOOKING.search(name) or looks_secret(name, value):
            raise NotAdoptable(
                f"its URL has what looks like a secret ({name}); a server's URL is shown in lists and logs"
            )


def _command(launch: Launch, environ: Mapping[str, str]) -> Draft:
    words = [filled(word, launch.env, environ) for word in launch.words]
    if secret_arguments(words):
        raise NotAdoptable(
            "its command line has what looks like a secret, which every user of this machine can read; "
            "give it as a variable first"
        )
    path = launch.env.get("PATH") or environ.get("PATH")
    found = shutil.which(os.path.expanduser(words[0]), path=path)
    if found is None:
        raise NotAdoptable(f"its command {words[0]!r} is not in PATH")
    if launch.cwd is not None and not os.path.isdir(launch.cwd):
        raise NotAdoptable(f"its folder {launch.cwd} is not there")
    env = {key: filled(value, {}, environ) for key, value in launch.env.items()}
    secrets = {key: value for key, value in env.items() if looks_secret(key, value)}
    plain = [
        f"{key}={server_draft.escape(value)}" for key, value in env.items() if key not in secrets
    ]
    return server_draft.stdio_draft(
        [os.path.abspath(found), *words[1:]],
        plain,
        secrets,
        environ,
        cwd=launch.cwd and os.path.abspath(launch.cwd),
    )
