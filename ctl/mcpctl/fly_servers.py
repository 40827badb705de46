"""Servers of ours whose files say that they are on Fly: the table `[fly]` (docs/config.md)."""

import tomllib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from mcpctl import server_files
from mcpctl.errors import CtlError
from mcpctl.server_draft import Draft

BEARER_KEY = "bearer-token"
BASIC_KEY = "basic"
"""The names of the secrets of ours that clients are let in by."""


def place_of(name: str) -> dict[str, Any]:
    """Where server `name` is: `server`, `app`, `machine` (or None) and `at`. Raises `not-found`."""
    data = server_files.read(name)
    if data is None:
        raise server_files.unknown(name)
    table = _table(data)
    if table is None:
        raise CtlError(
            "not-found", f"server {name!r} was not launched: its file has no table [fly]"
        )
    return {
        "server": name,
        "app": table["app"],
        "machine": table.get("machine"),
        "at": table.get("at", "fly.io"),
    }


def places() -> dict[str, dict[str, Any]]:
    """The table `[fly]` of each server that has one; broken files have none."""
    found = {name: _table(server_files.read(name) or b"") for name in server_files.names()}
    return {name: table for name, table in found.items() if table is not None}


def draft(wish: Mapping[str, Any], made: Mapping[str, Any], transport: str) -> Draft:
    """The server file for what a launch has made, by its result: `app`, `machine` and `url`."""
    spec: dict[str, Any] = {"url": made["url"], "transport": transport}
    found = Draft(spec)
    if wish.get("user"):
        pair = f"{wish['user']}:{wish['password']}"
        found.secrets[BASIC_KEY] = b64encode(pair.encode("utf-8", "surrogateescape")).decode()
        spec["headers"] = {"Authorization": f"Basic ${{secret:{BASIC_KEY}}}"}
    elif wish.get("bearer", True):
        spec["headers"] = {"Authorization": f"Bearer ${{secret:{BEARER_KEY}}}"}
    fly = {
        "app": made["app"],
        "machine": made.get("machine"),
        "at": wish["at"],
        "policy": wish["policy"],
    }
    if wish.get("auto_stop") == "stop":
        fly["sleep"] = "stop"
    spec["fly"] = {key: value for key, value in fly.items() if value is not None}
    return found


def _table(data: bytes) -> dict[str, Any] | None:
    try:
        table = tomllib.loads(data.decode()).get("fly")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None
    return table if isinstance(table, dict) and isinstance(table.get("app"), str) else None
