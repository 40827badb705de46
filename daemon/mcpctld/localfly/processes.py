"""A machine's process: a group of its own, in a folder of its own, whose words go to the log.

It does not outlive us, however we end: see `drivers.guardian`.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import trio

from mcpctld.drivers.guardian import Guardian
from mcpctld.drivers.process import has_members, signal_group
from mcpctld.localfly.commands import CannotRun

MOST_FILES = 4096
MAX_LINE = 16 * 1024
READ = 64 * 1024

_guardian = Guardian()
"""One for all machines of this process."""


class Process:
    """It runs, stands still, or has ended. `pid` is also the id of its group."""

    def __init__(self, process: trio.Process, memory: "Memory | None") -> None:
        self._process = process
        self._memory = memory
        self.pid = process.pid

    def signal(self, name: str) -> None:
        """Signal every member of the group; one that stands still is told when it goes on."""
        signal_group(self.pid, signal.Signals[name])

    def kill(self) -> None:
        """End all of it, also when it stands still."""
        signal_group(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still, its memory kept."""
        signal_group(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        signal_group(self.pid, signal.SIGCONT)

    async def wait(self) -> tuple[int, int, bool]:
        """Wait for its end and end what it has left behind: exit code, signal, whether for want of memory."""
        code = await self._process.wait()
        with trio.CancelScope(shield=True):  # bounded: SIGKILL is not refused
            if has_members(self.pid):
                self.kill()
            await _guardian.forget(self.pid)
        oom = self._memory.exceeded() if self._memory else False
        if self._memory:
            self._memory.remove()
        return (128 - code, -code, oom) if code < 0 else (code, 0, oom)

    async def end(self, bound_s: float) -> None:
        """Make sure that it has ended, and kill it when it does not by itself."""
        with trio.CancelScope(shield=True):
            self.thaw()
            with trio.move_on_after(bound_s):
                await self._process.wait()
            self.kill()
            await self._process.wait()
            await _guardian.forget(self.pid)


async def start_process(
    nursery: trio.Nursery,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    memory_mb: int,
    on_line: Callable[[str], None],
) -> Process:
    """Start a machine's process. `on_line` gets what it says. Raises `CannotRun`."""
    reading, writing = os.pipe()
    try:
        process = await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        os.close(reading)
        raise CannotRun(f"cannot start {argv[0]}: {getattr(exc, 'strerror', None) or exc}") from exc
    finally:
        os.close(writing)
    with trio.CancelScope(shield=True):  # bounded by the start of a shell
        await _guardian.watch(process.pid)
    _limit_files(process.pid)
    memory = Memory.limit(process.pid, memory_mb)
    nursery.start_soon(_read_lines, trio.lowlevel.FdStream(reading), on_line)
    return Process(process, memory)


def _limit_files(pid: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, ValueError):  # it has ended already; or has less
        _soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


async def _read_lines(stream: trio.abc.ReceiveStream, on_line: Callable[[str], None]) -> None:
    kept = b""
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(READ):
                *lines, kept = (kept + data).split(b"\n")
                if len(kept) > MAX_LINE:
                    lines, kept = [*lines, kept], b""
                for line in lines:
                    on_line(line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r"))
        if kept:
            on_line(kept.decode("utf-8", "replace"))


class Memory:
    """A control group that bounds a machine's memory, where the system lets us make one (cgroup v2)."""

    ROOT = "/sys/fs/cgroup"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @classmethod
    def limit(cls, pid: int, megabytes: int) -> "Memory | None":
        """Bound what a process and its children take; None where that cannot be done."""
        if sys.platform != "linux":
            return None
        try:
            with open("/proc/self/cgroup", encoding="utf-8") as file:
                ours = file.readline().strip().partition("::")[2]
            parent = f"{cls.ROOT}{ours.rstrip('/')}"
            with open(f"{parent}/cgroup.subtree_control", encoding="utf-8") as file:
                if "memory" not in file.read().split():
                    return None
            folder = f"{parent}/localfly-{pid}"
            os.mkdir(folder)
            _write(f"{folder}/memory.max", str(megabytes * 1024 * 1024))
            _write(f"{folder}/cgroup.procs", str(pid))
        except OSError:
            return None
        return cls(folder)

    def exceeded(self) -> bool:
        """Whether somebody in it was killed for taking too much."""
        try:
            with open(f"{self._folder}/memory.events", encoding="utf-8") as file:
                return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file)
        except OSError:
            return False

    def remove(self) -> None:
        """It is of no more use."""
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
