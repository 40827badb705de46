"""Secrets of an app: stored now, seen by a machine with its next version (fly.io docs, "Machines API", Secrets)."""

import hashlib
from typing import Any

import msgspec
import trio

from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import not_found
from mcpctld.localfly.machines import rfc3339
from mcpctld.localfly.state import App, Secret


class Change(msgspec.Struct, kw_only=True):
    """Null takes a secret away."""

    values: dict[str, str | None] = {}

    def __repr__(self) -> str:
        return f"<Change of {', '.join(self.values)}>"


class Value(msgspec.Struct, kw_only=True):
    """Of one secret."""

    value: str

    def __repr__(self) -> str:
        return "<Value>"


async def list_secrets(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    return 200, {"secrets": [_view(call, app, name) for name in app.secrets]}


async def change(call: Call) -> Result:
    """POST: some of them."""
    await trio.lowlevel.checkpoint()
    app, given = call.app(), call.read(Change, keep_null=True)
    version = put(call, app, given.values)
    listed = [_view(call, app, name, hide=True) for name in app.secrets]
    return 200, {"secrets": listed, "version": version, "Version": version}


async def show(call: Call) -> Result:
    """GET."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    _check_there(call, app)
    return 200, _view(call, app, call.params["secret"])


async def set_one(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    app, given, name = call.app(), call.read(Value), call.params["secret"]
    version = put(call, app, {name: given.value})
    return 201, _view(call, app, name, hide=True) | {"version": version, "Version": version}


async def delete(call: Call) -> Result:
    """DELETE."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    _check_there(call, app)
    version = put(call, app, {call.params["secret"]: None})
    return 200, {"version": version, "Version": version}


def _check_there(call: Call, app: App) -> None:
    if call.params["secret"] not in app.secrets:
        raise not_found("secret", call.params["secret"])


def put(call: Call, app: App, changes: dict[str, str | None]) -> int:
    """Set some, and take away those that are None: the new version."""
    values = dict(call.world.secret_values(app.name, app.secrets_version))
    for name, value in changes.items():
        if value is None:
            values.pop(name, None)
            app.secrets.pop(name, None)
            continue
        values[name] = value
        old = app.secrets.get(name)
        digest = hashlib.sha256(f"{app.id}\0{name}\0{value}".encode("utf-8", "surrogatepass"))
        app.secrets[name] = Secret(
            digest=digest.hexdigest()[:16],
            created_at=old.created_at if old else call.now,
            updated_at=call.now,
        )
    return call.world.change_secrets(app, values)


def _view(call: Call, app: App, name: str, *, hide: bool = False) -> dict[str, Any]:
    secret = app.secrets[name]
    shown = {
        "name": name,
        "digest": secret.digest,
        "created_at": rfc3339(secret.created_at),
        "updated_at": rfc3339(secret.updated_at),
    }
    if call.flag("show_secrets") and not hide:
        shown["value"] = call.world.secret_values(app.name, app.secrets_version)[name]
    return shown
