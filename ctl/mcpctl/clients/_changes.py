"""What a change of a client's file means. Pure: whoever watches tells what was seen, and when.

A file that is empty, missing or cannot be read says nothing about servers: its owner may be writing it. A removal is
the user's and is obeyed, unless it is the trap that the client's module declares: it runs, and the file went back to
bytes that it had before. Then the entry is put back, a few times an hour at the most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

PUT_BACK_AT_MOST = 3
PUT_BACK_WITHIN_S = 3600.0
REMEMBERED = 20
"""How many former states of a file are remembered."""

Entries = Mapping[str, str]
"""The servers that a file names: what stands for each (such as the digest of its entry) by name."""

Verdict = Literal["same", "unsure", "changed", "wiped"]


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a file: the digest of its bytes (None: no file) and its servers (None: it could not be read)."""

    digest: str | None
    entries: Entries | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file: its last good state, the digests it had, and when entries were put back (seconds)."""

    digest: str | None = None
    entries: Entries = field(default_factory=dict)
    former: tuple[str, ...] = ()
    put_back: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a look means: `known` is to be kept for the next one.

    `unsure`: look again soon, nothing counts as removed. `wiped`: `lost` are our entries to put back, or, with
    `exhausted`, to tell the user about.
    """

    verdict: Verdict
    known: Known
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    exhausted: bool = False


def judge(
    known: Known, seen: Sight, ours: Sequence[str], *, wipes: bool, running: bool, now: float
) -> Judgement:
    """Judge a look at a file. `ours` are the entries of it that we put there; `now` is in seconds.

    `wipes`: the client is known to write its file back from memory; `running`: it runs.
    """
    if seen.digest == known.digest:
        return Judgement("same", known)
    if seen.digest is None or seen.entries is None:
        return Judgement("unsure", known)
    told = _told(known.entries, seen.entries)
    former = seen.digest in known.former
    after = _remember(known, seen)
    lost = tuple(name for name in told.removed if name in ours)
    if not (lost and wipes and running and former):
        return replace(told, known=after)
    recent = tuple(at for at in known.put_back if now - at < PUT_BACK_WITHIN_S)
    exhausted = len(recent) >= PUT_BACK_AT_MOST
    after = replace(after, put_back=recent if exhausted else (*recent, now))
    return replace(told, verdict="wiped", known=after, lost=lost, exhausted=exhausted)


def _told(before: Entries, after: Entries) -> Judgement:
    """Which servers came, went and became others."""
    return Judgement(
        "changed",
        Known(),
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in after if name in before and after[name] != before[name]),
        removed=tuple(name for name in before if name not in after),
    )


def _remember(known: Known, seen: Sight) -> Known:
    former = (*known.former, known.digest) if known.digest is not None else known.former
    return Known(seen.digest, seen.entries or {}, former[-REMEMBERED:], known.put_back)
