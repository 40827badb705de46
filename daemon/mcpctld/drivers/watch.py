"""Watch our configuration folder, and say when something in it may have changed.

`watchfiles` tells what happens inside a folder, cheaply; but it is blind to a folder that is
replaced, to the target of a symbolic link, and to file systems that report nothing. So its word is
a hint, and every few seconds the fingerprint of the files is compared as well.
"""

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_STEP_MS = 1500
"""How long a burst of events must rest; an idle watcher wakes in this rhythm, hence its cost."""
_DEBOUNCE_MS = 3000
"""How long a burst that does not rest is collected at most."""
_LOOK_MS = 9000
"""How often fingerprints are compared when no event comes."""
_RETRY_S = (0.5, 1.0, 2.0, 5.0)
"""The waits before watching again after the folder was lost; the last one repeats."""
_SUFFIX = ".toml"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _View:
    """What the folder looks like: which folder it is (None when absent), and its files."""

    identity: tuple[int, int] | None
    files: frozenset[tuple[str, int, int, int, int]]


async def watch_folder(
    path: str | os.PathLike[str],
    notify: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Await `notify` after changes of `.toml` files in `path` or one level below it, for ever.

    Changes are seen from the call on. The folder may be absent, vanish and come back. A `notify`
    that fails is logged, and called again at the next change. Cancelling ends this at once; its
    helper thread follows within two seconds.
    """
    watch = _Watch(os.fspath(path), notify)
    watcher = await watch.arm()
    task_status.started()
    failures = 0
    while True:
        if watcher is not None and await watch.follow(watcher):
            failures = 0
        await trio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
        failures += 1
        watcher = await watch.arm()


class _Watch:
    """The state of one watched folder: what was last seen of it."""

    def __init__(self, root: str, notify: Callable[[], Awaitable[None]]) -> None:
        self._root = root
        self._notify = notify
        self._seen: _View | None = None
        self._watched: tuple[int, int] | None = None
        self._complaint = ""

    async def arm(self) -> "RustNotify | None":
        """Begin to collect events. None when the folder cannot be watched now."""
        # Looking first tells which folder is watched; looking again, what happened in between.
        self._watched = (await self.look()).identity
        watcher = await trio.to_thread.run_sync(_arm, self._root)
        await self.look()
        if isinstance(watcher, Exception):
            self._complain(watcher)
            return None
        return watcher

    async def follow(self, watcher: "RustNotify") -> bool:
        """Notify of changes until the folder is another one or gone.

        False when it is the watcher that fails.
        """
        stop = threading.Event()
        try:
            while True:
                events = await trio.to_thread.run_sync(_wait, watcher, stop, abandon_on_cancel=True)
                now = await self.look(sure=_concerns_us(events))
                if isinstance(events, Exception):
                    self._complain(events)
                    return False
                if now.identity is None or now.identity != self._watched:
                    return True
        finally:
            stop.set()

    async def look(self, *, sure: bool = False) -> _View:
        """Compare with what was last seen; `sure` notifies even when nothing looks different."""
        before, now = self._seen, await trio.to_thread.run_sync(_view, self._root)
        self._seen = now
        if before is None or (not sure and before == now):
            return now
        try:
            await self._notify()
        except Exception:  # a guard: whatever is wrong with one reload, the next must happen
            _log.exception("watch.reload_failed", extra={"folder": self._root})
        return now

    def _complain(self, exc: Exception) -> None:
        """Log a failure to watch, once: looking goes on, only more slowly."""
        if str(exc) != self._complaint and not isinstance(exc, FileNotFoundError):
            _log.warning("watch.failed", extra={"folder": self._root, "error": str(exc)})
        self._complaint = str(exc)


def _arm(root: str) -> "RustNotify | Exception":
    from watchfiles._rust_notify import RustNotify  # late: nothing else wants anyio

    try:
        return RustNotify([root], False, False, 0, True, True)
    except (OSError, RuntimeError) as exc:  # WatchfilesRustInternalError is a RuntimeError
        return exc


def _wait(watcher: "RustNotify", stop: threading.Event) -> object:
    """The next events, a word when there are none, or what is wrong with the watcher."""
    try:
        return watcher.watch(_DEBOUNCE_MS, _STEP_MS, _LOOK_MS, stop)
    except (OSError, RuntimeError) as exc:
        return exc


def _concerns_us(events: object) -> bool:
    return isinstance(events, set) and any(path.endswith(_SUFFIX) for _, path in events)


def _view(root: str) -> _View:
    try:
        status = os.stat(root)
        folders = [root, *(entry.path for entry in os.scandir(root) if entry.is_dir())]
    except OSError:
        return _View(None, frozenset())
    files = frozenset(mark for folder in folders for mark in _marks(folder))
    return _View((status.st_dev, status.st_ino), files)


def _marks(folder: str) -> list[tuple[str, int, int, int, int]]:
    try:
        paths = [entry.path for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX)]
    except OSError:
        return []
    return [_mark(path) for path in paths]


def _mark(path: str) -> tuple[str, int, int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (path, 0, 0, 0, 0)
    return (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
