"""Volumes: disks that stay when their machine stops."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read, read_all

DYING = frozenset(
    [
        "scheduling_destroy",
        "fork_cleanup",
        "waiting_for_detach",
        "pending_destroy",
        "destroying",
        "destroyed",
    ]
)
"""The states of those that are going away."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume."""

    id: str = ""
    name: str = ""
    state: str = ""
    region: str = ""
    size_gb: int = 0
    encrypted: bool = False
    attached_machine_id: str | None = None
    snapshot_retention: int = 0
    auto_backup_enabled: bool = False
    host_status: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is there to stay, and no machine has it."""
        return self.state not in DYING and not self.attached_machine_id


class Volumes:
    """`/v1/apps/APP/volumes`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, app: str) -> list[Volume]:
        """The volumes of an app that are not going away."""
        ask = Ask("GET", self._url(app), f"list the volumes of {app}", "volume.list", app)
        volumes = read_all(Volume, (await self._wire.send(ask)).rows())
        return [volume for volume in volumes if volume.state not in DYING]

    async def create(self, app: str, body: Mapping[str, Any]) -> Volume:
        """Make one: `name`, `region`, `size_gb` ... Never repeated blindly: look for its name first."""
        doing = f"make volume {body.get('name')} of {app}"
        ask = Ask("POST", self._url(app), doing, "volume.create", app, body=dict(body))
        return read(Volume, (await self._wire.send(ask)).mapping())

    async def extend(self, app: str, volume: str, size_gb: int) -> bool:
        """Let it grow; whether its machine must be restarted to see that."""
        url = self._url(app, volume, "extend")
        doing = f"extend volume {volume}"
        ask = Ask("PUT", url, doing, "volume.extend", volume, body={"size_gb": size_gb})
        return (await self._wire.send(ask)).mapping().get("needs_restart") is True

    async def delete(self, app: str, volume: str) -> None:
        """Delete it; one that is not there is deleted. Its snapshots stay for their time."""
        url = self._url(app, volume)
        await self._wire.find(
            Ask("DELETE", url, f"delete volume {volume}", "volume.delete", volume)
        )

    def _url(self, app: str, *more: str) -> str:
        return self._wire.path("apps", app, "volumes", *more)
