"""The stub comes again: what it still knows, how long it waits, when it gives up."""

import os
import subprocess
import sys
import time

import pytest

from harness import Home, entry_file, wait_until
from mcpctl import attach, resuming, wire
from mcpctl.resuming import LONGEST_PAUSE_S, MOST, ClientGoneError, Tries, pause

FIELDS = [("server", "x"), ("header", "A: s3cr3t"), ("version", "0.0.1"), ("blocking", "10")]


@pytest.fixture
def checkpoint(monkeypatch):
    """As `make_checkpoint` leaves it, under a number that nobody here uses."""
    monkeypatch.setattr(attach, "CHECKPOINT_FD", 200)
    attach.make_checkpoint(list(FIELDS))
    yield 200
    os.close(200)


def test_the_greeting_is_found_again_with_our_own_version(checkpoint):
    assert not os.get_inheritable(checkpoint)
    fields = resuming.read_greeting(checkpoint)
    assert fields == [*FIELDS[:2], ("version", wire.VERSION), FIELDS[3]]


def test_a_greeting_as_long_as_any_lies_before_the_daemons_part():
    assert wire.HELLO_HEADER + wire.HELLO_MAX <= wire.CHECKPOINT_AT
    assert wire.CHECKPOINT_AT % 16384 == 0


def test_a_file_that_begins_otherwise_is_no_session():
    fd = resuming.temporary_file()
    with pytest.raises(ValueError, match="not a greeting"):
        resuming.read_greeting(fd)
    os.close(fd)


def test_a_temporary_file_has_no_name_and_is_ours_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    fd = resuming.temporary_file()
    assert os.fstat(fd).st_nlink == 0
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == []
    os.close(fd)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(attach.AttachError, match="cannot make a file"):
        resuming.temporary_file()


def test_pauses_grow_and_are_never_the_same_and_have_an_end():
    assert pause(0) == 0
    assert 0.05 <= pause(1) <= 0.15
    assert len({pause(3) for _ in range(20)}) > 10
    assert pause(30) == LONGEST_PAUSE_S


def test_it_gives_up_when_it_happens_again_and_again(monkeypatch):
    monkeypatch.setattr(resuming, "pause", lambda before: 0)
    monkeypatch.setattr(attach, "hand_over", lambda fields, fds: "control")
    reader, stdout = os.pipe()
    tries = Tries([])
    for _ in range(MOST):
        assert tries.hand_over([], [], stdout) == "control"
    with pytest.raises(attach.AttachError, match="again and again"):
        tries.hand_over([], [], stdout)
    again = Tries([float(at) for at in tries.times])
    with pytest.raises(attach.AttachError, match="again and again"):
        again.hand_over([], [], stdout)
    long_ago = Tries([time.monotonic() - resuming.WITHIN_S - 1] * MOST)
    assert long_ago.hand_over([], [], stdout) == "control"
    assert len(long_ago.times) == 1
    os.close(reader)
    os.close(stdout)


def test_a_daemon_that_cannot_be_reached_is_tried_again_and_other_errors_are_not(monkeypatch):
    monkeypatch.setattr(resuming, "pause", lambda before: 0)
    kinds = iter(["not-running", "not-running", "denied"])

    def hand_over(fields, fds):
        raise attach.AttachError(next(kinds), "no")

    monkeypatch.setattr(attach, "hand_over", hand_over)
    reader, stdout = os.pipe()
    with pytest.raises(attach.AttachError, match="no") as caught:
        Tries([]).hand_over([], [], stdout)
    assert caught.value.kind == "denied"
    os.close(reader)
    os.close(stdout)


def test_nobody_is_waited_for_who_has_gone(monkeypatch):
    monkeypatch.setattr(resuming, "pause", lambda before: 60)
    reader, stdout = os.pipe()
    os.close(reader)
    with pytest.raises(ClientGoneError):
        Tries([]).hand_over([], [], stdout)
    os.close(stdout)


def test_who_goes_during_the_pause_is_noticed(monkeypatch):
    monkeypatch.setattr(resuming, "pause", lambda before: 60)
    reader, stdout = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[reader]
    )
    os.close(reader)
    assert child.stdin is not None
    child.stdin.close()  # it ends, and nobody holds the pipe any more
    with pytest.raises(ClientGoneError):
        Tries([]).hand_over([], [], stdout)
    child.wait(10)
    os.close(stdout)


def test_descriptors_are_set_back_to_what_they_were():
    first, second = os.pipe()
    os.set_blocking(first, False)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from mcpctl.resuming import restore_blocking as r\n"
        "r([('blocking', '10')]); print(os.get_blocking(0), os.get_blocking(1), file=sys.stderr)"
    )
    package = os.path.dirname(os.path.dirname(attach.__file__))
    argv = [sys.executable, "-c", code, package]
    done = subprocess.run(argv, stdin=first, stdout=second, stderr=subprocess.PIPE, text=True)
    assert done.stderr.split() == ["True", "False"]
    resuming.restore_blocking([("blocking", "1" * 9999)])  # more than there are
    os.close(first)
    os.close(second)


def test_resuming_by_hand_is_refused(home: Home):
    argv = [sys.executable, "-I", "-S", entry_file(), "--resume"]
    done = subprocess.run(argv, capture_output=True, text=True, env=home.env, timeout=30)
    assert done.returncode == 2
    assert "there is no session to resume" in done.stderr
    assert home.daemons() == []


def test_no_secret_stands_on_the_command_line_of_the_waiting_shell(home: Home):
    argv = home.attach(None, "--bearer-token", "s3cr3t-s3cr3t", url="http://127.0.0.1:9/")
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=home.env)
    try:
        wait_until(lambda: b"--resume" in _command_line(process.pid), "the waiting shell", 20)
        assert b"s3cr3t" not in _command_line(process.pid)
    finally:
        process.communicate(timeout=30)


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
