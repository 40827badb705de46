"""`mcpctld.drivers.process`: real children, well-behaved and not, and none of them left."""

import errno
import os
import signal
import sys

import pytest
import trio

from leaks import open_fds
from mcpctld.drivers.process import Patience, start_child
from mcpctld.errors import Unreachable, UserError

QUICK = Patience(eof_s=0.1, term_s=0.1, kill_s=2.0)
LONG = Patience(eof_s=5.0, term_s=5.0, kill_s=5.0)

IGNORE_TERM = "trap '' TERM; "
"""In a shell, and inherited by what it starts."""


async def start(nursery, script, patience=LONG, **options):
    """A shell that has said "ready"."""
    argv = options.get("argv", ["/bin/sh", "-c", script])
    child = await start_child(nursery, argv, {"PATH": os.environ["PATH"]}, None, patience)
    with trio.fail_after(5):
        assert await child.io.receive() == b"ready\n"
    return child


async def stop(child):
    with trio.fail_after(5):
        began = trio.current_time()
        await child.stop()
        return trio.current_time() - began


def members(group: int) -> list[str]:
    """Who is in a process group and alive, read by other means than the code under test."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(pid)) == group:
                with open(f"/proc/{pid}/status") as file:
                    if "State:\tZ" not in file.read():
                        found.append(pid)
        except OSError:
            pass
    return found


# ---------------------------------------------------------------- starting


async def test_a_child_has_three_streams_and_exactly_the_environment_it_is_given(nursery, tmp_path):
    script = 'echo "out $A $HOME $PWD"; echo err >&2; cat'
    argv = ["/bin/sh", "-c", script]
    child = await start_child(nursery, argv, {"A": "1"}, str(tmp_path))
    with trio.fail_after(5):
        assert await child.io.receive() == f"out 1  {tmp_path}\n".encode()
        assert await child.stderr.receive() == b"err\n"
        child.io.write(b"through cat")
        assert await child.io.receive() == b"through cat"
    assert child.returncode is None
    await stop(child)
    assert child.returncode == 0


async def test_a_child_leads_a_group_and_session_of_its_own_and_has_none_of_our_descriptors(
    nursery,
):
    ours = os.open("/dev/null", os.O_RDONLY)
    script = (
        "import os; print(os.getpgrp() == os.getsid(0) == os.getpid(), os.listdir('/proc/self/fd'))"
    )
    argv = [sys.executable, "-I", "-S", "-c", script]
    child = await start_child(nursery, argv, {}, None)
    with trio.fail_after(5):
        said = await child.io.receive()
        assert said.startswith(b"True ['0', '1', '2', ")
        assert said.count(b"'") == 8  # the fourth is the listing itself
        assert await child.wait() == 0
    await stop(child)
    os.close(ours)


@pytest.mark.parametrize(
    ("argv", "cwd", "error", "text"),
    [
        (["/no/such/program"], None, UserError, "no such program; was it moved"),
        (["/etc/passwd/x"], None, UserError, "no such program"),
        (["/bin/sh"], "/no/such/folder", UserError, "its folder /no/such/folder does not exist"),
        (["/bin/sh"], "/etc/passwd", UserError, "its folder /etc/passwd does not exist"),
        (["/etc/passwd"], None, UserError, "not allowed to run it"),
        (["/bin/sh", "a\0b"], None, UserError, "embedded null byte"),
        (["/bin/sh", "x" * 10_000_000], None, Unreachable, "Argument list too long"),
    ],
)
async def test_what_cannot_be_started_says_why_and_leaves_nothing(nursery, argv, cwd, error, text):
    before = open_fds()
    with pytest.raises(error, match=f"cannot start {argv[0]}: .*{text}"):
        await start_child(nursery, argv, {}, cwd)
    assert open_fds() == before


async def test_a_text_without_an_interpreter_line_is_no_program(nursery, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo hello")
    script.chmod(0o755)
    with pytest.raises(UserError, match="not a program; does it lack a #! line"):
        await start_child(nursery, [str(script)], {}, None)


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_a_system_that_is_short_of_descriptors_is_told(nursery, monkeypatch, failing):
    before = open_fds()
    real_pipe, made = os.pipe, []

    def pipe():
        made.append(1)
        if len(made) == failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return real_pipe()

    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(Unreachable, match="cannot start /bin/sh: Too many open files"):
        await start_child(nursery, ["/bin/sh"], {}, None)
    assert open_fds() == before


async def test_a_start_that_is_cancelled_gives_the_process_or_nothing(nursery):
    """Starting happens in a thread, which nothing can stop; what it made must not be lost."""
    before = open_fds()
    with trio.CancelScope() as scope:
        scope.cancel()
        await start_child(nursery, ["/bin/sh", "-c", "sleep 60"], {}, None, QUICK)
    assert scope.cancelled_caught
    assert open_fds() == before

    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel, scope)
        child = await start_child(nursery, ["/bin/sh", "-c", "sleep 60"], {}, None, QUICK)
        await stop(child)
    assert members(child.pid) == []
    assert open_fds() == before


async def _cancel(scope):
    scope.cancel()


# ---------------------------------------------------------------- stopping


async def test_a_child_that_obeys_the_end_of_its_stdin_is_not_signalled(nursery):
    child = await start(nursery, "trap 'exit 9' TERM; echo ready; cat; exit 3")
    assert await stop(child) < 4
    assert child.returncode == 3


async def test_a_child_that_ignores_the_end_of_its_stdin_gets_sigterm(nursery):
    child = await start(nursery, "echo ready; exec sleep 60", QUICK)
    await stop(child)
    assert child.returncode == -signal.SIGTERM


async def test_a_child_may_tidy_up_on_sigterm(nursery):
    patience = Patience(eof_s=0.05, term_s=5.0, kill_s=5.0)
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    child = await start(nursery, script, patience)
    await stop(child)
    assert child.returncode == 7


async def test_a_child_that_ignores_sigterm_too_is_killed(nursery):
    child = await start(nursery, IGNORE_TERM + "echo ready; while :; do sleep 60; done", QUICK)
    await stop(child)
    assert child.returncode == -signal.SIGKILL
    assert members(child.pid) == []


async def test_a_child_that_has_exited_is_stopped_at_once(nursery):
    child = await start(nursery, "echo ready; exit 5")
    with trio.fail_after(5):
        assert await child.wait() == 5
    assert await stop(child) < 1


@pytest.mark.parametrize("ending", ["exit 0", "cat"])
async def test_what_a_child_leaves_in_its_group_is_ended_too(nursery, ending):
    """As `npx` and shell scripts do."""
    child = await start(nursery, f"sleep 60 & echo ready; {ending}", QUICK)
    assert members(child.pid)
    await stop(child)
    assert members(child.pid) == []
    assert child.returncode == 0


async def test_a_grandchild_that_ignores_sigterm_is_killed(nursery):
    script = f"({IGNORE_TERM} echo ready; sleep 60; sleep 60) & exit 0"
    child = await start(nursery, script, QUICK)
    await stop(child)
    assert members(child.pid) == []


async def test_a_zombie_that_nobody_reaps_is_not_waited_for(nursery):
    """In a container without an init, orphans that have ended stay in their group for ever."""
    script = """
