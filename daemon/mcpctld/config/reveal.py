"""One secret, read by the user's own process and not by the daemon, whose API never gives one out."""

import trio

from mcpctl import wire
from mcpctld.config.secretstore import SecretStore
from mcpctld.errors import NotFound


def reveal(server: str, key: str) -> str:
    """The value. Raises `NotFound`, or what keeps the keyring from being read."""
    value = trio.run(SecretStore(wire.state_dir()).get, server, key)
    if value is None:
        raise NotFound(f"there is no secret {server}/{key}")
    return value
