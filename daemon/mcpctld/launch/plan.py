"""The calls that carrying out a launch makes, in order: what `--dry-run` shows. Secrets stand in it as names."""

from typing import Any

import msgspec

from mcpctld.launch.machine_config import machine_config
from mcpctld.launch.resolve import Resolved

HIDDEN = "***"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the Machines API, and what it is for."""

    method: str
    path: str
    why: str
    body: dict[str, Any] | None = None


def plan(resolved: Resolved) -> list[Call]:
    """The calls for `resolved`. What only Fly's answers tell stands in them as `REGION`, `VOLUME` and `MACHINE`."""
    app = f"/v1/apps/{resolved.app}"
    return [
        Call(method="GET", path=app, why="see that the name is free"),
        *_placement(resolved),
        _make_app(resolved),
        *_secrets(resolved, app),
        *_volume(resolved, app),
        _machine(resolved, app),
        Call(
            method="GET",
            path=f"{app}/machines/MACHINE/wait?state=started",
            why="wait for the machine",
        ),
        *_addresses(resolved, app),
        Call(method="GET", path=_url(resolved), why="see that the server answers"),
    ]


def _placement(resolved: Resolved) -> list[Call]:
    token = Call(method="GET", path="/v1/tokens/current", why="see what the token may do")
    if resolved.region is not None:
        known = Call(
            method="GET",
            path="/v1/platform/regions",
            why=f"see that there is a region {resolved.region}",
        )
        return [token, known]
    body = {
        "org_slug": resolved.org,
        "region": "any",
        "count": 1,
        "compute": resolved.guest.as_config(),
    }
    return [
        token,
        Call(
            method="POST", path="/v1/platform/placements", why="find a region with room", body=body
        ),
    ]


def _make_app(resolved: Resolved) -> Call:
    body = {"name": resolved.app, "org_slug": resolved.org}
    return Call(method="POST", path="/v1/apps", why="make the app", body=body)


def _secrets(resolved: Resolved, app: str) -> list[Call]:
    if not resolved.secret_names:
        return []
    body = {"values": dict.fromkeys(resolved.secret_names, HIDDEN)}
    return [Call(method="POST", path=f"{app}/secrets", why="set its secrets", body=body)]


def _volume(resolved: Resolved, app: str) -> list[Call]:
    if resolved.volume is None:
        return []
    body = resolved.volume.create_body(_region(resolved), resolved.guest)
    return [Call(method="POST", path=f"{app}/volumes", why="make its volume", body=body)]


def _machine(resolved: Resolved, app: str) -> Call:
    region = _region(resolved)
    config = machine_config(resolved, launch_id="LAUNCH", region=region, volume_id="VOLUME")
    config["files"] = [_short(entry) for entry in config.get("files") or []]
    body = {"region": region, "min_secrets_version": "VERSION", "config": config}
    return Call(method="POST", path=f"{app}/machines", why="make the machine", body=body)


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    """What is in a file is nobody's business here."""
    return {**entry, "raw_value": HIDDEN} if "raw_value" in entry else entry


def _addresses(resolved: Resolved, app: str) -> list[Call]:
    kinds = (
        {"private_v6": "a private address"}
        if resolved.flycast
        else {"v6": "an IPv6 address", "shared_v4": "a shared IPv4 address"}
    )
    return [
        Call(
            method="POST",
            path=f"{app}/ip_assignments",
            why=f"give it {what}",
            body={"type": kind},
        )
        for kind, what in kinds.items()
    ]


def _url(resolved: Resolved) -> str:
    host = f"{resolved.app}.flycast" if resolved.flycast else f"{resolved.app}.fly.dev"
    if resolved.at == "local":
        host = f"{resolved.app}{'.flycast' if resolved.flycast else ''}.localhost:PORT"
    scheme = "http" if resolved.flycast or resolved.at == "local" else "https"
    return f"{scheme}://{host}{resolved.health_path or resolved.path}"


def _region(resolved: Resolved) -> str:
    return resolved.region or "REGION"
