"""From what a file says to what goes on the wire: references replaced by secrets."""

from typing import Any

import msgspec
import trio

from mcpctld.config import references
from mcpctld.config.check import UNFIT, fits_header
from mcpctld.config.secretstore import SecretStore
from mcpctld.errors import Denied, UserError
from mcpctld.model import Server, ServerSpec

__all__ = ["SecretStore", "FilledSpec", "secret_names", "missing_secrets", "fill"]


class FilledSpec(ServerSpec, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `ServerSpec` with secrets in it, which therefore shows nothing of itself."""

    def __repr__(self) -> str:
        return "FilledSpec(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def secret_names(spec: ServerSpec) -> list[str]:
    """The keys of the secrets that `spec` refers to, each once."""
    return references.keys_in([*spec.headers.values(), *spec.env.values()])


def missing_secrets(server: Server, secrets: SecretStore) -> list[str]:
    """The keys that `server` refers to and that are not known to be stored; never waits."""
    known = secrets.known(server.name)
    return [key for key in secret_names(server.spec) if key not in known]


async def fill(server: Server, secrets: SecretStore) -> ServerSpec:
    """The specification of `server` with its references replaced.

    Asks nobody when the secrets are in memory. Raises `Denied` naming those that are not stored,
    and `UserError` for one that no header can carry.
    """
    await trio.lowlevel.checkpoint()
    spec = server.spec
    values: dict[str, str] = {}
    missing: list[str] = []
    for key in secret_names(spec):
        value = await secrets.get(server.name, key)
        if value is None:
            missing.append(key)
        else:
            values[key] = value
    if missing:
        raise Denied(_missing(server.name, missing))
    headers = {
        name: _header(server.name, name, text, values) for name, text in spec.headers.items()
    }
    env = {name: references.substitute(text, values) for name, text in spec.env.items()}
    # By hand: `msgspec.structs.replace` would keep the class, and with it a telling `repr`.
    return FilledSpec(**{**msgspec.structs.asdict(spec), "headers": headers, "env": env})


def _header(server: str, name: str, text: str, values: dict[str, str]) -> str:
    value = references.substitute(text, values)
    if value is not text and not fits_header(value):
        keys = ", ".join(references.keys_in([text]))
        raise UserError(
            f"cannot send the header {name} to {server}: the secret {keys} holds {UNFIT}; "
            f"set it anew without: mcpctl secret set {server} {keys}"
        )
    return value


def _missing(server: str, keys: list[str]) -> str:
    commands = "; ".join(f"mcpctl secret set {server} {key}" for key in keys)
    return (
        f"cannot open a session with {server}: it refers to secrets that are not stored "
        f"({', '.join(keys)}); run: {commands}"
    )
