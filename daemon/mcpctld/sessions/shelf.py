"""What outlives the daemon and may be lost: answers of servers, and what was learned of them.

One private file per record in `cache/` of the state folder. Its name is a keyed digest (HMAC) of what the record is
about, so that names show neither servers nor credentials. Each file begins with a keyed digest of the rest: what was
truncated, damaged, or put there by somebody else is not used.

The disk is touched in threads only. `Shelf` belongs to the event loop, `Folder` to the threads.
"""

import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from mcpctld.config.files import read_regular, write_private
from mcpctld.config.places import make_private_folder
from mcpctld.errors import McpctlError, PeerError, UserError
from mcpctld.protocols.mcp.caching import MAX_AGE_S, MAX_RESULT_BYTES

MAX_BYTES = 64 * 1024 * 1024
"""Of all files together; the oldest go first."""
MAX_RECORD_BYTES = MAX_RESULT_BYTES + 4096
MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Of what waits for a slow disk; more is not kept."""
BLOCK = 4096
"""What the smallest file takes on a disk, and so how it is counted."""

KEY_BYTES = TAG_BYTES = 32
_NAME = re.compile(r"[0-9a-f]{32}")
_LEFT_OVER = re.compile(r"\.(?:[0-9a-f]{32}|key)\.new")

_log = logging.getLogger("mcpctld.cache")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file: its size as counted; what is in it, and until when (trio's clock) that need not be written again."""

    size: int
    mark: bytes = b""
    until: float = 0.0


class Shelf:
    """Records by label (any bytes). Reading may wait; writing happens later; neither ever raises."""

    def __init__(self, state_dir: str, nursery: trio.Nursery, max_bytes: int = MAX_BYTES) -> None:
        self._folder = Folder(os.path.join(state_dir, "cache"))
        self._nursery = nursery
        self._max_bytes = max_bytes
        self._files: dict[str, _Kept] = {}  # the oldest first
        self._bytes = 0
        self._pending: dict[str, bytes] = {}
        self._doomed: list[str] = []
        self._opening = trio.Lock()
        self._key = b""
        self._usable = False
        self._writing = False
        self._written = trio.lowlevel.ParkingLot()
        self._failing = False

    def is_open(self) -> bool:
        """Whether it is known what is there."""
        return bool(self._key)

    async def open(self) -> None:
        """Look what is there; once, further calls do nothing. Without a usable folder nothing is kept."""
        if self.is_open():
            return  # noqa: ASYNC910  (each session begins with this: nothing is waited for)
        async with self._opening:
            if self.is_open():
                return
            try:
                sizes = await trio.to_thread.run_sync(self._folder.open)
            except McpctlError as exc:
                _log.warning("cache.unusable", extra={"error": str(exc)})
            else:
                self._usable = True
                for name, size in sizes.items():
                    self._count(name, _Kept(size))
                self._make_room()
                self._start_writing()
            self._key = self._folder.key

    def name(self, label: bytes) -> str:
        """The keyed digest of a label, as hex digits. Needs `open`."""
        return _keyed(self._key, b"name", label)[:16].hex()

    # ------------------------------------------------------------ reading

    async def read(self, label: bytes) -> bytes | None:
        """The record; None when there is none that can be used."""
        await self.open()
        name = self.name(label)
        if name in self._pending:
            return self._pending[name]
        # It is looked for even if it is not in `_files`: the daemon before this one may still be writing.
        return await trio.to_thread.run_sync(self._folder.read, name)

    # ------------------------------------------------------------ writing

    def write(self, label: bytes, data: bytes, *, mark: bytes = b"", lasts_s: float = 0.0) -> None:
        """Keep a record in place of the one that is there.

        With the same `mark` it is not written again before `lasts_s` have passed.
        """
        if not self._usable or len(data) > MAX_RECORD_BYTES:
            return
        name, now = self.name(label), trio.current_time()
        kept = self._files.get(name)
        if mark and kept is not None and kept.mark == mark and now < kept.until:
            return
        if sum(map(len, self._pending.values())) + len(data) > MAX_PENDING_BYTES:
            return
        self._count(name, _Kept(_counted(TAG_BYTES + len(data)), mark, now + lasts_s))
        self._pending[name] = data
        self._make_room()
        self._start_writing()

    def _count(self, name: str, kept: _Kept) -> None:
        """The file is the newest now."""
        old = self._files.pop(name, None)
        self._files[name] = kept
        self._bytes += kept.size - (old.size if old else 0)

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes:
            name = next(iter(self._files))
            self._bytes -= self._files.pop(name).size
            self._pending.pop(name, None)
            self._doomed.append(name)

    def _start_writing(self) -> None:
        if not self._writing and (self._pending or self._doomed):
            self._writing = True
            self._nursery.start_soon(self._write_all)

    async def _write_all(self) -> None:  # noqa: ASYNC910  (a task of its own)
        try:
            while self._pending or self._doomed:
                doomed, self._doomed = self._doomed, []
                todo = next(iter(self._pending.items()), None)
                await self._write_one(todo, doomed)
                if todo is not None and self._pending.get(todo[0]) is todo[1]:
                    del self._pending[todo[0]]
        finally:
            self._writing = False
            self._written.unpark_all()

    async def _write_one(  # noqa: ASYNC910  (a thread that fails was waited for, too)
        self, todo: tuple[str, bytes] | None, doomed: list[str]
    ) -> None:
        try:
            await trio.to_thread.run_sync(self._folder.change, todo, doomed)
        except McpctlError as exc:
            if not self._failing:  # a full disk is told of once
                _log.warning("cache.not_written", extra={"error": str(exc)})
            self._failing = True
        else:
            self._failing = False

    async def flush(self) -> None:
        """Wait until everything is written."""
        await trio.lowlevel.checkpoint()
        while self._writing:
            await self._written.park()


