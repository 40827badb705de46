"""Secrets of an app. They are stored at once, and reach a machine when a version of it starts.

`min_secrets_version` of a create or update makes the host wait for the set that it names.
"""

from collections.abc import Mapping

import msgspec

from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read_all


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret, without its value."""

    name: str = ""
    digest: str = ""
    created_at: str = ""
    updated_at: str = ""


class Secrets:
    """`/v1/apps/APP/secrets`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, app: str) -> list[Secret]:
        """Their names and digests."""
        url = self._wire.path("apps", app, "secrets")
        ask = Ask("GET", url, f"list the secrets of {app}", "secret.list", app)
        return read_all(Secret, (await self._wire.send(ask)).mapping().get("secrets"))

    async def set(self, app: str, values: Mapping[str, str | None]) -> int | None:
        """Store values, and delete those that are None: the version of the set, where Fly tells it."""
        url = self._wire.path("apps", app, "secrets")
        doing = f"set secrets of {app} ({', '.join(values)})"
        body = {"values": dict(values)}
        ask = Ask("POST", url, doing, "secret.set", app, body=body, repeatable=True)
        found = (await self._wire.send(ask)).mapping()
        version = found.get("version", found.get("Version"))
        return version if isinstance(version, int) else None
