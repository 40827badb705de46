"""Regions, placements, tokens, and everything of an organization at once."""

from typing import Any

import msgspec
import trio

from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.machines import Machine, rfc3339
from mcpctld.localfly.state import ORG, App

REGIONS: dict[str, tuple[str, float, float, str]] = {
    "ams": ("Amsterdam, Netherlands", 52.37, 4.90, "europe"),
    "arn": ("Stockholm, Sweden", 59.65, 17.92, "europe"),
    "bom": ("Mumbai, India", 19.10, 72.87, "asia_pacific"),
    "cdg": ("Paris, France", 48.86, 2.35, "europe"),
    "dfw": ("Dallas, Texas (US)", 32.78, -96.80, "north_america"),
    "ewr": ("Secaucus, NJ (US)", 40.79, -74.06, "north_america"),
    "fra": ("Frankfurt, Germany", 50.12, 8.68, "europe"),
    "gru": ("Sao Paulo, Brazil", -23.55, -46.63, "south_america"),
    "iad": ("Ashburn, Virginia (US)", 39.02, -77.54, "north_america"),
    "jnb": ("Johannesburg, South Africa", -26.20, 28.05, "africa"),
    "lax": ("Los Angeles, California (US)", 33.94, -118.41, "north_america"),
    "lhr": ("London, United Kingdom", 51.51, -0.13, "europe"),
    "nrt": ("Tokyo, Japan", 35.62, 139.75, "asia_pacific"),
    "ord": ("Chicago, Illinois (US)", 41.89, -87.62, "north_america"),
    "sin": ("Singapore, Singapore", 1.35, 103.85, "asia_pacific"),
    "sjc": ("San Jose, California (US)", 37.35, -121.96, "north_america"),
    "syd": ("Sydney, Australia", -33.87, 151.21, "asia_pacific"),
    "yyz": ("Toronto, Canada", 43.64, -79.40, "north_america"),
}
"""Code: name, latitude, longitude, part of the world."""
NEAREST = "iad"
ALIASES = {"any": "", "eu": "europe", "na": "north_america", "sa": "south_america",
           "apac": "asia_pacific", "us": "north_america"}  # fmt: skip
CONCURRENCY = 10


class Placement(msgspec.Struct, kw_only=True):
    """What room is sought for."""

    org_slug: str
    region: str = ""
    count: int = 1
    compute: dict[str, Any] | None = None
    volume_name: str = ""
    volume_size_bytes: int = 0
    weights: dict[str, int] | None = None


async def regions(_: Call) -> Result:
    """GET, for everybody. The names begin with capitals, as the real ones do."""
    await trio.lowlevel.checkpoint()
    rows = [
        {
            "code": code,
            "name": name,
            "latitude": latitude,
            "longitude": longitude,
            "gateway_available": True,
            "requires_paid_plan": False,
            "deprecated": False,
            "geo_region": geo,
            "mpg_available": False,
        }
        for code, (name, latitude, longitude, geo) in REGIONS.items()
    ]
    return 200, {"Nearest": NEAREST, "Regions": rows}


async def placements(call: Call) -> Result:
    """POST: the regions that were named, each with room."""
    await trio.lowlevel.checkpoint()
    given = call.read(Placement)
    wanted = [part for part in given.region.split(",") if part] or [NEAREST]
    found: dict[str, None] = {}
    for part in wanted:
        if part in REGIONS:
            found[part] = None
        elif part in ALIASES:
            found.update({code: None for code, row in REGIONS.items() if ALIASES[part] in row[3]})
        else:
            raise ApiError(400, f"invalid_argument: region {part!r} not found")
    count = max(given.count, 1)
    rows = [{"region": code, "count": count, "concurrency": CONCURRENCY} for code in found]
    return 200, {"regions": rows}


async def current_token(_: Call) -> Result:
    """GET: what the token may do."""
    await trio.lowlevel.checkpoint()
    token = {
        "token_id": "localfly",
        "org_slug": ORG,
        "organization": "1",
        "apps": [],
        "user": "local@localhost",
    }
    return 200, {"tokens": [token]}


async def org_machines(call: Call) -> Result:
    """GET: of all apps."""
    await trio.lowlevel.checkpoint()
    rows = [
        _row(app, machine)
        for app in _apps(call)
        for machine in app.machines.values()
        if _fits(call, machine.state, machine.region)
    ]
    return 200, {"machines": rows, "next_cursor": "", "last_updated_at": rfc3339(call.now)}


def _apps(call: Call) -> list[App]:
    return [app for app in call.world.apps.values() if app.org == call.params["org"]]


def _fits(call: Call, state: str, region: str) -> bool:
    if state == "destroyed" and not call.flag("include_deleted"):
        return False
    states, regions = call.listed("state"), call.listed("region")
    return (not states or state in states) and (not regions or region in regions)


def _row(app: App, machine: Machine) -> dict[str, Any]:
    kept = ("guest", "image", "metadata")
    return {
        "app_name": app.name,
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "version": machine.version,
        "private_ip": machine.private_ip,
        "created_at": rfc3339(machine.created_at),
        "updated_at": rfc3339(machine.updated_at),
        "config": {key: machine.config[key] for key in kept if key in machine.config},
    }
