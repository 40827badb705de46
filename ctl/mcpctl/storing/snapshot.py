"""One look at a file: where it really is, what it holds, whose it is."""

import os
import stat
from dataclasses import dataclass, field

from mcpctl.storing.problems import CannotChange, translated

MAX_BYTES = 64 * 1024 * 1024
"""The largest configuration seen has 20 MB; more than this is a mistake, and is not read."""

_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen of the file that `path` leads to; `data` and `status` are None where there is none."""

    path: str
    real: str
    data: bytes | None = field(repr=False)
    status: os.stat_result | None = field(repr=False)


def look(path: str) -> Snapshot:
    """Read a file through its symbolic links. Raises `CannotChange`.

    Never blocks on a FIFO or device, and reads no more than `MAX_BYTES`.
    """
    try:
        real = resolve(path)
        fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as exc:
        if os.path.islink(path):
            raise CannotChange(path, "it is a symbolic link to nothing") from exc
        return Snapshot(path, path, None, None)
    except OSError as exc:
        raise translated(path, exc) from exc
    try:
        return Snapshot(path, real, *_read(path, fd))
    except OSError as exc:
        raise translated(path, exc) from exc
    finally:
        os.close(fd)


def resolve(path: str) -> str:
    """Where the symbolic links of the last part of `path` lead, which may be nowhere."""
    here = path
    for _ in range(_MAX_LINKS):
        try:
            target = os.readlink(here)
        except OSError:  # not a link, or not there
            return here
        here = os.path.join(os.path.dirname(here), target)
    raise CannotChange(path, "its symbolic links lead in a circle")


def check_writable(seen: Snapshot) -> None:
    """Refuse a file that is not to be written, and one that a replacement would make another. Raises `CannotChange`.

    The mode is read, not tried: nothing stops the superuser.
    """
    status = seen.status
    if status is None:
        return
    if status.st_uid != os.geteuid():
        raise CannotChange(
            seen.path, f"it belongs to user {status.st_uid}; run this as that user", "denied"
        )
    if not status.st_mode & stat.S_IWUSR:
        why = "it is read-only, perhaps made by another program; edit its source, or allow writing: chmod u+w"
        raise CannotChange(seen.path, why, "denied")
    if status.st_nlink > 1:
        why = f"it has {status.st_nlink} names (hard links), and only one of them would change"
        raise CannotChange(seen.path, why)


def _read(path: str, fd: int) -> tuple[bytes, os.stat_result]:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise CannotChange(path, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise CannotChange(path, "it is not a regular file")
    if not status.st_mode & stat.S_IRUSR and status.st_uid == os.geteuid():
        raise CannotChange(path, "its mode forbids to read it; chmod u+rw allows it", "denied")
    data = bytearray()
    _check_size(path, status.st_size)
    while chunk := os.read(fd, 1024 * 1024):
        data += chunk
        _check_size(path, len(data))
    return bytes(data), status


def _check_size(path: str, size: int) -> None:
    if size > MAX_BYTES:
        raise CannotChange(path, f"it is larger than {MAX_BYTES // 2**20} MiB")
