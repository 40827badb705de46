"""A file is changed while others may be writing it: read, edit, put in place, and look again.

Whoever writes in between wins, and the edit is made anew on top of that; after `ATTEMPTS` it is given up and said.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mcpctl.editing.problems import Uneditable, Unreadable
from mcpctl.storing import replacement
from mcpctl.storing.locks import client_lock, our_lock
from mcpctl.storing.problems import CannotChange, translated
from mcpctl.storing.replacement import Overtaken
from mcpctl.storing.snapshot import Snapshot, check_writable, look

Edit = Callable[[bytes], bytes]
"""The new contents, of those that are there (empty for a file that is not); made again when they have changed."""

ATTEMPTS = 8
SETTLE_S = 0.05
"""How long after a change the file is looked at again: a program that was writing is done by then."""
PATIENCE_S = (0.02, 0.1, 0.3)
"""The waits for a file that is empty or cannot be read: its owner may be in the middle of writing it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a file: the bytes before (None: there was none) and after. Equal ones: nothing."""

    path: str
    before: bytes | None = field(repr=False)
    after: bytes = field(repr=False)

    @property
    def is_made(self) -> bool:
        """Whether anything differs."""
        return self.before != self.after


def plan_change(path: str, edit: Edit) -> Change:
    """What `change_file` would do now. Raises as it does."""
    seen, after = _edited(path, edit)
    return Change(path, seen.data, after)


def change_file(path: str, edit: Edit, *, locks: bool = False) -> Change:
    """Change a file safely; `locks`: its client holds a lock folder beside it while it writes.

    Raises `CannotChange`, and what `edit` raises; nothing was changed then. `conflict`: others kept writing it.
    """
    with our_lock():
        held = client_lock(look(path).real) if locks else contextlib.nullcontext()
        with held:
            return _changed(path, edit)


def delete_file(path: str, expected: bytes) -> bool:
    """Delete a file of ours that nobody has written since; False when somebody has."""
    with our_lock():
        seen = look(path)
        check_writable(seen)
        if seen.data != expected:
            return False
        try:
            os.unlink(seen.real)
        except OSError as exc:
            raise translated(path, exc) from exc
    return True


def _changed(path: str, edit: Edit) -> Change:
    for _ in range(ATTEMPTS):
        seen, after = _edited(path, edit)
        if after == seen.data:
            return Change(path, seen.data, after)
        try:
            if _put(seen, after, edit):
                return Change(path, seen.data, after)
        except Overtaken:
            continue
        except OSError as exc:
            raise translated(path, exc) from exc
    raise CannotChange(
        path, "another program keeps writing it; close that and try again", "conflict"
    )


def _edited(path: str, edit: Edit) -> tuple[Snapshot, bytes]:
    """The file and what it is to become; one that is being written is waited for."""
    for wait_s in (*PATIENCE_S, None):
        seen = look(path)
        check_writable(seen)
        try:
            if seen.data != b"" or wait_s is None:
                return seen, edit(seen.data or b"")
        except Unreadable as exc:
            if wait_s is None:
                raise CannotChange(path, f"it cannot be read: {exc}; repair it first") from exc
        except Uneditable as exc:
            raise CannotChange(path, str(exc)) from exc
        time.sleep(wait_s or 0)
    raise AssertionError("unreachable")


def _put(seen: Snapshot, after: bytes, edit: Edit) -> bool:
    """One attempt; False when somebody wrote at the same time, whose bytes then stand."""
    with replacement.replaced(seen, after) as displaced:
        if not _is_whole(seen, after, displaced):
            return False
        time.sleep(SETTLE_S)
        if not _is_whole(seen, after, displaced):
            return False
        now = replacement.read(seen.real)
    return now is not None and (now == after or _is_in(now, edit))


def _is_whole(seen: Snapshot, after: bytes, displaced: str | None) -> bool:
    """Whether the displaced file is still what was read; if not, it gets its place back.

    It does not where another one stands there by now: who wrote that knew the newer state.
    """
    if displaced is None or replacement.read(displaced) == seen.data:
        return True
    if replacement.read(seen.real) == after:
        replacement.put_back(displaced, seen.real)
        if replacement.read(displaced) not in (after, None):  # written in this very moment
            replacement.put_back(displaced, seen.real)
    return False


def _is_in(now: bytes, edit: Edit) -> bool:
    """Whether others have written since, and kept the edit."""
    try:
        return edit(now) == now
    except (Unreadable, Uneditable):
        return False
