"""What a command does to entries in clients' files: planned, shown as a diff, done, recorded.

A failure in one file does not keep the others from being changed; each is told, and the first gives the exit code.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mcpctl import output
from mcpctl.clients import (
    OWN_FIELDS,
    Client,
    Place,
    attached_to,
    is_running,
    our_words,
    read_entry,
    sections,
)
from mcpctl.editing import document
from mcpctl.errors import CtlError, UsageError
from mcpctl.server_draft import SECRET_LOOKING
from mcpctl.storing import journal
from mcpctl.storing.changing import Change, change_file, plan_change

HIDDEN = "***"

_CONTEXT = 3
_START = re.compile(r"( [-+])(\d+)")

_NAMED = re.compile(
    r"""((?:["']?[\w.-]*(?:authorization|cookie|token|key|secret|passw)[\w.-]*["']?)\s*[:=]\s*)"""
    r"""("[^"]*"|'[^']*'|[^\s,{}\[\]]+)""",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class EntryEdit:
    """An edit of one entry; without `fields` it is taken out. `extras` are for an entry that is not there yet."""

    verb: str
    client: Client
    place: Place
    path: document.Path
    server: str
    fields: Mapping[str, object] | None = None
    extras: Mapping[str, object] = field(default_factory=dict)
    overwrites: bool = False

    @property
    def name(self) -> str:
        """Of the entry."""
        return self.path[-1]

    def apply(self, data: bytes) -> bytes:
        """The file with this edit. Raises `conflict` when the entry is somebody else's."""
        kind = self.place.kind
        if self.fields is None:
            return document.remove(data, kind, self.path)
        old = document.entries(document.meaning(data, kind), self.path[:-1]).get(self.name)
        if old is None:
            return document.merge(data, kind, self.path, {**self.fields, **self.extras})
        launch = read_entry(old)
        if not self.overwrites and (launch is None or attached_to(launch) is None):
            raise CtlError(
                "conflict",
                f"{self.client.title} has an entry {self.name!r} of another kind in {self.place.path}; "
                f"--replace overwrites it, 'mcpctl adopt {self.name}' moves its server here",
            )
        return document.merge(data, kind, self.path, self.fields, OWN_FIELDS)


def adding(
    client: Client,
    place: Place,
    server: str,
    *,
    name: str | None = None,
    overwrites: bool = False,
    known: bool = False,
) -> EntryEdit:
    """The edit that makes `client` attach to `server`.

    Raises `UsageError` for a name that it cannot use; one that is `known` to be there is its owner's affair.
    """
    called = name or server
    if not known and not re.fullmatch(client.name_pattern, called):
        rule = f": {client.name_rule}" if client.name_rule else ""
        raise UsageError(f"{client.title} cannot have a server called {called!r}{rule}")
    words = our_words(server, for_project=place.scope == "project")
    fields = client.write(called, words)
    path = (*place.section, called)
    return EntryEdit("add", client, place, path, server, fields, client.extras or {}, overwrites)


def perform(edits: Iterable[EntryEdit], command: str, *, dry_run: bool = False) -> int:
    """Make the edits, say what was done; the exit code of the first that failed, else 0."""
    code, batch = 0, journal.new_batch(command)
    for edit in edits:
        try:
            if dry_run:
                show(planned(edit), edit.place)
            else:
                batch = _made(edit, batch)
        except CtlError as exc:
            output.note(str(exc))
            code = code or exc.exit_code
    if batch.records:
        journal.prune()
    return code


def planned(edit: EntryEdit) -> Change:
    """What an edit would do now."""
    return plan_change(edit.place.path, edit.apply)


def show(change: Change, *places: Place) -> None:
    """Print a change as a unified diff, without what may be secret in the file's places."""
    text = "".join(_diff(change, places))
    if text:
        output.text_out(text.rstrip("\n"))


def _made(edit: EntryEdit, batch: journal.Batch) -> journal.Batch:
    """Make one edit; it is recorded before, so that a crash leaves something to undo by."""
    plan = planned(edit)
    if not plan.is_made:
        return batch
    recorded = _recorded(edit, plan, batch)
    try:
        change = change_file(edit.place.path, edit.apply, locks=edit.client.locks)
    except CtlError:
        _forget_last(recorded)
        raise
    if change != plan:
        _forget_last(recorded)
        recorded = _recorded(edit, change, batch)
    _tell(edit)
    return recorded


def _recorded(edit: EntryEdit, change: Change, batch: journal.Batch) -> journal.Batch:
    place = edit.place
    record = journal.make_record(
        edit.verb, edit.client.name, place.kind, edit.path, edit.server, change
    )
    made = dataclasses.replace(batch, records=(*batch.records, record))
    journal.write(made)
    return made


def _forget_last(batch: journal.Batch) -> None:
    journal.forget(batch.records[-1])
    journal.write(dataclasses.replace(batch, records=batch.records[:-1]))


def _tell(edit: EntryEdit) -> None:
    words = {"add": "added to", "remove": "removed from", "adopt": "adopted in"}
    where = f"{edit.client.title} ({edit.place.path})"
    print(f"{words[edit.verb]} {where}: {edit.name}; {edit.client.reload}")
    if edit.client.wipes and is_running(edit.client):
        output.note(
            f"{edit.client.title} is running, and may write its file back as it remembers it: "
            "end it, and look with 'mcpctl clients' whether the entry is still there"
        )


def _diff(change: Change, places: Sequence[Place]) -> list[str]:
    before, after = change.before or b"", change.after
    secrets = {
        text for place in places for text in hidden_in(before, place) | hidden_in(after, place)
    }
    old, new = (side.decode(errors="replace").splitlines(keepends=True) for side in (before, after))
    first, old, new = _differing(old, new)
    old, new = ([masked(line, secrets) for line in side] for side in (old, new))
    name = "/dev/null" if change.before is None else change.path
    return [
        _shifted(line, first).rstrip("\n") + "\n"
        for line in difflib.unified_diff(old, new, fromfile=name, tofile=change.path)
    ]


def _shifted(line: str, by: int) -> str:
    """A line of a diff; the head of a hunk counts from the beginning of the whole file."""
    if not line.startswith("@@ "):  # any other begins with a sign or a space
        return line
    return _START.sub(lambda match: f"{match[1]}{int(match[2]) + by}", line)


def _differing(old: list[str], new: list[str]) -> tuple[int, list[str], list[str]]:
    """The lines around which two texts differ, and how many stand before: `difflib` takes minutes for a large file."""
    room = min(len(old), len(new))
    same = next((at for at in range(room) if old[at] != new[at]), room)
    end = next((at for at in range(room - same) if old[-1 - at] != new[-1 - at]), room - same)
    first, last = max(0, same - _CONTEXT), max(0, end - _CONTEXT)
    return first, old[first : len(old) - last], new[first : len(new) - last]


def hidden_in(data: bytes, place: Place) -> set[str]:
    """What no diff of this file may show: values of variables and headers, and arguments that look like secrets."""
    try:
        value = document.meaning(data, place.kind)
    except CtlError:
        return set()
    found: set[str] = set()
    known = [document.entries(value, section) for section in sections(value, place.section)]
    for entry in (entry for entries in known for entry in entries.values()):
        launch = read_entry(entry)
        if launch is not None:
            found |= {
                *launch.env.values(),
                *launch.headers.values(),
                *secret_arguments(launch.words),
            }
    return {text for text in found if len(text) > 3}


def secret_arguments(words: Sequence[str]) -> list[str]:
    """The arguments that look like secrets: `--token X`, `--token=X`, `--header 'X-Key: X'`, `user:pass@`."""
    found = []
    for before, word in zip(("", *words), words, strict=False):
        flag, _, value = word.partition("=")
        opens = before.startswith("-") and "=" not in before
        if opens and (SECRET_LOOKING.search(before) or before in ("-p", "-H")):
            found.append(word)
        elif before == "--header":
            found.append(word.partition(":")[2].strip())
        elif value and SECRET_LOOKING.search(flag):
            found.append(value)
    return found


def masked(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret hidden, and whatever stands behind a name that looks like one's."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _NAMED.sub(lambda match: match[1] + HIDDEN, text)
