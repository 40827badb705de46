"""The client's stderr: written to without ever blocking, for a terminal may be stopped and a pipe left unread."""

import os
import select
import socket
import stat
import sys

PIPE_BUF = select.PIPE_BUF
"""A pipe that `poll` calls writable takes this much without blocking (POSIX; 4096 on Linux, 512 on macOS)."""


class ClientStderr:
    """Descriptor 2 of the attached client, which we own. What cannot be written at once is dropped.

    The descriptor is shared with other processes, so it must not be made non-blocking: that flag sits on the open
    file description. Linux opens a second one of a pipe or terminal through `/proc`; for sockets there is a flag of
    the call; elsewhere the descriptor is asked first, and given no more than a writable pipe takes at once.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kind: int | None = None

    def write(self, data: bytes) -> None:
        """Pass on as much as can be written now."""
        if self._fd < 0:
            return
        try:
            if self._kind is None:
                self._kind = self._prepare()
            self._write(data)
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more
            self.close()

    def _prepare(self) -> int:
        """Find out what it is; where that is possible replace it by a description of our own."""
        kind = stat.S_IFMT(os.fstat(self._fd).st_mode)
        if kind in (stat.S_IFIFO, stat.S_IFCHR) and sys.platform == "linux":
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                own = os.open(f"/proc/self/fd/{self._fd}", flags)
            except (PermissionError, FileNotFoundError):  # made by another user, or no /proc here
                return kind
            os.close(self._fd)
            self._fd = own
            return stat.S_IFREG  # it may now be written to as simply
        return kind

    def _write(self, data: bytes) -> None:
        if self._kind == stat.S_IFREG:
            os.write(self._fd, data)
        elif self._kind == stat.S_IFSOCK:
            with socket.socket(fileno=os.dup(self._fd)) as sock:
                sock.send(data, socket.MSG_DONTWAIT)
        else:
            self._write_what_fits(data)

    def _write_what_fits(self, data: bytes) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        for start in range(0, len(data), PIPE_BUF):
            if not any(event == select.POLLOUT for _, event in poll.poll(0)):
                return
            os.write(self._fd, data[start : start + PIPE_BUF])

    def close(self) -> None:
        """Close it; what is written later is dropped."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
