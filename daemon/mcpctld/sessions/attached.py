"""What an attach stub handed over: its descriptors, the connection to its waiting shell, and who it is."""

import os
import select
import sys

import trio

from mcpctld.drivers.unix import peer_pid

PIPE_BUF = 4096
"""A pipe that poll calls writable takes this much without blocking (POSIX `PIPE_BUF` on Linux; macOS has 512)."""


class Attached:
    """Owns the descriptors and the control connection."""

    def __init__(
        self, control: trio.socket.SocketType, fds: list[int], fields: list[tuple[str, str]]
    ) -> None:
        self.control = control
        self.stdin, self.stdout, self.stderr = fds
        self.fields = fields
        given = dict(fields)
        self.cwd = given.get("cwd") or None
        self.copied = "copied" in given
        self.pid = peer_pid(control)
        self.parent_name = _process_name(given.get("ppid", ""))

    def client_is_gone(self) -> bool:
        """Whether nobody can read our answers any more."""
        poll = select.poll()
        poll.register(self.stdout, 0)
        return any(
            event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0)
        )

    def write_stderr(self, data: bytes) -> None:
        """Pass on as much as can be written now; never blocks.

        The descriptor is shared with others, so it is not made non-blocking: it is asked first, and given no more
        than a writable pipe takes at once.
        """
        poll = select.poll()
        poll.register(self.stderr, select.POLLOUT)
        for start in range(0, len(data), PIPE_BUF):
            if not any(event == select.POLLOUT for _, event in poll.poll(0)):
                return
            try:
                os.write(self.stderr, data[start : start + PIPE_BUF])
            except OSError:
                return

    async def release(self, code: int, text: str) -> None:
        """Let the waiting shell go, with its exit code and a line for its stderr; closes the connection."""
        line = f"{code} {' '.join(text.split())}".encode("utf-8", "replace")[:8000] + b"\n"
        with trio.move_on_after(1):
            try:
                await self.control.send(line)
            except OSError:
                pass  # it is gone already
        self.control.close()

    def close_stderr(self) -> None:
        """Close the one descriptor that no stream owns."""
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1

    def close(self) -> None:
        """Close everything, before any stream took the descriptors over."""
        for fd in (self.stdin, self.stdout):
            os.close(fd)
        self.close_stderr()
        self.control.close()


def _process_name(pid: str) -> str | None:
    """The name of a process, where the system tells it cheaply."""
    if sys.platform != "linux" or not pid.isdigit():
        return None
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip() or None
    except OSError:
        return None
