"""A server that runs here: started in a process group of its own, and never left behind."""

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import trio

from mcpctld.drivers.guardian import Guardian
from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import Unreachable, UserError

POLL_S = 0.02

_guardian = Guardian()
"""One for all children of this process."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step of stopping may take, in seconds (MCP, stdio, "Shutdown")."""

    eof_s: float = 2.0
    """To take what was sent, and to exit once stdin is closed."""
    term_s: float = 2.0
    """To exit after SIGTERM."""
    kill_s: float = 2.0
    """To be gone after SIGKILL; what is stuck in the kernel then is left to it."""


class Child:
    """A process with its three streams. `stop` ends it and everything it started that stayed in its group."""

    def __init__(
        self,
        process: trio.Process,
        io: DescriptorStream,
        stderr: DescriptorStream,
        patience: Patience,
    ) -> None:
        self._process = process
        self._patience = patience
        self._stopping = trio.Lock()
        self._stopped = False
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
        """Close its stdin; then SIGTERM, then SIGKILL, to the whole group. May be called again, and is not cancelled.

        Takes at most the sum of the patience. Whoever reads its stdout and stderr should go on: a process that cannot
        write does not exit either.
        """
        with trio.CancelScope(shield=True):  # bounded by `Patience`
            async with self._stopping:
                if not self._stopped:
                    await self._end()
                    await _guardian.forget(self.pid)
                    self._stopped = True
            self.io.close()
            self.stderr.close()

    async def _end(self) -> None:
        patience = self._patience
        with trio.move_on_after(patience.eof_s):
            await self.io.wait_sent()
            self.io.close_writing()
            await self._process.wait()
        self.io.close_writing()
        for sign, seconds in ((signal.SIGTERM, patience.term_s), (signal.SIGKILL, patience.kill_s)):
            if self._process.returncode is not None and not has_members(self.pid):
                return
            signal_group(self.pid, sign)
            with trio.move_on_after(seconds):
                await self._gone()

    async def _gone(self) -> None:
        """Wait until the process has ended, and what it started and did not take with it: a shell's child, say."""
        await self._process.wait()
        while has_members(self.pid):  # noqa: ASYNC110  (no system tells when a group becomes empty)
            await trio.sleep(POLL_S)


async def start_child(
    nursery: trio.Nursery,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
    patience: Patience = Patience(),
) -> Child:
    """Start a process with pipes; who gets it must `stop` it. `nursery` holds the tasks of its streams.

    Raises `UserError` when it cannot be started, `Unreachable` when the system is short of something. Cancelled, it
    waits until the start is over; if that succeeded the process is returned, and nothing is raised.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        try:
            child_stdin, stdin = _pipe(theirs, ours)
            stdout, child_stdout = _pipe(ours, theirs)
            stderr, child_stderr = _pipe(ours, theirs)
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=child_stdin,
                stdout=child_stdout,
                stderr=child_stderr,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            raise _explain(argv[0], cwd, exc) from exc
        ours.pop_all()
    with trio.CancelScope(shield=True):  # bounded by the start of a shell
        await _guardian.watch(process.pid)
    io = DescriptorStream(nursery, stdout, stdin)
    return Child(process, io, DescriptorStream(nursery, stderr, None), patience)


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with the stack of whom they belong to."""
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def _explain(program: str, cwd: str | None, exc: Exception) -> UserError | Unreachable:
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        if cwd is not None and not os.path.isdir(cwd):
            return UserError(f"cannot start {program}: its folder {cwd} does not exist")
        return UserError(
            f"cannot start {program}: no such program; was it moved? add the server again"
        )
    if isinstance(exc, PermissionError):
        return UserError(f"cannot start {program}: not allowed to run it")
    if isinstance(exc, OSError) and exc.errno == errno.ENOEXEC:
        return UserError(f"cannot start {program}: it is not a program; does it lack a #! line?")
    if isinstance(exc, ValueError):
        return UserError(f"cannot start {program}: {exc}; add the server again")
    return Unreachable(f"cannot start {program}: {getattr(exc, 'strerror', None) or exc}")


# ---------------------------------------------------------------- process groups


def signal_group(group: int, number: int) -> bool:
    """Signal every member; False when there is none."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return False
    return True


def has_members(group: int) -> bool:
    """Whether somebody in the group is alive. A zombie is not: in a container it may stay one for ever."""
    if not signal_group(group, 0):
        return False
    if sys.platform != "linux":
        return True
    return any(_is_member(pid, group) for pid in os.listdir("/proc") if pid.isdigit())


def _is_member(pid: str, group: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, _parent, its_group = file.read().rpartition(b")")[2].split()[:3]
    except OSError:  # it has ended meanwhile
        return False
    return int(its_group) == group and state not in b"ZX"
