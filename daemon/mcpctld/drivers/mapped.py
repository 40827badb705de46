"""A file as memory that outlives us: what a stub holds on to while its daemon dies."""

import fcntl
import mmap
import os
import stat
import sys
import tempfile

from mcpctld.errors import UserError

MAX_BYTES = 1 << 36
"""Nothing of ours comes near; a file larger than this is no checkpoint."""
_ZEROS = memoryview(bytes(64 * 1024))
_SEAL_SHRINK = 2
"""<linux/fcntl.h>: F_SEAL_SHRINK. Touching memory whose file was cut short is a SIGBUS."""


class Mapped:
    """A file's bytes from `offset` on. Implements `protocols.checkpoint.Memory`; owns the descriptor.

    `raw` gives the fastest access, `view` takes what is read from other descriptors.
    """

    def __init__(self, fd: int, offset: int, size: int) -> None:
        """Map the file, at least `size` bytes of it. Raises `UserError`, and leaves `fd` open then."""
        self._fd = fd
        self._offset = offset
        self.raw: mmap.mmap
        self.view: memoryview
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size - offset > MAX_BYTES:
                raise UserError("cannot use the checkpoint: it is not a file of ours")
            self._map(max(size, found.st_size - offset))
        except (OSError, ValueError) as exc:
            raise UserError(f"cannot use the checkpoint: {exc}") from exc

    def _map(self, size: int) -> None:
        if os.fstat(self._fd).st_size < self._offset + size:
            os.ftruncate(self._fd, self._offset + size)
        _seal(self._fd)
        self.raw = mmap.mmap(self._fd, size, offset=self._offset)
        self.view = memoryview(self.raw)

    def grow(self, size: int) -> None:
        """Have at least `size` bytes; the new ones are zero."""
        old = self.raw
        self.view.release()
        self._map(size)
        old.close()

    def clear(self, start: int, stop: int) -> None:
        """Make these zero again; their pages stay."""
        for at in range(start, stop, len(_ZEROS)):
            end = min(at + len(_ZEROS), stop)
            self.raw[at:end] = _ZEROS[: end - at]

    def release(self, start: int, stop: int) -> None:
        """Make these zero again, and give their pages back where the system can (Linux)."""
        if start >= stop:
            return
        if sys.platform == "linux":
            try:
                self.raw.madvise(mmap.MADV_REMOVE, start, stop - start)
                return
            except OSError:  # not every file system makes holes
                pass
        self.clear(start, stop)

    def close(self) -> None:
        """Let go of it."""
        self.view.release()
        self.raw.close()
        os.close(self._fd)


def _seal(fd: int) -> None:
    """Let nobody make it shorter, if it can be sealed at all."""
    if sys.platform == "linux":
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEAL_SHRINK)
        except OSError:
            pass


def anonymous_file() -> int:
    """A file for a session whose stub brought none. It dies with us."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mcpctl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
