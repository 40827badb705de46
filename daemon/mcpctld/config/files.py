"""Files on disk: read without trusting what lies there, written whole or not at all. Blocking."""

import os
import shlex
import stat
from dataclasses import dataclass

from mcpctld.errors import McpctlError, UserError

MAX_FILE_BYTES = 1024 * 1024
"""A configuration file has a few hundred bytes; more than this is a mistake, and is not read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was read: its bytes, and who may write it."""

    data: bytes
    mode: int
    uid: int


def read_regular(
    path: str, *, follow: bool = True, max_bytes: int = MAX_FILE_BYTES
) -> Found | None:
    """Read a regular file of at most `max_bytes`; None when there is none.

    Never blocks on a FIFO or device. Raises `UserError` when it is not a readable regular file.
    """
    # O_NONBLOCK: opening a FIFO must not wait for a writer; it changes nothing for a regular file.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except FileNotFoundError as exc:
        if os.path.islink(path):
            raise UserError("it is a symbolic link to nothing") from exc
        return None
    except OSError as exc:
        raise UserError(f"it cannot be opened: {exc.strerror or exc}") from exc
    try:
        return _read_fd(fd, max_bytes)
    except OSError as exc:
        raise UserError(f"it cannot be read: {exc.strerror or exc}") from exc
    finally:
        os.close(fd)


def _read_fd(fd: int, max_bytes: int) -> Found:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UserError("it is not a regular file")
    data = bytearray()
    while chunk := os.read(fd, 65536):
        data += chunk
        if len(data) > max_bytes:
            raise UserError(f"it is larger than {max_bytes // 1024} KiB")
    return Found(bytes(data), stat.S_IMODE(status.st_mode), status.st_uid)


def check_trust(found: Found, path: str) -> None:
    """Refuse a file that another user may have written, or put into its folder.

    It names a program to run, or where secrets go. Files of root are trusted: root needs none of
    ours, and system-wide configuration management makes them so. Raises `UserError`.
    """
    folder = os.path.dirname(path)
    try:
        status = os.stat(folder)
    except OSError as exc:
        raise UserError(f"its folder cannot be examined: {exc.strerror or exc}") from exc
    for what, uid, mode in ((path, found.uid, found.mode), (folder, status.st_uid, status.st_mode)):
        if uid not in (0, os.getuid()):
            raise UserError(
                f"{what} belongs to user {uid}, who could choose what is run or where secrets "
                "go; make it yours"
            )
        if mode & 0o022:
            raise UserError(
                f"others can write {what} and so choose what is run or where secrets go; "
                f"run: chmod go-w {shlex.quote(what)}"
            )


def write_private(path: str, data: bytes) -> None:
    """Replace `path` with `data`, mode 0600: after a crash it holds the old bytes or the new ones.

    Raises `UserError` when it cannot be written; the old file is then intact. One writer at a time.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    try:
        _write_new(temporary, data)
        os.rename(temporary, path)
        _sync_folder(os.path.dirname(path))
    except OSError as exc:
        _unlink_quietly(temporary)
        raise _cannot_write(path, exc) from exc


def _write_new(path: str, data: bytes) -> None:
    _unlink_quietly(path)  # left by a writer that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        os.fchmod(fd, 0o600)  # an odd umask may have taken the owner's bits
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _cannot_write(path: str, exc: OSError) -> McpctlError:
    reason = exc.strerror or str(exc)
    return UserError(f"cannot write {path}: {reason}; nothing was changed")
