"""One look at a file of clients. Blocks, so it is for a thread."""

import dataclasses
import hashlib
import os

from mcpctl.clients import Entry, is_running, understand
from mcpctl.editing import document
from mcpctl.errors import CtlError
from mcpctl.storing.snapshot import look as read
from mcpctld.clients import apart
from mcpctld.clients.apart import Question
from mcpctld.clients.watched import Look, Named, Watched

EMPTY = "it is empty"

LARGE = 1024 * 1024
"""Bytes of a file that a process of its own reads: of what it has once had, Python gives back a part only."""


def look_at(watched: Watched) -> tuple[Look, bool]:
    """What the file says now, and whether a client that is known to wipe it runs."""
    question = Question(
        watched.path, watched.owners, watched.known.digest, bool(watched.known.entries)
    )
    look = _apart(question) if _size(watched.path) > LARGE else answer(question)
    is_news = watched.wipes and look.digest != watched.known.digest
    return look, is_news and any(is_running(client) for client, _ in watched.owners if client.wipes)


def _apart(question: Question) -> Look:
    return dataclasses.replace(apart.look(question), is_large=True)


def answer(question: Question) -> Look:
    """The look itself."""
    try:
        data = read(question.path).data
    except CtlError as exc:
        return Look(None, problem=_shortened(exc, question.path))
    if data is None:
        return Look(None)
    digest = hashlib.sha256(data).hexdigest()
    if digest == question.known:  # our own edit, or a `touch`: nothing to read
        return Look(digest)
    if not data.strip() and question.has_entries:
        return Look(digest, problem=EMPTY)
    try:
        return _understood(question, digest, data)
    finally:
        document.forget()


def _understood(question: Question, digest: str, data: bytes) -> Look:
    found = [understand(client, place, data) for client, place in question.owners]
    problem = next((one.problem for one in found if one.problem), None)
    if any(one.data is None for one in found):
        return Look(digest, problem=(problem or "").removeprefix(f"{question.path}: "))
    entries = {"\0".join(one.path): _named(one, data) for each in found for one in each.entries}
    return Look(digest, entries, problem)


def _named(entry: Entry, data: bytes) -> Named:
    """What is kept of an entry: nothing of what may be secret in it."""
    is_wiped = entry.server is not None and entry.client.wipes
    return Named(
        name=entry.name,
        server=entry.server,
        digest=_digest(entry),
        client=entry.client.name,
        file=entry.place.path,
        is_read=not entry.place.unread,
        text=document.text_of(data, entry.place.kind, entry.path) if is_wiped else None,
    )


def _digest(entry: Entry) -> str:
    """What two entries are compared by: how the server is reached."""
    launch = entry.launch
    said = (
        launch.words, sorted(launch.env.items()), launch.cwd, launch.url, sorted(launch.headers.items()),
        launch.transport,
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _shortened(exc: CtlError, path: str) -> str:
    """Why a file cannot be read; that it is to be changed is said by who shares the words."""
    return str(exc).removeprefix(f"cannot change {path}: ").removesuffix("; nothing was changed")
