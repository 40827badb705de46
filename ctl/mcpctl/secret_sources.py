"""Where the value of a secret comes from: the command line, a file, a variable, or a prompt.

A value on our own command line is taken, but never put on another's; nothing here prints one.
"""

import os
import sys
from collections.abc import Iterable

from mcpctl.errors import UsageError
from mcpctl.server_draft import check_name

PROMPT = object()
"""What a flag that was given without its value holds."""

MAX_BYTES = 64 * 1024
"""A token or key; a longer file is most likely the wrong one."""

BEARER_VARIABLES = ("FLY_MCP_BEARER_TOKEN", "MCPCTL_BEARER_TOKEN")
PASSWORD_VARIABLES = ("FLY_MCP_PASSWORD", "MCPCTL_PASSWORD")


def read_secrets(words: Iterable[str]) -> dict[str, str]:
    """Keys to values of every `K`, `K=V` and `K=@FILE`."""
    found: dict[str, str] = {}
    for word in words:
        key, value = read_secret(word)
        if key in found:
            raise UsageError(f"secret {key} is given twice")
        found[key] = value
    return found


def read_secret(word: str) -> tuple[str, str]:
    """The key and value of one `K` (variable K, else a prompt), `K=V` or `K=@FILE`."""
    key, equals, value = word.partition("=")
    check_name(key, "a secret")
    if not equals:
        return key, _ask(f"secret {key}", (key,), "as K=VALUE, from a file as K=@FILE")
    if value.startswith("@"):
        return key, _from_file(key, value[1:])
    return key, value


def bearer_token(given: object) -> str:
    """The token of `--bearer-token [T]`."""
    return _given(given, "bearer token", BEARER_VARIABLES)


def password(given: object) -> str:
    """The password of `--password [P]`."""
    return _given(given, "password", PASSWORD_VARIABLES)


def _ask(what: str, variables: tuple[str, ...], ways: str) -> str:
    """The first of the variables that is set, else what the user types at the terminal."""
    for name in variables:
        if value := os.environ.get(name):
            return value
    if not sys.stdin.isatty():
        raise UsageError(
            f"cannot ask for the {what} without a terminal; "
            f"give it {ways} or in the variable {' or '.join(variables)}"
        )
    import getpass

    value = getpass.getpass(f"{what}: ", stream=sys.stderr)
    if not value:
        raise UsageError(f"no {what} was typed")
    return value


def _given(given: object, what: str, variables: tuple[str, ...]) -> str:
    return given if isinstance(given, str) else _ask(what, variables, "as the flag's value")


def _from_file(key: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"cannot read secret {key}: {path} is longer than {MAX_BYTES} bytes")
        text = data.decode()
    except OSError as exc:
        raise UsageError(f"cannot read secret {key} from {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot read secret {key}: {path} is not UTF-8 text") from exc
    # Editors and `echo` end a file with a newline that is not part of the value.
    return text.removesuffix("\n").removesuffix("\r")
