"""Secrets, read by the user's own process and not by the daemon, whose API never gives one out."""

from collections.abc import Iterable

import trio

from mcpctl import wire
from mcpctld.config.secretstore import SecretStore
from mcpctld.errors import NotFound


def reveal(server: str, keys: Iterable[str]) -> dict[str, str]:
    """The values by key. Raises `NotFound`, or what keeps the keyring from being read."""
    return trio.run(_read, SecretStore(wire.state_dir()), server, list(keys))


async def _read(store: SecretStore, server: str, keys: list[str]) -> dict[str, str]:
    await trio.lowlevel.checkpoint()
    found = {}
    for key in keys:
        value = await store.get(server, key)
        if value is None:
            raise NotFound(f"there is no secret {server}/{key}")
        found[key] = value
    return found
