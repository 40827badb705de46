"""What Fly tells of itself, and of the token."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read_all


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """One region: `code` is what flags name."""

    code: str = ""
    name: str = ""
    deprecated: bool = False
    requires_paid_plan: bool = False
    gateway_available: bool = False


class Regions(msgspec.Struct, frozen=True, kw_only=True):
    """All regions, and the code of the one nearest to us, where Fly tells it."""

    nearest: str = ""
    regions: list[Region] = []

    @property
    def codes(self) -> list[str]:
        """The codes of those in service, sorted."""
        return sorted(region.code for region in self.regions if not region.deprecated)


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a token may be used for."""

    org_slug: str = ""
    organization: str = ""
    apps: list[str] = []
    user: str = ""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A region with room for `count` machines."""

    region: str = ""
    count: int = 0
    concurrency: int = 0


class Platform:
    """`/v1/platform` and `/v1/tokens`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def regions(self) -> Regions:
        """All regions."""
        url = self._wire.path("platform", "regions")
        ask = Ask("GET", url, "list the regions", "platform.regions", "")
        # In practice the members are capitalised; the description has them in lower case.
        found = {
            name.lower(): value for name, value in (await self._wire.send(ask)).mapping().items()
        }
        nearest = found.get("nearest")
        rows = read_all(Region, found.get("regions"))
        return Regions(nearest=nearest if isinstance(nearest, str) else "", regions=rows)

    async def placements(
        self, org_slug: str, guest: Mapping[str, Any], *, region: str = "any"
    ) -> list[Placement]:
        """The regions with room for one machine of this size, the best first."""
        url = self._wire.path("platform", "placements")
        body = {"org_slug": org_slug, "compute": dict(guest), "region": region, "count": 1}
        doing = "ask for a region with room"
        ask = Ask("POST", url, doing, "platform.placements", "", body=body, repeatable=True)
        return read_all(Placement, (await self._wire.send(ask)).mapping().get("regions"))

    async def tokens(self) -> list[TokenInfo]:
        """What our token is: the cheapest check of it, and the way to learn its organisation."""
        url = self._wire.path("tokens", "current")
        ask = Ask("GET", url, "check the Fly token", "token.current", "")
        return read_all(TokenInfo, (await self._wire.send(ask)).mapping().get("tokens"))
