"""Watch a few files that lie anywhere, and say which may have changed.

`watchfiles` watches folders, without what is below them: a file that is replaced by a rename is lost to who watches the
file itself. For each file these are the folders of every symbolic link on the way and of what they lead to, or the
nearest ones that are there. Events are hints; what counts besides is a comparison of `stat`, which also sees what
file systems keep to themselves: every second where they are known to, else every few.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mcpctld.drivers import mounts

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_STEP_MS = 250
"""How long a burst of events must rest. With as much until the first is seen, news are half a second old."""
_DEBOUNCE_MS = 500
"""How long a burst that does not rest is collected at most."""
_LOOK_MS = 5000
"""How often files are compared when no event comes."""
_POLL_S = 1.0
"""The same where no event ever comes."""
_MAX_LINKS = 40

Mark = tuple[int, ...] | None
"""What `stat` says of a file: equal as long as nobody has touched it. None: there is none."""

Notify = Callable[[Collection[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class View:
    """What the files look like, and the folders (with their identities) in which something would happen to them."""

    marks: dict[str, Mark] = field(default_factory=dict)
    folders: frozenset[tuple[str, int, int]] = frozenset()


async def watch_files(wanted: Callable[[], Iterable[str]], notify: Notify) -> None:
    """Await `notify` with the paths that are new or may have changed, for ever.

    `wanted` answers absolute paths, and is asked again every time; the files need not exist. Cancelling ends this at
    once; its helper thread follows within a quarter of a second.
    """
    watch = _Watch(wanted, notify)
    while True:
        watcher = await watch.arm()
        if watcher is None or not await watch.follow(watcher):
            await trio.sleep(_POLL_S)


class _Watch:
    """What was last seen, and the folders that are watched."""

    def __init__(self, wanted: Callable[[], Iterable[str]], notify: Notify) -> None:
        self._wanted = wanted
        self._notify = notify
        self._seen = View()
        self._watched: frozenset[tuple[str, int, int]] = frozenset()

    async def arm(self) -> "RustNotify | None":
        """Begin to collect events. None when there is nothing, or no way, to collect any."""
        # Looking first tells which folders to watch; looking again, what happened in between.
        await self.look()
        self._watched = self._seen.folders
        watcher = await trio.to_thread.run_sync(_arm, self._folders())
        await self.look()
        return watcher

    async def follow(self, watcher: "RustNotify") -> bool:
        """Notify of changes, until other folders are to be watched. False when it is the watcher that fails."""
        stop = threading.Event()
        folders = self._folders()
        silent = await trio.to_thread.run_sync(mounts.are_silent, folders)
        timeout_ms = int(_POLL_S * 1000) if silent else _LOOK_MS
        try:
            while self._seen.folders == self._watched:
                events = await trio.to_thread.run_sync(
                    _wait, watcher, timeout_ms, stop, abandon_on_cancel=True
                )
                await self.look(events or ())
                if events is None or not events.isdisjoint(folders):
                    return events is not None  # one that went and came may have its old identity
            return True
        finally:
            stop.set()

    def _folders(self) -> list[str]:
        return sorted(path for path, _, _ in self._watched)

    async def look(self, events: Collection[str] = ()) -> None:
        """Compare with what was last seen; files that `events` name count as changed."""
        before, paths = self._seen, list(self._wanted())
        now = await trio.to_thread.run_sync(view, paths)
        self._seen = now
        news = {
            path
            for path, mark in now.marks.items()
            if path in events or path not in before.marks or before.marks[path] != mark
        }
        if news:
            await self._notify(news)


def view(paths: Iterable[str]) -> View:
    """Look at files. Blocks, for as long as `stat` does."""
    marks: dict[str, Mark] = {}
    folders: set[tuple[str, int, int]] = set()
    for path in paths:
        marks[path] = _mark(path)
        folders.update(filter(None, map(_nearest, _way(path))))
    return View(marks, frozenset(folders))


def _way(path: str) -> Iterator[str]:
    """The path, and each one that it leads to as a symbolic link."""
    for _ in range(_MAX_LINKS):
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:  # not a link, or not there
            return


def _nearest(path: str) -> tuple[str, int, int] | None:
    """The folder of a path, or the nearest one above that is there."""
    while path != (path := os.path.dirname(path)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        return (path, status.st_dev, status.st_ino)
    return None


def _mark(path: str) -> Mark:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def _arm(folders: list[str]) -> "RustNotify | None":
    from watchfiles._rust_notify import RustNotify  # late: nothing else wants anyio

    try:
        return RustNotify(folders, False, False, 0, False, True) if folders else None
    except (OSError, RuntimeError):  # a folder has gone, or the system has no watches left
        return None


def _wait(watcher: "RustNotify", timeout_ms: int, stop: threading.Event) -> frozenset[str] | None:
    """The paths of the next events, none after `timeout_ms`; None when the watcher fails."""
    try:
        events = watcher.watch(_DEBOUNCE_MS, _STEP_MS, timeout_ms, stop)
    except (OSError, RuntimeError):
        return None
    return frozenset(path for _, path in events) if isinstance(events, set) else frozenset()
