"""Apps: what machines, volumes, secrets and addresses belong to."""

from typing import Any

import msgspec
import trio

from mcpctld.fly.errors import FlyError, Reason
from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read, read_all

VISIBLE_S = 60.0
"""A new app cannot be seen everywhere at once."""
LOOK_EVERY_S = 0.5


class App(msgspec.Struct, frozen=True, kw_only=True):
    """One app. `status` is `pending`, `deployed` or `suspended`; `org_slug` may be empty."""

    id: str = ""
    name: str = ""
    status: str = ""
    network: str = ""
    machine_count: int = 0
    volume_count: int = 0
    organization: dict[str, Any] = {}

    @property
    def org_slug(self) -> str:
        """The slug of its organisation."""
        slug = self.organization.get("slug")
        return slug if isinstance(slug, str) else ""


class Apps:
    """`/v1/apps`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, org_slug: str) -> list[App]:
        """The apps of an organisation."""
        doing = f"list the apps of {org_slug}"
        query = {"org_slug": org_slug}
        url = self._wire.path("apps")
        answer = await self._wire.send(Ask("GET", url, doing, "app.list", org_slug, query))
        return read_all(App, answer.mapping().get("apps"))

    async def get(self, name: str) -> App:
        """One app. `FlyError` NOT_FOUND: the name is free; DENIED: it is somebody else's, or the token is wrong."""
        return read(App, (await self._wire.send(self._look(name))).mapping())

    async def find(self, name: str) -> App | None:
        """The same; None where there is none."""
        answer = await self._wire.find(self._look(name))
        return None if answer is None else read(App, answer.mapping())

    async def create(
        self, name: str, org_slug: str, *, key: str | None = None, network: str | None = None
    ) -> None:
        """Make an app. With the same `key` and name it may be said again, and makes one app only.

        `FlyError` NAME_TAKEN: somebody has one of that name.
        """
        body = {"name": name, "org_slug": org_slug, "idempotency_key": key, "network": network}
        body = {field: value for field, value in body.items() if value is not None}
        url = self._wire.path("apps")
        doing = f"make app {name}"
        ask = Ask("POST", url, doing, "app.create", name, body=body, repeatable=key is not None)
        try:
            await self._wire.send(ask)
        except FlyError as exc:
            raise _taken(exc) from exc

    async def wait_visible(self, name: str, seconds: float = VISIBLE_S) -> App:
        """Wait until a new app can be seen. Raises the last refusal when that takes too long."""
        deadline = trio.current_time() + seconds
        while True:
            try:
                return await self.get(name)
            except FlyError as exc:
                unseen = exc.reason in (Reason.NOT_FOUND, Reason.DENIED)
                if not unseen or trio.current_time() >= deadline:
                    raise
            await trio.sleep(LOOK_EVERY_S)

    async def delete(self, name: str, *, force: bool = True) -> None:
        """Delete an app with all that belongs to it; one that is not there is deleted."""
        query = {"force": "true"} if force else {}
        url = self._wire.path("apps", name)
        ask = Ask("DELETE", url, f"delete app {name}", "app.delete", "", query)
        await self._wire.find(ask)

    async def wait_gone(self, name: str, seconds: float = VISIBLE_S) -> None:
        """Wait until a deleted app is gone. Raises `FlyError` TIMED_OUT when it stays."""
        deadline = trio.current_time() + seconds
        while await self.find(name) is not None:
            if trio.current_time() >= deadline:
                raise FlyError(f"delete app {name}", Reason.TIMED_OUT, "it is still there")
            await trio.sleep(LOOK_EVERY_S)

    def _look(self, name: str) -> Ask:
        return Ask("GET", self._wire.path("apps", name), f"look at app {name}", "app.get", name)


def _taken(exc: FlyError) -> FlyError:
    """Some clients saw 409 for a name that is taken."""
    if exc.reason is not Reason.STALE:
        return exc
    return FlyError(
        exc.doing, Reason.NAME_TAKEN, exc.detail, status=exc.status, request_id=exc.request_id
    )
