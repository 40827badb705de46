"""Which machine is put to rest when there is little to do (Fly.io, "Autostop/autostart Machines").

    excess = running - (number at or above their soft limit + 1)

In each pass at most one machine per region is stopped. Stricter than Fly in one thing: a machine with a connection is
never taken, however few it has; Fly takes lightly loaded ones from under their streams where several run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcpctld.localfly.edge.settings import Autostop
from mcpctld.localfly.machines import why_not_suspend

Way = Literal["stop", "suspend"]


@dataclass(frozen=True, slots=True)
class Running:
    """A machine that runs. `idle_s`: for how long it has had no connection; 0 while it has one."""

    id: str
    region: str
    load: int
    soft_limit: int
    idle_s: float
    way: Autostop
    min_running: int = 0


def pick(machines: Sequence[Running], *, primary: str, quiet_s: float) -> list[Running]:
    """Whom to stop now: at most one of each region. `min_running` counts in the `primary` region only.

    `machines` are all that run of one service. Those that were idle for less than `quiet_s` stay.
    """
    regions = dict.fromkeys(each.region for each in machines)
    picked = []
    for region in regions:
        here = [each for each in machines if each.region == region]
        picked += _pick(here, quiet_s, keeps_some=region == primary)
    return picked


def _pick(here: Sequence[Running], quiet_s: float, *, keeps_some: bool) -> list[Running]:
    kept = max(each.min_running for each in here) if keeps_some else 0
    busy = sum(each.load >= each.soft_limit for each in here)
    excess = len(here) - (busy + 1) if len(here) > 1 else 1
    if excess < 1 or len(here) <= kept:
        return []
    idle = [each for each in here if not each.load and each.idle_s >= quiet_s and each.way != "off"]
    return sorted(idle, key=lambda each: -each.idle_s)[:1]


def way_to_rest(way: Autostop, config: Mapping[str, Any]) -> Way:
    """How a machine is put to rest: one that cannot be suspended is stopped."""
    return "suspend" if way == "suspend" and not why_not_suspend(config) else "stop"
