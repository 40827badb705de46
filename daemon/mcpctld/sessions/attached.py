"""What an attach stub handed over: its descriptors, the connection to its waiting shell, and who it is."""

import os
import select
import sys

import trio

from mcpctl import wire
from mcpctld.drivers.unix import check_peer, peer_pid, receive_greeting
from mcpctld.errors import McpctlError, PeerError
from mcpctld.sessions.stderr import ClientStderr

RELEASE_BOUND_S = 1.0
MAX_TEXT = 8000


class Attached:
    """Owns the descriptors and the control connection."""

    def __init__(
        self, control: trio.socket.SocketType, fds: list[int], fields: list[tuple[str, str]]
    ) -> None:
        self.control = control
        self.stdin, self.stdout, stderr = fds
        self.stderr = ClientStderr(stderr)
        self.fields = fields
        given = dict(fields)
        self.cwd = given.get("cwd") or None
        self.pid = peer_pid(control)
        self.parent_name = _process_name(given.get("ppid", ""))

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
        self.control.close()


async def receive(control: trio.socket.SocketType) -> Attached:
    """Take over what a stub that has just connected hands over.

    Raises `McpctlError` or `OSError` when it does not greet properly; the connection is closed then.
    """
    try:
        check_peer(control)
        fields, fds = await receive_greeting(control)
        if len(fds) != 3:
            for fd in fds:
                os.close(fd)
            raise PeerError(f"not an attach greeting: {len(fds)} descriptors instead of 3")
        return Attached(control, fds, fields)
    except BaseException:
        control.close()
        raise


def _process_name(pid: str) -> str | None:
    """The name of a process, where the system tells it cheaply."""
    if sys.platform != "linux" or not pid.isdigit():
        return None
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip() or None
    except OSError:
        return None
