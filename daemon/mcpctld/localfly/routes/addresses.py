"""IP assignments: what makes an app reachable (fly.io docs, "Machines API", IP assignments)."""

from typing import Any, Literal

import msgspec
import trio

from mcpctld.localfly import ids
from mcpctld.localfly.call import Call, Result
from mcpctld.localfly.errors import ApiError, not_found
from mcpctld.localfly.machines import rfc3339
from mcpctld.localfly.state import Address, App

Kind = Literal["v4", "v6", "shared_v4", "private_v6"]


class Assign(msgspec.Struct, kw_only=True):
    """What is wanted. There are no egress addresses here."""

    type: str = ""
    region: str = ""
    network: str = ""
    org_slug: str = ""
    service_name: str = ""


KINDS: tuple[Kind, ...] = ("v4", "v6", "shared_v4", "private_v6")


async def list_addresses(call: Call) -> Result:
    """GET: without the type."""
    await trio.lowlevel.checkpoint()
    app = call.app()
    return 200, {"ips": [as_json(address) for address in app.addresses]}


async def assign(call: Call) -> Result:
    """POST."""
    await trio.lowlevel.checkpoint()
    app, given = call.app(), call.read(Assign)
    return 200, as_json(allocate(call, app, given.type, given.region, given.network))


def allocate(call: Call, app: App, kind: str, region: str = "", network: str = "") -> Address:
    """A new address. Raises 400 and 422."""
    if kind not in KINDS:
        raise ApiError(400, f"invalid_argument: type must be one of {', '.join(KINDS)}")
    if kind == "shared_v4" and any(each.kind == kind for each in app.addresses):
        raise ApiError(422, "app already has a shared_v4 address")
    address = Address(
        ip=ids.address(kind),
        kind=kind,
        region=region or "global",
        network=network,
        created_at=call.now,
    )
    app.addresses.append(address)
    call.world.touch(app.name)
    return address


async def release(call: Call) -> Result:
    """DELETE."""
    await trio.lowlevel.checkpoint()
    take_away(call, call.app(), call.params["ip"])
    return 204, None


def take_away(call: Call, app: App, ip: str) -> None:
    """Give an address back. Raises 404."""
    for address in app.addresses:
        if address.ip == ip:
            app.addresses.remove(address)
            call.world.touch(app.name)
            return
    raise not_found("ip address", ip)


def as_json(address: Address) -> dict[str, Any]:
    """`IPAssignment` of the OpenAPI document."""
    return {
        "ip": address.ip,
        "region": address.region,
        "service_name": "",
        "shared": address.kind == "shared_v4",
        "egress": False,
        "created_at": rfc3339(address.created_at),
    }
