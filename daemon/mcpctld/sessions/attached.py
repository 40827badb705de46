"""What an attach stub handed over: descriptors, the checkpoint, the connection to its waiting shell, and who it is."""

import os
import select
import sys

import trio

from mcpctl import wire
from mcpctld.drivers.mapped import Mapped, anonymous_file
from mcpctld.drivers.unix import check_peer, peer_pid, receive_greeting
from mcpctld.errors import McpctlError, PeerError, UserError
from mcpctld.protocols.checkpoint_format import UNIT, Unusable, read
from mcpctld.sessions.checkpoint import Logbook
from mcpctld.sessions.stderr import ClientStderr

RELEASE_BOUND_S = 1.0
MAX_TEXT = 8000
MAX_COMM = 256
"""Bytes of `/proc/PID/comm` (proc(5): 16 with the newline; more for workers of the kernel)."""


class Attached:
    """Owns the descriptors and the control connection."""

    def __init__(
        self, control: trio.socket.SocketType, fds: list[int], fields: list[tuple[str, str]]
    ) -> None:
        self.control = control
        self.stdin, self.stdout, stderr, *checkpoint = fds
        self.stderr = ClientStderr(stderr)
        self._checkpoint = checkpoint[0] if checkpoint else None
        self.comes_again = bool(checkpoint)
        """Whether the stub can take its session to another daemon."""
        self._logbook: Logbook | None = None
        self.fields = fields
        given = dict(fields)
        self.cwd = given.get("cwd") or None
        self.pid = peer_pid(control)
        self.parent_name = _process_name(given.get("ppid", ""))

    def open_logbook(self, max_message_bytes: int) -> Logbook:
        """The checkpoint, with what the last daemon left in it; a passing one if the stub brought none.

        Raises `UserError` when it cannot be used.
        """
        if self._logbook is not None:
            return self._logbook
        fd = anonymous_file() if self._checkpoint is None else self._checkpoint
        self._checkpoint = fd
        memory = Mapped(fd, wire.CHECKPOINT_AT, 3 * UNIT)
        self._checkpoint = None
        try:
            self._logbook = Logbook(memory, max_message_bytes, read(memory.raw))
        except Unusable as exc:
            memory.close()
            raise UserError(
                f"cannot go on with the session: {exc}; start the client again"
            ) from exc
        return self._logbook

    def client_is_gone(self) -> bool:
        """Whether nobody can read our answers any more."""
        poll = select.poll()
        poll.register(self.stdout, 0)
        return any(
            event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0)
        )

    async def release(self, code: int, text: str) -> None:  # noqa: ASYNC910  (`send` waits or fails)
        """Let the waiting shell go, with its exit code and a line for its stderr; closes the connection."""
        printable = "".join(char if char.isprintable() else " " for char in text)
        line = f"{code} {' '.join(printable.split())[:MAX_TEXT]}\n".encode("utf-8", "replace")
        with trio.move_on_after(RELEASE_BOUND_S):
            try:
                await self.control.send(line)
            except OSError:
                pass  # it is gone already
        self.control.close()

    def say(self, data: bytes) -> None:
        """Write to the client, before any stream took the descriptors over, as much as it takes at once."""
        blocking = os.get_blocking(self.stdout)
        os.set_blocking(self.stdout, False)
        try:
            os.write(self.stdout, data)
        except OSError:
            pass  # it does not read, or is gone
        finally:
            os.set_blocking(self.stdout, blocking)

    async def let_go(self) -> None:
        """Let the waiting shell come again, to the next daemon: close the connection without a word."""
        self.control.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_away(self, error: McpctlError) -> None:
        """There will be no session: tell why, and close everything."""
        try:
            await self.release(wire.exit_code(error.kind), f"mcpctl: {error}")
        finally:
            self.close()

    def close(self) -> None:
        """Close everything, before any stream took the descriptors over."""
        for fd in (self.stdin, self.stdout):
            os.close(fd)
        self.stderr.close()
        if self._checkpoint is not None:
            os.close(self._checkpoint)
        if self._logbook is not None:
            self._logbook.close()
        self.control.close()


async def receive(control: trio.socket.SocketType) -> Attached:
    """Take over what a stub that has just connected hands over.

    Raises `McpctlError` or `OSError` when it does not greet properly; the connection is closed then.
    """
    try:
        check_peer(control)
        fields, fds = await receive_greeting(control)
        if len(fds) not in (3, 4):
            for fd in fds:
                os.close(fd)
            raise PeerError(f"not an attach greeting: {len(fds)} descriptors instead of 4")
        return Attached(control, fds, fields)
    except BaseException:
        control.close()
        raise


def _process_name(pid: str) -> str | None:
    """The name of a process, where the system tells it cheaply."""
    if sys.platform != "linux" or not pid.isdigit():
        return None
    try:
        fd = os.open(f"/proc/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, MAX_COMM).decode(errors="replace").strip() or None
    except OSError:  # it has ended meanwhile
        return None
    finally:
        os.close(fd)
