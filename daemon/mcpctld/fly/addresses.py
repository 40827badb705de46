"""The addresses of an app, on the Internet and on the private network."""

import msgspec

from mcpctld.fly.errors import LOST, FlyError
from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read, read_all

PRIVATE = "fdaa:"
"""How an address of the private network begins."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address. Fly does not tell its type: it shows in the address."""

    ip: str = ""
    region: str = ""
    shared: bool = False
    created_at: str = ""

    @property
    def type(self) -> str:
        """`private_v6` (Flycast), `shared_v4`, `v6` or `v4`."""
        if self.ip.startswith(PRIVATE):
            return "private_v6"
        if self.shared:
            return "shared_v4"
        return "v6" if ":" in self.ip else "v4"


class Addresses:
    """`/v1/apps/APP/ip_assignments`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, app: str) -> list[Address]:
        """All addresses of an app."""
        ask = Ask("GET", self._url(app), f"list the addresses of {app}", "ip.list", app)
        return read_all(Address, (await self._wire.send(ask)).mapping().get("ips"))

    async def assign(self, app: str, kind: str) -> Address | None:
        """Give the app an address of a type. None: it has one, and more is not known of it."""
        doing = f"give {app} an address ({kind})"
        ask = Ask("POST", self._url(app), doing, "ip.assign", app, body={"type": kind})
        try:
            return read(Address, (await self._wire.send(ask)).mapping())
        except FlyError as exc:
            if exc.status not in (409, 422) and exc.reason not in LOST:
                raise
            if all(address.type != kind for address in await self.list(app)):
                raise
            return None

    async def release(self, app: str, ip: str) -> None:
        """Give an address back; one that is not there is given back."""
        url = self._wire.path("apps", app, "ip_assignments", ip)
        await self._wire.find(Ask("DELETE", url, f"give back {ip}", "ip.release", ip))

    def _url(self, app: str) -> str:
        return self._wire.path("apps", app, "ip_assignments")
