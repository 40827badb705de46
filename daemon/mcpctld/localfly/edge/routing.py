"""Which machine gets a request, and which one is to be started for it (Fly.io, "Load Balancing", "Autostop/autostart").

Pure: `choose` looks at the machines as they are now, and says what to do. The nearest region comes first; in it a
machine below its soft limit; then the least load. At its hard limit a machine gets nothing. Where all are at their soft
limit, one that rests is started as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

RUNNING = frozenset({"started"})
RESTING = frozenset({"stopped", "suspended", "suspending"})
"""Can be started: a start while a machine is being suspended lets it go on."""
COMING = frozenset({"starting", "restarting", "replacing", "updating", "created", "creating"})
"""Will be running without our doing."""
LOST = frozenset({"failed", "launch_failed", "destroying", "destroyed"})
"""No waiting helps."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine that has the service asked for. `load`: connections to it, and requests that wait for it."""

    id: str
    region: str
    state: str
    load: int = 0
    soft_limit: int = 20
    hard_limit: int | None = None
    autostart: bool = True
    cordoned: bool = False
    leased: bool = False
    healthy: bool = True
    """Whether no check of it fails."""

    @property
    def takes_more(self) -> bool:
        """Whether it is below its hard limit."""
        return self.hard_limit is None or self.load < self.hard_limit

    @property
    def is_free(self) -> bool:
        """Whether it is below its soft limit, too."""
        return self.load < self.soft_limit and self.takes_more


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request, or who has it replayed, wants. `regions` are the only ones allowed, unless empty."""

    instance: str = ""
    prefer_instance: str = ""
    regions: frozenset[str] = frozenset()
    prefer_region: str = ""
    excluded: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Send:
    """Send it to this machine, which runs. `start`: one to be started besides, empty for none."""

    machine: str
    start: str = ""


@dataclass(frozen=True, slots=True)
class Await:
    """Hold it until this machine runs, and see to it that it is started."""

    machine: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing can take it now: look again when something has changed. `code`: as in Fly's logs.

    `hopeless`: nothing that is known of will change that; only somebody's doing may.
    """

    code: str
    reason: str
    hopeless: bool = False


Verdict = Send | Await | Hold


def choose(candidates: Sequence[Candidate], wish: Wish, *, near: str, turn: int) -> Verdict:
    """What to do with a request. `near`: the edge's region. `turn`: a counter, for equals to take turns."""
    able = [each for each in candidates if not each.cordoned and _is_wanted(each, wish)]
    if not able:
        return Hold("PR04", _nobody(wish), hopeless=True)
    preferred = [each for each in able if each.id == wish.prefer_instance]
    if preferred and not isinstance(verdict := _choose(preferred, near, turn), Hold):
        return verdict
    return _choose(able, wish.prefer_region or near, turn)


def _is_wanted(candidate: Candidate, wish: Wish) -> bool:
    if wish.instance and candidate.id != wish.instance:
        return False
    if wish.regions and candidate.region not in wish.regions:
        return False
    return candidate.id not in wish.excluded


def _nobody(wish: Wish) -> str:
    if wish.instance:
        return f"there is no machine {wish.instance} that could take the request"
    if wish.regions:
        return f"there is no machine in {', '.join(sorted(wish.regions))}"
    return "there is no machine that could take the request"


def _choose(able: Sequence[Candidate], near: str, turn: int) -> Verdict:
    running = [each for each in able if each.state in RUNNING and each.healthy and each.takes_more]
    coming = [each for each in able if each.state in COMING and each.takes_more]
    resting = [each for each in able if each.state in RESTING and each.autostart]
    startable = [each for each in resting if not each.leased]
    if running:
        best = _best(running, near, turn)
        another = "" if best.is_free or coming or not startable else _best(startable, near, 0).id
        return Send(best.id, another)
    if coming and (not startable or any(each.is_free for each in coming)):
        return Await(_best(coming, near, turn).id)
    if startable:
        return Await(_best(startable, near, 0).id)
    return _explain(able, resting)


def _best(candidates: Sequence[Candidate], near: str, turn: int) -> Candidate:
    """The nearest and least loaded; equals take turns."""

    def key(each: Candidate) -> tuple[bool, bool, float]:
        return (each.region != near, not each.is_free, each.load)

    least = min(map(key, candidates), default=(False, False, math.inf))
    equals = [each for each in candidates if key(each) == least]
    return equals[turn % len(equals)]


def _explain(able: Sequence[Candidate], resting: Sequence[Candidate]) -> Hold:
    """Why none of `able` can take a request."""
    if any(each.state in RUNNING and not each.takes_more for each in able):
        return Hold("PR03", "every machine is at its hard limit")
    if resting:  # all of them leased
        return Hold("PM01", f"the lease of machine {resting[0].id} is held by somebody")
    if any(each.state in RUNNING for each in able):
        return Hold("PR01", "a check of every running machine fails")
    states = ", ".join(sorted({each.state for each in able}))
    if all(each.state in LOST for each in able):
        return Hold("PM08", f"no machine can be started from its state ({states})", hopeless=True)
    if all(each.state in RESTING | LOST for each in able):
        reason = "no machine runs, and none may be started (autostart is off)"
        return Hold("PR03", reason, hopeless=True)
    return Hold("PM08", f"no machine can be started from its state ({states})")
