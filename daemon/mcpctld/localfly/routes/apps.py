"""Apps (fly.io docs, "Machines API", Apps resource)."""

import re
from typing import Any

import msgspec
import trio

from mcpctld.localfly import ids
from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.state import ORG, App

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
ORG_NUMBER = 1


class CreateApp(msgspec.Struct, kw_only=True):
    """Old clients say `app_name`."""

    name: str = ""
    app_name: str = ""
    org_slug: str = ""
    network: str = ""
    enable_subdomains: bool = False
    idempotency_key: str = ""


async def list_apps(call: Call) -> Result:
    """GET: those of an organization."""
    await trio.lowlevel.checkpoint()
    if "org_slug" not in call.query:
        raise ApiError(404, "organization not found")
    apps = [app for app in call.world.apps.values() if app.org == call.first("org_slug")]
    return 200, {"total_apps": len(apps), "apps": [as_json(app) for app in apps]}


async def create_app(call: Call) -> Result:
    """POST. The same idempotency key and name give the app of the first time."""
    await trio.lowlevel.checkpoint()
    given = call.read(CreateApp)
    name = given.name or given.app_name
    for app in call.world.apps.values():
        if given.idempotency_key and app.idempotency_key == given.idempotency_key:
            if app.name != name:
                raise ApiError(422, "idempotency_key was used for another app")
            return 201, {"id": app.id, "created_at": int(app.created_at * 1000)}
    if not NAME.fullmatch(name):
        raise ApiError(
            422, "Validation failed: Name may only contain lowercase letters, numbers and dashes"
        )
    if not given.org_slug:
        raise ApiError(422, "Validation failed: org_slug is required")
    if name in call.world.apps:
        raise ApiError(422, "Name has already been taken", "name_taken")
    app = _new(given, name, call.now, len(call.world.apps) + 1)
    call.world.add(app)
    return 201, {"id": app.id, "created_at": int(app.created_at * 1000)}


def _new(given: CreateApp, name: str, now: float, number: int) -> App:
    return App(
        id=ids.app_id(),
        name=name,
        org=given.org_slug or ORG,
        network=given.network or "default",
        number=number,
        created_at=now,
        idempotency_key=given.idempotency_key,
    )


async def get_app(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    return 200, as_json(call.app())


async def delete_app(call: Call) -> Result:
    """DELETE: with all that belongs to it."""
    app = call.app()
    call.supervisor.count("delete-app", "apps")
    call.world.remove(app.name)
    await call.supervisor.end_app(app)
    return 202, None


def as_json(app: App) -> dict[str, Any]:
    """`App` of the OpenAPI document."""
    return {
        "id": app.id,
        "internal_numeric_id": app.number,
        "name": app.name,
        "status": "deployed" if app.machines else "pending",
        "network": app.network,
        "machine_count": len(app.machines),
        "volume_count": len(app.volumes),
        "organization": {"name": app.org, "slug": app.org, "internal_numeric_id": ORG_NUMBER},
    }
