"""Writing to the client's stderr never blocks the daemon, whatever that is."""

import os
import pty
import socket
import stat
import sys
import termios
import time
from pathlib import Path

import pytest

from mcpctld.sessions import stderr as stderr_module
from mcpctld.sessions.stderr import ClientStderr

LOT = b"x" * 1024 * 1024


@pytest.fixture(autouse=True)
def _at_once():
    """No call here may wait: a writer that blocks would hang, so a test that took long has failed."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5


def test_a_pipe_gets_what_fits_and_its_flags_stay():
    reading, writing = os.pipe()
    kept = os.dup(writing)
    stderr = ClientStderr(writing)
    stderr.write(b"hello\n")
    assert os.read(reading, 100) == b"hello\n"
    for _ in range(3):
        stderr.write(LOT)
    assert os.get_blocking(kept)
    os.set_blocking(reading, False)
    assert 0 < len(os.read(reading, len(LOT))) < len(LOT)
    stderr.write(b"again")
    stderr.close()
    stderr.close()
    stderr.write(b"dropped")
    for fd in (reading, kept):
        os.close(fd)


def test_a_pipe_that_nobody_reads_is_given_up():
    for used in (False, True):
        reading, writing = os.pipe()
        stderr = ClientStderr(writing)
        if used:
            stderr.write(b"x")
        os.close(reading)
        for _ in range(3):
            stderr.write(b"hello")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(writing)


def test_a_socket_gets_what_fits():
    ours, theirs = socket.socketpair()
    stderr = ClientStderr(os.dup(ours.fileno()))
    for _ in range(10):
        stderr.write(LOT)
    assert ours.getblocking()
    assert theirs.recv(10) == b"x" * 10
    stderr.close()
    ours.close()
    theirs.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_terminal_that_is_stopped_or_full_holds_up_nothing(stopped: bool):
    master, slave = pty.openpty()
    stderr = ClientStderr(os.dup(slave))
    stderr.write(b"hello\n")
    assert os.read(master, 100) == b"hello\r\n"
    if stopped:
        termios.tcflow(slave, termios.TCOOFF)
    for _ in range(10):
        stderr.write(LOT)
    assert os.get_blocking(slave)
    if stopped:
        termios.tcflow(slave, termios.TCOON)
    stderr.close()
    os.close(slave)
    os.close(master)


def test_a_file_is_written_to_where_others_left_off(tmp_path: Path):
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"first\n")
    stderr = ClientStderr(os.dup(fd))
    stderr.write(b"second\n")
    os.write(fd, b"third\n")
    stderr.close()
    os.close(fd)
    assert path.read_bytes() == b"first\nsecond\nthird\n"


def test_dev_null_takes_everything():
    stderr = ClientStderr(os.open(os.devnull, os.O_WRONLY))
    for _ in range(3):
        stderr.write(LOT)
    stderr.close()


def test_where_no_second_description_can_be_opened_it_is_asked_first(monkeypatch):
    monkeypatch.setattr(sys, "platform", "elsewhere")
    reading, writing = os.pipe()
    stderr = ClientStderr(writing)
    stderr.write(b"hello")
    assert os.read(reading, 100) == b"hello"
    for _ in range(3):
        stderr.write(LOT)
    os.set_blocking(reading, False)
    taken = len(os.read(reading, len(LOT)))
    assert taken
    assert taken % stderr_module.PIPE_BUF == 0
    os.close(reading)
    for _ in range(3):
        stderr.write(b"x")
    stderr.close()


def test_a_pipe_of_another_user_is_asked_first(monkeypatch):
    reading, writing = os.pipe()

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    stderr = ClientStderr(writing)
    stderr.write(b"hello")
    assert os.read(reading, 100) == b"hello"
    assert stat.S_ISFIFO(os.fstat(writing).st_mode)
    stderr.close()
    os.close(reading)
