"""What sessions have in common, by server and credentials, for as long as the daemon lives."""

import hashlib

import msgspec
import trio

from mcpctld.model import Server, ServerSpec
from mcpctld.upstreams import Shared


class Commons:
    """Hands out the `Shared` of a server; equal servers with equal credentials get the same one."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._by_key: dict[str, Shared] = {}
        self._by_name: dict[str, Shared] = {}

    def of(self, server: Server, spec: ServerSpec) -> Shared:
        """For a session with this server; `spec` has its secrets filled in."""
        key = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:32]
        shared = self._by_key.setdefault(key, Shared(key, self._nursery))
        self._by_name[server.name] = shared
        return shared

    def named(self, name: str) -> Shared | None:
        """What the newest session with the server of this name got; None if there was none."""
        return self._by_name.get(name)

    def forget(self, name: str) -> None:
        """The server of this name is gone, or has changed."""
        self._by_name.pop(name, None)
