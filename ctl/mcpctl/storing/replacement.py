"""One attempt to put new bytes in a file's place.

The new file is written beside the old one, with its mode, owner, group and extended attributes, and swapped in. The
one that was displaced is compared with what was read: a program that wrote in the last moment finds its file back.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator

from mcpctl.storing.exchange import exchange
from mcpctl.storing.snapshot import Snapshot

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
MARK = ".mcpctl-"
"""In the names of temporary files."""


@contextlib.contextmanager
def replaced(seen: Snapshot, data: bytes) -> Iterator[str | None]:
    """Put `data` in the place of `seen`; yields the name of the displaced file, or None for a new file.

    Raises `Overtaken` when it is no longer what was seen; `OSError` when it cannot be written. What was displaced is
    deleted at the end of the context.
    """
    temporary = _written(seen, data)
    try:
        if seen.data is None:
            os.link(temporary, seen.real)  # and not a rename: another may have made it
            sync_folder(seen.real)
            yield None
        else:
            displaced = _swapped(seen, temporary)
            sync_folder(seen.real)
            yield displaced
    except FileExistsError as exc:
        raise Overtaken from exc
    finally:
        _unlink_quietly(temporary)
        _unlink_quietly(temporary + ".old")


class Overtaken(Exception):
    """Somebody else has written the file in between."""


def read(path: str) -> bytes | None:
    """The bytes at `path` now; None when there are none to be had."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def put_back(displaced: str, real: str) -> None:
    """Give a displaced file its name back."""
    if not exchange(displaced, real):
        os.replace(displaced, real)


def sync_folder(path: str) -> None:
    """Make what happened to the name of `path` last."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _swapped(seen: Snapshot, temporary: str) -> str:
    """Swap the new file in; the name that the old one has now."""
    if read(seen.real) != seen.data:
        raise Overtaken
    if exchange(temporary, seen.real):
        return temporary
    kept = temporary + ".old"
    os.link(seen.real, kept)
    os.replace(temporary, seen.real)
    return kept


def _written(seen: Snapshot, data: bytes) -> str:
    folder, name = os.path.split(seen.real)
    if seen.data is None:
        os.makedirs(folder or ".", mode=PRIVATE_FOLDER, exist_ok=True)
    path = os.path.join(folder, f".{name}{MARK}{os.getpid()}-{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, PRIVATE_FILE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        _dress(fd, seen)
        os.fsync(fd)
    except BaseException:
        _unlink_quietly(path)
        raise
    finally:
        os.close(fd)
    return path


def _dress(fd: int, seen: Snapshot) -> None:
    """Give the new file what the old one had."""
    status = seen.status
    if status is None:
        os.fchmod(fd, PRIVATE_FILE)  # an odd umask may have taken the owner's bits
        return
    if os.fstat(fd).st_gid != status.st_gid:
        os.fchown(fd, -1, status.st_gid)
    os.fchmod(fd, status.st_mode & 0o7777)
    for name in _attributes(seen.real):
        with contextlib.suppress(OSError):  # some, as security.*, are the system's to set
            os.setxattr(fd, name, os.getxattr(seen.real, name))


def _attributes(path: str) -> list[str]:
    if not hasattr(os, "listxattr"):  # macOS; Python offers none there
        return []
    try:
        return os.listxattr(path)
    except OSError:
        return []


def _unlink_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
