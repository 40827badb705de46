"""One look at the configuration folder. Never raises for what the files hold. Blocking."""

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from mcpctl.shapes import ConfigError
from mcpctld.config import places
from mcpctld.config.check import nearest, server_problems, settings_problems
from mcpctld.config.files import Found, check_trust, read_regular
from mcpctld.config.references import keys_in
from mcpctld.errors import UserError
from mcpctld.model import Server, ServerSpec, Settings

_T = TypeVar("_T", ServerSpec, Settings)

_OTHER_WORDS = {"args": "command", "type": "transport", "timeout": "call_timeout_s"}
"""What other programs call our fields, too far from ours for a likeness of letters to show."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one look found. A name is in `servers`, in `broken`, or has no file."""

    servers: dict[str, Server]
    settings: Settings | None
    """None when the file is there and cannot be used; the defaults when it is absent."""
    errors: list[ConfigError]
    broken: frozenset[str]
    complete: bool = True
    """False when the folder of the servers could not be listed: absence then means nothing."""


def load_folder(config_dir: str) -> Loaded:
    """Read `config.toml` and every `servers/NAME.toml`."""
    errors: list[ConfigError] = []
    settings = _settings(places.settings_file(config_dir), errors)
    names = _names(places.servers_folder(config_dir), errors)
    servers: dict[str, Server] = {}
    broken: set[str] = set()
    for name in names or ():
        path = places.server_file(config_dir, name)
        try:
            server = load_server(name, path)
        except UserError as exc:
            errors.append({"file": path, "message": str(exc)})
            broken.add(name)
        else:
            if server is not None:
                servers[name] = server
    return Loaded(servers, settings, errors, frozenset(broken), names is not None)


def load_server(name: str, path: str) -> Server | None:
    """The server that `path` describes; None when there is no file. Raises `UserError`."""
    found = read_regular(path)
    if found is None:
        return None
    spec = _parse(found, ServerSpec)
    _refuse(server_problems(spec))
    if spec.command or keys_in(spec.headers.values()):
        check_trust(found, path)
    return Server(name=name, spec=spec, file=path)


def _settings(path: str, errors: list[ConfigError]) -> Settings | None:
    try:
        found = read_regular(path)
        settings = _parse(found, Settings) if found else Settings()
        _refuse(settings_problems(settings))
    except UserError as exc:
        errors.append({"file": path, "message": str(exc)})
        return None
    return settings


def _names(folder: str, errors: list[ConfigError]) -> list[str] | None:
    """The names of the servers, sorted; None when the folder is there and cannot be listed."""
    try:
        entries = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as exc:
        message = f"the folder cannot be listed: {exc.strerror or exc}"
        errors.append({"file": folder, "message": message})
        return None
    # Hidden files are what editors leave while they write (`.#slack.toml`, `.slack.toml.swp`).
    files = [entry for entry in entries if entry.endswith(places.SUFFIX) and entry[0] != "."]
    names = [entry.removesuffix(places.SUFFIX) for entry in files]
    for name in names:
        if not places.NAME.fullmatch(name):
            message = f"a file name is the name of a server: {places.NAME_RULE}; rename the file"
            path = os.path.join(folder, name + places.SUFFIX)
            errors.append({"file": _printable(path), "message": message})
    return [name for name in names if places.NAME.fullmatch(name)]


def _printable(path: str) -> str:
    """A path as text that can be encoded: file names need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _parse(found: Found, into: type[_T]) -> _T:
    try:
        table = tomllib.loads(found.data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise UserError(f"byte {exc.start + 1} is not UTF-8; save the file as UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        raise UserError(f"it is not TOML: {_toml_reason(exc)}") from exc
    _refuse(_unknown_fields(table, into))
    try:
        return msgspec.convert(table, into)
    except msgspec.ValidationError as exc:
        raise UserError(_field_reason(str(exc))) from exc


def _toml_reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    text = str(exc)
    match = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", text, re.DOTALL)
    return f"{match[2]}: {match[1]}" if match else text


def _field_reason(text: str) -> str:
    """`Expected `str`, got `int` - at `$.url`` → `url: expected str, got int`."""
    reason, _, path = text.replace("`", "").partition(" - at ")
    field = path.removeprefix("$").removeprefix(".").replace("[...]", " (a value in it)")
    return f"{field or 'the file'}: {reason[:1].lower()}{reason[1:]}"


def _unknown_fields(table: dict[str, Any], into: type[msgspec.Struct]) -> list[str]:
    known = into.__struct_fields__
    problems = []
    for field in table:
        if field in known:
            continue
        meant = nearest(field, known)
        other = _OTHER_WORDS.get(field)
        meant = other if other in known else meant
        hint = f"did you mean {meant!r}?" if meant else f"the fields are {', '.join(known)}"
        problems.append(f"unknown field {field!r}; {hint}")
    return problems


def _refuse(problems: Iterable[str]) -> None:
    if text := "; ".join(problems):
        raise UserError(text)
