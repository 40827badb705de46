"""What was done to files of clients, so that it can be undone: one file per command in the state folder, 0600.

A record says where the edit stands in the file and what it put there. What it took out may hold a token of somebody's,
so a record that has any of that is kept where secrets are kept, and the file only says under which key.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from mcpctl import wire
from mcpctl.editing import document
from mcpctl.editing.document import Format
from mcpctl.editing.splices import Difference, difference
from mcpctl.storing import vault
from mcpctl.storing.changing import Change
from mcpctl.storing.problems import translated

KEPT = 50
"""How many commands can be undone; those that adopted something are kept until it is released."""

ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class Record:
    """One edit of one file. `before` and `after` are digests of the whole file; None: there was none.

    `sealed` is the key of its `Detail` in the vault; `detail` is set where nothing had to be hidden.
    """

    verb: str
    client: str
    file: str
    kind: Format
    path: list[str]
    server: str
    before: str | None
    after: str
    sealed: str | None = None
    detail: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """What an edit did: its difference, and the entry as it was written before and after (None: there was none)."""

    start: int
    removed: str
    inserted: str
    entry_before: str | None
    entry_after: str | None

    @property
    def difference(self) -> Difference:
        """As bytes again."""
        return Difference(self.start, _bytes(self.removed), _bytes(self.inserted))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one command did, in order."""

    id: str
    command: str
    at: float
    records: tuple[Record, ...]


def make_record(
    verb: str, client: str, kind: Format, path: document.Path, server: str, change: Change
) -> Record:
    """The record of a change; what must not lie in a file is put into the vault."""
    detail = make_detail(kind, path, change)
    sealed = None
    if detail.removed.strip():
        sealed = secrets.token_hex(16)
        vault.keep(sealed, json.dumps(asdict(detail)))
    return Record(
        verb,
        client,
        change.path,
        kind,
        list(path),
        server,
        None if change.before is None else digest(change.before),
        digest(change.after),
        sealed,
        None if sealed else asdict(detail),
    )


def make_detail(kind: Format, path: document.Path, change: Change) -> Detail:
    """What a change of an entry did."""
    before = change.before or b""
    made = difference(before, change.after)
    return Detail(
        made.start,
        _text(made.removed),
        _text(made.inserted),
        document.text_of(before, kind, path),
        document.text_of(change.after, kind, path),
    )


def details_of(records: Iterable[Record]) -> list[tuple[Record, Detail]]:
    """Each record with what its edit did, from wherever that is kept; the vault is asked once."""
    known = list(records)
    kept = vault.read([record.sealed for record in known if record.sealed])
    return [
        (
            record,
            Detail(**(json.loads(kept[record.sealed]) if record.sealed else record.detail or {})),
        )
        for record in known
    ]


def digest(data: bytes) -> str:
    """What two files are compared by."""
    return hashlib.sha256(data).hexdigest()


def new_batch(command: str) -> Batch:
    """A batch without records; it is written with its first."""
    return Batch(f"{time.time_ns():020d}-{secrets.token_hex(2)}", command, time.time(), ())


def batches() -> list[Batch]:
    """All that can be undone, the newest first; files that cannot be read are passed over."""
    found = []
    for name in sorted(_names(), reverse=True):
        try:
            with open(f"{_folder()}/{name}", encoding="utf-8") as file:
                value = json.load(file)
            records = tuple(Record(**record) for record in value.pop("records"))
            found.append(Batch(**value, records=records))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def write(batch: Batch) -> None:
    """Write a batch in the place of its former state; one without records is deleted."""
    path = f"{_folder()}/{batch.id}.json"
    try:
        if batch.records:
            _written(batch, path)
        elif os.path.exists(path):
            os.unlink(path)
    except OSError as exc:
        raise translated(path, exc) from exc


def _written(batch: Batch, path: str) -> None:
    os.makedirs(_folder(), mode=0o700, exist_ok=True)
    temporary = f"{_folder()}/.{batch.id}.{secrets.token_hex(4)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(batch), file, indent=1)
        file.flush()
        os.fsync(fd)
    os.replace(temporary, path)


def prune() -> None:
    """Forget the oldest batches beyond `KEPT`, but none that adopted something."""
    plain = [b for b in batches() if all(record.verb != ADOPT for record in b.records)]
    for batch in plain[KEPT:]:
        for record in batch.records:
            forget(record)
        write(Batch(batch.id, batch.command, batch.at, ()))


def forget_adoptions(server: str) -> None:
    """Forget what was kept for giving entries of a server back: it is removed, and its tokens with it."""
    for batch in batches():
        gone = [one for one in batch.records if one.verb == ADOPT and one.server == server]
        for record in gone:
            forget(record)
        kept = tuple(record for record in batch.records if record not in gone)
        if gone:
            write(Batch(batch.id, batch.command, batch.at, kept))


def forget(record: Record) -> None:
    """Forget what was kept for a record."""
    if record.sealed:
        vault.forget(record.sealed)


def _folder() -> str:
    return f"{wire.state_dir()}/clients-undo"


def _names() -> list[str]:
    try:
        return [name for name in os.listdir(_folder()) if name.endswith(".json")]
    except FileNotFoundError:
        return []


def _text(data: bytes) -> str:
    """Bytes as text: a difference may begin inside a character."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
