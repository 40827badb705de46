"""Where a launch goes: its organisation and region, checked before anything is made."""

import trio

from mcpctld.errors import UserError
from mcpctld.fly.errors import FlyError, Reason
from mcpctld.launch.resolve import PERSONAL, Resolved
from mcpctld.launch.work import Work


async def choose_place(work: Work, resolved: Resolved) -> None:
    """The organisation and the region, checked before anything is made."""
    record = work.record
    tokens = await work.fly.platform.tokens()
    slugs = sorted({token.org_slug for token in tokens if token.org_slug})
    if not record.org:
        only = slugs[0] if resolved.org == PERSONAL and len(slugs) == 1 else None
        record.org = only or resolved.org
    if not record.region:
        record.region = await _region(work, resolved)
    work.done("place", f"organisation {record.org}, region {record.region}")


async def _region(work: Work, resolved: Resolved) -> str:
    known = await work.fly.platform.regions()
    if resolved.region is not None:
        if known.codes and resolved.region not in known.codes:
            raise UserError(
                f"there is no region {resolved.region}; choose one of {', '.join(known.codes)}"
            )
        return resolved.region
    places = await find_places(work, resolved)
    for code in (*places, known.nearest, *known.codes):
        if code:
            return code
    raise UserError("cannot choose a region, for Fly names none; choose one with --region")


async def find_places(work: Work, resolved: Resolved) -> list[str]:
    """The regions with room, the best first; none where Fly does not tell."""
    try:
        guest = resolved.guest.as_config()
        found = await work.fly.platform.placements(work.record.org, guest)
    except FlyError as exc:
        if exc.reason is Reason.DENIED:
            raise
        found = []
    await trio.lowlevel.checkpoint()
    return [place.region for place in found if place.region]
