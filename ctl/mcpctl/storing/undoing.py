"""An edit of a client's file is taken back: byte for byte where nobody wrote since, else as what it meant."""

from mcpctl.editing import document
from mcpctl.editing.problems import Uneditable
from mcpctl.storing.changing import Change, change_file, delete_file, plan_change
from mcpctl.storing.journal import Detail, Record, digest


def undo(record: Record, detail: Detail, *, locks: bool) -> None:
    """Take an edit back. Raises `CannotChange` when the entry is another one by now."""
    made_file = record.before is None and digest(_whole(detail)) == record.after
    if made_file and delete_file(record.file, _whole(detail)):
        return
    change_file(record.file, lambda data: taken_back(data, record, detail), locks=locks)


def plan_undo(record: Record, detail: Detail) -> Change:
    """What `undo` would do now."""
    return plan_change(record.file, lambda data: taken_back(data, record, detail))


def taken_back(data: bytes, record: Record, detail: Detail) -> bytes:
    """The contents of the file without an edit. Raises `Uneditable` when the entry is another one by now."""
    made = detail.difference
    now = digest(data)
    if now == record.before:
        return data
    if now == record.after:
        return data[: made.start] + made.removed + data[made.start + len(made.inserted) :]
    return _without_in_changed(data, record, detail)


def _whole(detail: Detail) -> bytes:
    return detail.difference.inserted


def _without_in_changed(data: bytes, record: Record, detail: Detail) -> bytes:
    path = tuple(record.path)
    taken = document.take_back(data, record.kind, path, detail.difference)
    if taken is not None and _reads_as_before(taken, record, detail):
        return taken
    found = document.text_of(data, record.kind, path)
    if found == detail.entry_before:
        return data
    if found != detail.entry_after:
        raise Uneditable(f"the entry {path[-1]} has been changed since; change it back by hand")
    if detail.entry_before is None:
        return document.remove(data, record.kind, path)
    return document.put_text(data, record.kind, path, detail.entry_before)


def _reads_as_before(data: bytes, record: Record, detail: Detail) -> bool:
    return document.text_of(data, record.kind, tuple(record.path)) == detail.entry_before
