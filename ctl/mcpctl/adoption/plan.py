"""Which entries become which servers. Pure: what exists is given."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcpctl.adoption.recognise import Recognised, recognise
from mcpctl.adoption.values import NotAdoptable
from mcpctl.client_edits import EntryEdit, adding
from mcpctl.clients import Entry, Machine
from mcpctl.server_draft import Draft

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry, with what it was recognised as or why it stays."""

    entry: Entry
    found: Recognised | None
    why_not: str | None = None


@dataclass(slots=True)
class Adoption:
    """A server that is to be made (unless it `exists`), and the entries that will attach to it."""

    server: str
    draft: Draft
    exists: bool
    may_log_in: bool
    candidates: list[Candidate] = field(default_factory=list)


def candidates(
    entries: Iterable[Entry], environ: Mapping[str, str], *, private: bool = False
) -> list[Candidate]:
    """All entries that are not ours yet, with what they are; `private` is that of `recognise`."""
    return [_candidate(entry, environ, private) for entry in entries if entry.server is None]


def adoptions(
    chosen: Iterable[Candidate], existing: Mapping[str, dict[str, Any]]
) -> list[Adoption]:
    """The servers for the candidates: equal ones share one; `existing` are those that there are, with their files."""
    made: list[Adoption] = []
    for candidate in chosen:
        assert candidate.found is not None
        draft = candidate.found.draft
        same = next((one for one in made if _is_same(one.draft, draft)), None)
        if same is None:
            taken = {one.server for one in made}
            name, exists = _name(candidate.entry.name, draft, existing, taken)
            same = Adoption(name, draft, exists, candidate.found.may_log_in)
            made.append(same)
        same.candidates.append(candidate)
    return made


def edits(adoption: Adoption, known: Iterable[Entry], machine: Machine) -> list[EntryEdit]:
    """What is changed in the clients' files; `known` are all entries that there are.

    An entry in a file that its client does not read is moved to the one that it does.
    """
    places = {(entry.client.name, entry.place, entry.name) for entry in known}
    made = []
    for candidate in adoption.candidates:
        entry = candidate.entry
        target = entry.client.target(machine)
        if not entry.place.unread or target is None:
            made.append(_in_place(entry, adoption.server))
            continue
        if (entry.client.name, target, entry.name) not in places:
            made.append(_as_adopted(adding(entry.client, target, adoption.server, name=entry.name)))
        made.append(EntryEdit("adopt", entry.client, entry.place, entry.path, adoption.server))
    return made


def _candidate(entry: Entry, environ: Mapping[str, str], private: bool) -> Candidate:
    try:
        return Candidate(entry, recognise(entry.launch, environ, private=private))
    except NotAdoptable as exc:
        return Candidate(entry, None, str(exc))


def _in_place(entry: Entry, server: str) -> EntryEdit:
    edit = adding(entry.client, entry.place, server, name=entry.name, overwrites=True, known=True)
    return _as_adopted(edit, entry.path)


def _as_adopted(edit: EntryEdit, path: tuple[str, ...] | None = None) -> EntryEdit:
    return EntryEdit(
        "adopt",
        edit.client,
        edit.place,
        path or edit.path,
        edit.server,
        edit.fields,
        edit.extras,
        overwrites=True,
    )


def _name(
    wanted: str, draft: Draft, existing: Mapping[str, dict[str, Any]], taken: set[str]
) -> tuple[str, bool]:
    """A name for the server, and whether one with this very file, and no secrets to compare, has it already."""
    base = _UNFIT.sub("-", wanted).strip("-._")[:60] or "server"
    number, name = 1, base
    while name in existing or name in taken:
        if name not in taken and existing[name] == draft.spec and not draft.secrets:
            return name, True
        number += 1
        name = f"{base}-{number}"
    return name, False


def _is_same(one: Draft, other: Draft) -> bool:
    return one.spec == other.spec and one.secrets == other.secrets
