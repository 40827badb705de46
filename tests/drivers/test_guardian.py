"""What is started dies with us, even when we are killed; and nobody stays behind to see to it."""

import os
import signal
import subprocess
import sys

import pytest
import trio

from harness import until
from leaks import open_fds
from mcpctld.drivers import guardian as guardian_module
from mcpctld.drivers.guardian import Guardian

STARTER = """
import sys, trio
from mcpctld.drivers.guardian import Guardian
async def main():
    guardian = Guardian()
    for group in map(int, sys.argv[1:]):
        await guardian.watch(group)
    await guardian.forget(int(sys.argv[1]))
    print("ready", flush=True)
    await trio.sleep_forever()
trio.run(main)
"""


def group(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, start_new_session=True)


async def test_groups_of_a_daemon_that_was_killed_end_and_others_do_not():
    spared = group("sleep", "60")
    polite = group("sleep", "60")
    stubborn = group("/bin/sh", "-c", "trap '' TERM; sleep 60 & while :; do wait; done")
    numbers = [str(one.pid) for one in (spared, polite, stubborn)]
    argv = [sys.executable, "-c", STARTER, *numbers]
    daemon = subprocess.Popen(argv, stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert daemon.stdout is not None
    assert await trio.to_thread.run_sync(daemon.stdout.readline) == b"ready\n"
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    await until(lambda: polite.poll() == -signal.SIGTERM, "the end of one", 10)
    await until(lambda: stubborn.poll() == -signal.SIGKILL, "the end of the other", 10)
    assert spared.poll() is None
    spared.kill()
    spared.wait()


async def test_the_shell_runs_as_long_as_there_is_a_group():
    before = open_fds()
    guardian = Guardian()
    await guardian.watch(999_999_991)
    process = guardian._process
    assert process is not None
    await guardian.watch(999_999_992)
    await guardian.forget(999_999_991)
    await guardian.forget(999_999_991)
    assert process.poll() is None
    await guardian.forget(999_999_992)
    assert process.poll() == 0
    assert guardian._process is None
    await guardian.watch(999_999_993)
    await guardian.forget(999_999_993)
    assert open_fds() <= before


async def test_a_shell_that_was_killed_is_done_without():
    guardian = Guardian()
    await guardian.watch(999_999_991)
    assert guardian._process is not None
    guardian._process.kill()
    await guardian._process.wait()
    await guardian.watch(999_999_992)
    for number in (999_999_991, 999_999_992):
        await guardian.forget(number)


async def test_where_no_shell_can_be_started_it_goes_without(monkeypatch: pytest.MonkeyPatch):
    async def refuse(*args, **kwargs):
        await trio.lowlevel.checkpoint()
        raise OSError(11, os.strerror(11))

    before = open_fds()
    monkeypatch.setattr(guardian_module.trio.lowlevel, "open_process", refuse)
    guardian = Guardian()
    await guardian.watch(1)
    await guardian.forget(1)
    assert open_fds() <= before