import os, time
if os.fork() == 0:  # the negligent parent
    ended = os.fork()
    if ended == 0:
        os._exit(0)
    os.setsid()
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    os.write(1, f"{os.getpid()}\\n".encode())
    os.close(1)
    time.sleep(60)
os.read(0, 1)
"""
    argv = [sys.executable, "-I", "-S", "-c", script]
    child = await start_child(nursery, argv, {}, None, LONG)
    with trio.fail_after(5):
        negligent = int(await child.io.receive())
    try:
        assert await stop(child) < 4
        os.killpg(child.pid, 0)  # there it is still
    finally:
        os.kill(negligent, signal.SIGKILL)


async def test_a_child_that_closes_its_stdout_but_lives_is_ended(nursery):
    child = await start(nursery, "echo ready; exec >&-; exec sleep 60", QUICK)
    with trio.fail_after(5):
        assert await child.io.receive() == b""
    assert child.returncode is None
    await stop(child)
    assert child.returncode == -signal.SIGTERM


async def test_a_child_that_does_not_read_is_ended_all_the_same(nursery):
    child = await start(nursery, "echo ready; exec sleep 60", QUICK)
    child.io.write(bytes(3_000_000))
    assert child.io.buffered
    await stop(child)
    assert child.returncode == -signal.SIGTERM


async def test_what_was_written_before_the_stop_arrives_first(nursery):
    child = await start(nursery, 'echo ready; sleep 0.2; test "$(wc -c)" = 3000000')
    child.io.write(bytes(3_000_000))  # more than the pipe holds
    await stop(child)
    assert child.returncode == 0


async def test_a_stop_is_not_cancelled_and_may_be_asked_for_twice(nursery):
    child = await start(nursery, "echo ready; exec sleep 60", QUICK)
    async with trio.open_nursery() as inner:
        inner.start_soon(child.stop)
        inner.start_soon(child.stop)
        inner.cancel_scope.cancel()
    assert child.returncode == -signal.SIGTERM
    await stop(child)
    assert members(child.pid) == []


async def test_a_stop_leaves_no_descriptor(nursery):
    before = open_fds()
    child = await start(nursery, "echo ready; cat")
    await stop(child)
    assert open_fds() == before


async def test_cancelling_the_tasks_of_the_streams_does_not_keep_a_stop_waiting():
    async with trio.open_nursery() as nursery:
        child = await start(nursery, "echo ready; cat >/dev/null")
        child.io.write(bytes(3_000_000))
        nursery.cancel_scope.cancel()
    assert await stop(child) < 4
    assert child.returncode == 0
