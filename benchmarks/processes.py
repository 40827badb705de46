"""Process groups: started cheaply, always ended, measured from `/proc`.

Every process of the benchmark is started here, as the leader of a group of its own, and is ended
with its whole group: at the latest by `end_all`, which the program calls however it ends.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
POLL_S = 0.002
KIB_PER_MIB = 1024

_live: set[int] = set()


class Stuck(Exception):
    """Something took longer than its bound."""


@contextmanager
def bound(seconds: float, what: str) -> Iterator[None]:
    """Raise `Stuck` inside the block, out of any blocking call, after `seconds`. Not nestable."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Stuck(f"{what} took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start(argv: Sequence[str], env: Mapping[str, str], stdio: tuple[int, int, int]) -> int:
    """Start a program (an absolute path first) as leader of a new process group; its process id.

    `posix_spawn` rather than `subprocess`: less work between the caller's clock and the program's
    first line.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
    pid = os.posix_spawn(argv[0], [*argv], env, file_actions=actions, setpgroup=0)
    _live.add(pid)
    return pid


def live() -> Iterable[int]:
    """The process ids of everything started and not yet reaped."""
    return tuple(_live)


def is_running(pid: int) -> bool:
    """Whether a process that was started here has not ended; it is not reaped."""
    if pid not in _live:
        return False
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is None


def wait_exit(pid: int) -> int:
    """Wait for a process to end, reap it; its exit code, or minus the signal. Not bounded."""
    _, status = os.waitpid(pid, 0)
    _forget_group(pid)
    return os.waitstatus_to_exitcode(status)


def end(pid: int, patience_s: float = 0.0) -> None:
    """End a process that was started here, with its group: SIGTERM, `patience_s` later SIGKILL."""
    if pid not in _live:
        return
    _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            _forget_group(pid)
            return
        time.sleep(POLL_S)
    _signal_group(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _forget_group(pid)


def end_all() -> None:
    """End everything that still runs."""
    for pid in live():
        end(pid)


def _forget_group(pid: int) -> None:
    """A leader was reaped; what is left of its group is ended too."""
    _signal_group(pid, signal.SIGKILL)
    _live.discard(pid)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


# ---------------------------------------------------------------- measured from /proc


def trees(roots: Iterable[int]) -> list[int]:
    """The process ids of `roots` and all their descendants that are alive now."""
    children = defaultdict(list)
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        fields = _stat_fields(pid)
        if fields:
            children[int(fields[1])].append(pid)
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children[pid]
    return found


def with_variable(name: str, value: str) -> list[int]:
    """The process ids of those that were started with this environment variable."""
    assignment = f"{name}={value}".encode()
    found = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if assignment in variables:
            found.append(pid)
    return found


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size of some processes together: a shared page is divided by its users."""
    return sum(_pss_kib(pid) for pid in pids) / KIB_PER_MIB


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that some processes have used since they began, as nearly as the kernel tells.

    By ticks, fifty processes that used 9 ms each would show as nothing; the finer count of threads
    forgets those that have ended. So the larger of both is taken.
    """
    return sum(max(_ticks_s(pid), _threads_s(pid)) for pid in pids)


def thread_seconds(pids: Iterable[int]) -> float:
    """CPU time that the threads running now have used: for differences while none begins or ends."""
    return sum(map(_threads_s, pids))


def _ticks_s(pid: int) -> float:
    """By the kernel's ticks: `utime` and `stime` of `/proc/PID/stat`."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def _threads_s(pid: int) -> float:
    """By the first field of each thread's `schedstat`, in nanoseconds (Documentation/scheduler/sched-stats.rst)."""
    total = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total / 1e9


def _stat_fields(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the state on (proc(5)); empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def _pss_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
