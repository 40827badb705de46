"""A server that runs here: started in a process group of its own, and never left behind."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import trio

from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import Unreachable, UserError

EOF_GRACE_S = 2.0
"""How long a process may take to exit after its stdin was closed (MCP, stdio, "Shutdown")."""
TERM_GRACE_S = 2.0
KILL_BOUND_S = 2.0
POLL_S = 0.02


class Child:
    """A process with its three streams. `stop` ends it and everything it started that stayed in its group."""

    def __init__(
        self, process: trio.Process, io: DescriptorStream, stderr: DescriptorStream
    ) -> None:
        self._process = process
        self.io = io
        self.stderr = stderr

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code once it has ended, negative for a signal."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end: the exit code, negative for a signal."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Close its stdin; then SIGTERM, then SIGKILL, to the whole group. Takes at most some 6 s."""
        with trio.CancelScope(shield=True):
            self.io.close_writing()
            if not await self._gone_within(EOF_GRACE_S):
                self._signal(signal.SIGTERM)
                if not await self._gone_within(TERM_GRACE_S):
                    self._signal(signal.SIGKILL)
                    await self._gone_within(KILL_BOUND_S)
            await self._stop_rest()
            self.io.close()
            self.stderr.close()

    async def _gone_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._process.wait()
        return self._process.returncode is not None

    async def _stop_rest(self) -> None:
        """End what the process started and did not take with it: a shell's child, say."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self._signal(sign):
                return
            with trio.move_on_after(TERM_GRACE_S):
                while self._signal(0):
                    await trio.sleep(POLL_S)

    def _signal(self, number: int) -> bool:
        """Signal the group; False when nobody is left in it."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            return False
        return True


async def start_child(
    nursery: trio.Nursery, argv: Sequence[str], env: Mapping[str, str], cwd: str | None
) -> Child:
    """Start a process with pipes. Raises `UserError` when it cannot be, `Unreachable` when the system is short of something."""
    pipes = [os.pipe() for _ in range(3)]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    try:
        process = await trio.lowlevel.open_process(
            list(argv),
            stdin=in_read,
            stdout=out_write,
            stderr=err_write,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except BaseException as exc:
        for fd in (in_write, out_read, err_read):
            os.close(fd)
        if isinstance(exc, OSError | subprocess.SubprocessError | ValueError):
            raise _explain(argv, cwd, exc) from exc
        raise
    finally:
        for fd in (in_read, out_write, err_write):
            os.close(fd)
    return Child(
        process,
        DescriptorStream(nursery, out_read, in_write),
        DescriptorStream(nursery, err_read, None),
    )


def _explain(argv: Sequence[str], cwd: str | None, exc: Exception) -> UserError | Unreachable:
    if isinstance(exc, FileNotFoundError) and cwd is not None and not os.path.isdir(cwd):
        return UserError(f"cannot start {argv[0]}: its folder {cwd} does not exist")
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        return UserError(
            f"cannot start {argv[0]}: no such program; was it moved? add the server again"
        )
    if isinstance(exc, PermissionError):
        return UserError(f"cannot start {argv[0]}: not allowed to run it")
    return Unreachable(f"cannot start {argv[0]}: {getattr(exc, 'strerror', None) or exc}")
