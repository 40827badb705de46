"""What `mcpctl add` writes about a server: its specification and the secrets it names. No I/O.

The daemon fills `${secret:KEY}` in header and environment values; `$${` stands for a literal `${`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mcpctl.errors import UsageError

SECRET_LOOKING = re.compile(r"authorization|cookie|token|key|secret|passw", re.IGNORECASE)
"""Names of headers and variables whose values are most likely secrets."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a server, and of a secret."""

REFERENCE = re.compile(r"\$\{secret:(" + NAME.pattern + r")\}")

RECORDED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE",
)  # fmt: skip
"""A command runs with these as they are now, plus LC_*: not with what a client happens to have."""

_MARKS = re.compile(r"\$\$\{|" + REFERENCE.pattern + r"|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Draft:
    """A server that is to be written: `spec` is its file, `notes` say what was decided."""

    spec: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)


def check_name(name: str, what: str = "a server") -> str:
    """`name`, which will be a part of a file's name or of a reference. Raises `UsageError`."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"cannot use {name!r} as the name of {what}: "
            "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        )
    return name


def http_draft(
    url: str,
    headers: Iterable[str] = (),
    secrets: Mapping[str, str] | None = None,
    authorization: tuple[str, str, str] | None = None,
    **others: str | None,
) -> Draft:
    """A server behind a URL.

    `authorization` is a scheme, the name of its secret and the value; `others` are further fields
    of the file, left out when None.
    """
    draft = Draft({"url": _checked_url(url)}, dict(secrets or {}))
    draft.spec.update({key: value for key, value in others.items() if value is not None})
    values: dict[str, str] = {}
    for text in headers:
        _add_header(draft, values, text)
    if authorization:
        scheme, key, value = authorization
        if any(name.lower() == "authorization" for name in values):
            raise UsageError(
                "cannot send two Authorization headers: drop --header or the credentials"
            )
        _keep_secret(draft, key, value)
        values["Authorization"] = f"{scheme} ${{secret:{key}}}"
    if values:
        draft.spec["headers"] = values
    _note_unused(draft, values)
    return draft


def stdio_draft(
    command: list[str],
    variables: Iterable[str],
    secrets: Mapping[str, str],
    environ: Mapping[str, str],
    **others: str | None,
) -> Draft:
    """A command to run here; `command[0]` is an absolute path and `environ` is what we run in.

    `others` are further fields of the file, left out when None.
    """
    draft = Draft({"command": command}, dict(secrets))
    env = {key: escape(value) for key, value in environ.items() if _is_recorded(key, value)}
    for key, value in map(_variable, variables):
        if key in secrets:
            raise UsageError(f"variable {key} is given by --env and by --secret")
        if SECRET_LOOKING.search(key) and not REFERENCE.search(value):
            draft.notes.append(
                f"the value of {key} stands in the server's file; --secret {key}=... keeps it out"
            )
        env[key] = escape_text(value)
    for key in secrets:
        _check_variable(key)
        env[key] = f"${{secret:{key}}}"
    draft.spec["env"] = env
    draft.spec.update({key: value for key, value in others.items() if value is not None})
    return draft


def escape(value: str) -> str:
    """`value` so that nothing in it is filled in."""
    return value.replace("${", "$${")


def escape_text(value: str) -> str:
    """What a user wrote, with `${secret:KEY}` and `$${` meaning what they mean in the file.

    Any other `${` stands for itself.
    """
    return _MARKS.sub(lambda match: "$${" if match[0] == "${" else match[0], value)


def _add_header(draft: Draft, values: dict[str, str], text: str) -> None:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not name:
        raise UsageError(f"cannot read header {name!r}: write it as 'NAME: VALUE'")
    if name.lower() in (known.lower() for known in values):
        raise UsageError(f"header {name} is given twice")
    if SECRET_LOOKING.search(name) and not REFERENCE.search(value):
        key = re.sub(r"[^a-z0-9._-]", "-", name.lower()).strip("-") or "header"
        _keep_secret(draft, key, value)
        draft.notes.append(f"the value of header {name} is kept as secret {key!r}, not in the file")
        values[name] = f"${{secret:{key}}}"
    else:
        values[name] = escape_text(value)


def _keep_secret(draft: Draft, key: str, value: str) -> None:
    if not value or re.search(r"[\r\n\0]", value):
        raise UsageError(f"cannot send secret {key} in a header: it is empty or has a line break")
    if key in draft.secrets:
        raise UsageError(f"secret {key} is given twice")
    draft.secrets[key] = value


def _note_unused(draft: Draft, headers: Mapping[str, str]) -> None:
    used = {key for value in headers.values() for key in REFERENCE.findall(value)}
    draft.notes.extend(
        f"no header uses secret {key}; write ${{secret:{key}}} where its value belongs"
        for key in draft.secrets
        if key not in used
    )


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise UsageError(f"cannot use URL {url!r}: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"cannot use URL {url!r}: it must begin with http:// or https:// and a host"
        )
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"cannot use a URL with credentials in it (host {parts.hostname}): "
            "give them with --user and --password, or --bearer-token"
        )
    return url


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    _check_variable(key)
    if not equals:
        raise UsageError(f"variable {key} has no value: write --env {key}=VALUE")
    return key, value


def _check_variable(key: str) -> None:
    if not _VARIABLE.fullmatch(key):
        raise UsageError(f"{key!r} cannot be the name of a variable")


def _is_recorded(key: str, value: str) -> bool:
    # A value that is not UTF-8 (surrogates stand for its bytes) has no form in the file.
    return (key in RECORDED or key.startswith("LC_")) and not re.search("[\ud800-\udfff]", value)