class Folder:
    """The files. Blocking; one thread at a time may change something."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.key = secrets.token_bytes(KEY_BYTES)
        """Replaced by the one that is there, if there is one."""

    def open(self) -> dict[str, int]:
        """Make the folder and the key, or read them; the counted sizes of the files by name, the oldest first.

        Raises `McpctlError` when the folder cannot be used.
        """
        self._prepare(self._read_key() or self.key)
        try:
            return {name: size for _, name, size in sorted(self._look())}
        except OSError as exc:
            reason = exc.strerror or exc
            raise UserError(f"cannot list the folder {self._path}: {reason}") from exc

    def _look(self) -> Iterator[tuple[float, str, int]]:
        """When it was written, name and counted size of each file that is still of use; others are removed."""
        cutoff = time.time() - MAX_AGE_S
        for entry in os.scandir(self._path):
            if _LEFT_OVER.fullmatch(entry.name):
                self._remove(entry.name)
            elif _NAME.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                if status.st_mtime < cutoff:
                    self._remove(entry.name)
                else:
                    yield status.st_mtime, entry.name, _counted(status.st_size)

    def _prepare(self, key: bytes) -> None:
        make_private_folder(self._path)
        self.key = key
        path = os.path.join(self._path, "key")
        if not os.path.exists(path):
            write_private(path, key)

    def _read_key(self) -> bytes | None:
        path = os.path.join(self._path, "key")
        try:
            found = read_regular(path, follow=False, max_bytes=KEY_BYTES)
        except UserError as exc:
            _log.warning("cache.new_key", extra={"error": str(exc)})
            self._remove("key")
            return None
        if found is None:
            return None
        if found.uid == os.getuid() and not found.mode & 0o077 and len(found.data) == KEY_BYTES:
            return found.data
        _log.warning("cache.new_key", extra={"error": "the old one may be known to others"})
        self._remove("key")
        return None

    def read(self, name: str) -> bytes | None:
        """The record of this name; None, with a warning, when the file is not what we wrote."""
        path = os.path.join(self._path, name)
        try:
            found = read_regular(path, follow=False, max_bytes=TAG_BYTES + MAX_RECORD_BYTES)
            return None if found is None else self._checked(name, found.data)
        except McpctlError as exc:
            _log.warning("cache.ignored", extra={"file": path, "error": str(exc)})
            return None

    def _checked(self, name: str, file: bytes) -> bytes:
        tag, data = file[:TAG_BYTES], file[TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(name, data)):
            raise PeerError("it is damaged, or another daemon's")
        return data

    def _tag(self, name: str, data: bytes) -> bytes:
        return _keyed(self.key, name.encode(), data)

    def change(self, record: tuple[str, bytes] | None, doomed: list[str]) -> None:
        """Remove some files and write one. Raises `McpctlError` when it cannot be written."""
        for name in doomed:
            self._remove(name)
        if record is not None:
            name, data = record
            self._prepare(self.key)  # somebody may have emptied the cache
            write_private(os.path.join(self._path, name), self._tag(name, data) + data)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(os.path.join(self._path, name))
        except OSError:
            pass


def _keyed(key: bytes, purpose: bytes, data: bytes) -> bytes:
    """A keyed digest that nobody without the key can make; `purpose` holds no NUL."""
    return hmac.digest(key, b"%b\0%b" % (purpose, data), "sha256")


def _counted(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
