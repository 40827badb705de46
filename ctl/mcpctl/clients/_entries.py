"""What an entry of a client says: how a server is started or reached, whoever wrote it and in whichever form."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMMANDS = ("command", "cmd")
_ENVIRONMENTS = ("env", "envs", "environment")
_URLS = ("httpUrl", "serverUrl", "url", "uri")
_HEADERS = ("headers", "http_headers")

OWN_FIELDS = (
    *_COMMANDS, *_ENVIRONMENTS, *_URLS, *_HEADERS,
    "args", "type", "transport", "transportType", "cwd", "envFile", "env_vars", "env_keys", "headersHelper", "oauth",
    "auth", "bearer_token_env_var", "env_http_headers", "requestOptions", "apiKey", "source",
)  # fmt: skip
"""The fields that say how a server is reached. Any other is its owner's (timeouts, what is allowed) and stays."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is reached: `words` start it here, or `url` names it; values may be secrets."""

    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    transport: str | None = None
    unread: tuple[str, ...] = ()
    """Fields that say more than is understood here: `envFile`, `auth` and the like."""


def read_entry(entry: Any) -> Launch | None:
    """What an entry says; None when it is no entry of a server."""
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("transport"), dict):  # Cline writes it one level deeper
        entry = {**entry, **entry["transport"], "transport": None}
    words, nested = _words(entry)
    url = next((entry[key] for key in _URLS if isinstance(entry.get(key), str)), None)
    if not words and not url:
        return None
    return Launch(
        words=() if url and not words else words,
        env=_strings(_first(nested, _ENVIRONMENTS) or _first(entry, _ENVIRONMENTS)),
        cwd=entry["cwd"] if isinstance(entry.get("cwd"), str) else None,
        url=None if words else url,
        headers=_headers(entry),
        transport=_transport(entry),
        unread=tuple(key for key in _NOT_UNDERSTOOD if entry.get(key)),
    )


def attached_to(launch: Launch) -> str | None:
    """The server of ours that an entry attaches to; None when it is not one of ours."""
    words = launch.words
    if len(words) == 3 and os.path.basename(words[0]) == "mcpctl" and words[1] == "attach":
        return words[2]
    if len(words) >= 3 and words[-2].endswith("/mcpctl/entry.py"):
        return words[-1]
    return None


def our_words(server: str, *, for_project: bool) -> list[str]:
    """The words that attach to `server`.

    In a user's file the interpreter and the entry of this installation, for clients have a `PATH` of their own. In a
    project's, which goes to others, the bare name.
    """
    if for_project:
        return ["mcpctl", "attach", server]
    import mcpctl

    entry = os.path.join(os.path.abspath(mcpctl.__path__[0]), "entry.py")
    return [sys.executable, "-I", "-S", entry, server]


_NOT_UNDERSTOOD = (
    "envFile", "env_vars", "env_keys", "headersHelper", "oauth", "auth", "bearer_token_env_var",
    "env_http_headers", "apiKey",
)  # fmt: skip


def _words(entry: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The command and its arguments, and where else its environment may stand."""
    command = _first(entry, _COMMANDS)
    args, nested = entry.get("args"), {}
    if isinstance(command, dict):  # Zed, before June 2025
        nested, args, command = command, command.get("args"), command.get("path")
    words = list(command) if isinstance(command, list) else [command] if command else []
    words += args if isinstance(args, list) else []
    return tuple(map(str, words)), nested


def _headers(entry: Mapping[str, Any]) -> dict[str, str]:
    options = entry.get("requestOptions")
    nested = options.get("headers") if isinstance(options, dict) else None
    return _strings(nested or _first(entry, _HEADERS))


def _transport(entry: Mapping[str, Any]) -> str | None:
    if isinstance(entry.get("httpUrl"), str):
        return "streamable-http"
    named = str(entry.get("type") or entry.get("transport") or entry.get("transportType") or "")
    if "sse" in named.lower():
        return "http-sse"
    return "streamable-http" if "http" in named.lower() else None


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key)), None)


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(key): str(inner) for key, inner in value.items() if inner is not None}
