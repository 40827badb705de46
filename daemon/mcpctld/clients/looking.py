"""One look at a file of clients. Blocks: for a thread, which a file of 10 MB keeps busy for a tenth of a second."""

import hashlib

from mcpctl.clients import Entry, is_running, understand
from mcpctl.editing import document
from mcpctl.errors import CtlError
from mcpctl.storing.snapshot import look as read
from mcpctld.clients.watched import Look, Watched

EMPTY = "it is empty"


def look_at(watched: Watched) -> tuple[Look, bool]:
    """What the file says now, and whether a client that is known to wipe it runs."""
    look = _look(watched)
    is_news = watched.wipes and look.digest != watched.known.digest
    return look, is_news and any(is_running(client) for client, _ in watched.owners if client.wipes)


def _look(watched: Watched) -> Look:
    try:
        data = read(watched.path).data
    except CtlError as exc:
        return Look(None, problem=_shortened(exc, watched.path))
    if data is None:
        return Look(None)
    digest = hashlib.sha256(data).hexdigest()
    if digest == watched.known.digest:  # our own edit, or a `touch`: nothing to read
        return Look(digest)
    if not data.strip() and watched.known.entries:
        return Look(digest, problem=EMPTY)
    try:
        return _understood(watched, digest, data)
    finally:
        document.forget()


def _understood(watched: Watched, digest: str, data: bytes) -> Look:
    found = [understand(client, place, data) for client, place in watched.owners]
    problem = next((one.problem for one in found if one.problem), None)
    if any(one.data is None for one in found):
        return Look(digest, problem=(problem or "").removeprefix(f"{watched.path}: "))
    entries = {"\0".join(entry.path): entry for one in found for entry in one.entries}
    texts = _texts(watched, data, entries) if watched.wipes else {}
    return Look(digest, entries, texts, problem)


def _texts(watched: Watched, data: bytes, entries: dict[str, Entry]) -> dict[str, str]:
    texts = {}
    for key, entry in entries.items():
        text = document.text_of(data, entry.place.kind, entry.path) if entry.server else None
        if text is not None:
            texts[key] = text
    return texts


def _shortened(exc: CtlError, path: str) -> str:
    """Why a file cannot be read; that it is to be changed is said by who shares the words."""
    return str(exc).removeprefix(f"cannot change {path}: ").removesuffix("; nothing was changed")
