"""Locks: our own, so that two of our commands do not meet; and the lock folder that some clients hold."""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator

from mcpctl import wire
from mcpctl.storing.problems import CannotChange, translated

WAIT_S = 10.0
POLL_S = 0.02
STALE_S = 10.0
"""After this long without a sign of life, Cline and proper-lockfile (Roo) take a lock for a dead process's."""


@contextlib.contextmanager
def our_lock() -> Iterator[None]:
    """Hold the lock on all files of clients; `conflict` when another command of ours does not end."""
    path = f"{wire.state_dir()}/clients.lock"
    try:
        os.makedirs(wire.state_dir(), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise translated(path, exc) from exc
    try:
        _wait(lambda: _flocked(fd), path, "another mcpctl holds it; try again when it is done")
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def client_lock(path: str) -> Iterator[None]:
    """Hold the folder `PATH.lock`, as the client does while it writes.

    It is never empty: it is filled before it gets its name, and names its owner.
    """
    lock = path + ".lock"
    owner = f"owner.{os.getpid()}.{secrets.token_hex(8)}"
    staged = f"{lock}.tmp.{owner}"
    try:
        os.makedirs(staged, mode=0o700)
        with open(f"{staged}/{owner}", "x", encoding="ascii") as file:
            file.write(owner)
        _wait(lambda: _published(staged, lock), path, "its client is writing it; try again")
    except OSError as exc:
        shutil.rmtree(staged, ignore_errors=True)
        raise translated(path, exc) from exc
    except CannotChange:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # another may have taken it for a dead one's
            os.unlink(f"{lock}/{owner}")
            os.rmdir(lock)


def _flocked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _published(staged: str, lock: str) -> bool:
    _reclaim(lock)
    if os.path.lexists(lock):  # Roo's is empty, and a rename would take it
        return False
    try:
        os.rename(staged, lock)
    except OSError:
        return False
    return True


def _reclaim(lock: str) -> None:
    try:
        age = time.time() - os.lstat(lock).st_mtime
    except OSError:
        return
    if age > STALE_S:
        aside = f"{lock}.stale.{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            os.rename(lock, aside)
            shutil.rmtree(aside, ignore_errors=True)


def _wait(taken: Callable[[], bool], path: str, why: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not taken():
        if time.monotonic() > deadline:
            raise CannotChange(path, why, "conflict")
        time.sleep(POLL_S)
