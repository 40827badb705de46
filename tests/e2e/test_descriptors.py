"""The descriptors that a client gives: pipes and sockets are passed, everything else is copied."""

import contextlib
import json
import os
import pty
import select
import socket
import subprocess
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.stage import Stage
from harness import Home

LINES = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "test/pid"},
]
INPUT = "".join(json.dumps(line) + "\n" for line in LINES).encode()
FORMS = pytest.mark.parametrize("form", ["script", "entry"])


def attach(home: Home, form: Any, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    """Attach with the descriptors that the test chose, until the end."""
    words = home.attach("parrot", form=form)
    return subprocess.run(words, env=home.env, timeout=30, check=False, **streams)


def check(answers: bytes) -> None:
    """Both requests were answered."""
    assert [json.loads(line)["id"] for line in answers.splitlines()] == [1, 2]


@FORMS
def test_a_pipeline_of_the_shell(stage: Stage, form: Any) -> None:
    """`printf … | mcpctl attach parrot | …`"""
    stage.parrot()
    done = attach(stage.home, form, input=INPUT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    check(done.stdout)


@FORMS
def test_regular_files(stage: Stage, form: Any) -> None:
    stage.parrot()
    questions, answers = stage.home.path / "questions", stage.home.path / "answers"
    questions.write_bytes(INPUT)
    with questions.open("rb") as stdin, answers.open("wb") as stdout:
        done = attach(stage.home, form, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    check(answers.read_bytes())


@FORMS
def test_no_input_at_all(stage: Stage, form: Any) -> None:
    stage.parrot()
    done = attach(stage.home, form, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@FORMS
def test_one_pipe_for_output_and_errors(stage: Stage, form: Any) -> None:
    stage.parrot()
    done = attach(stage.home, form, input=INPUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0
    check(done.stdout)


@FORMS
def test_a_terminal(stage: Stage, form: Any) -> None:
    stage.parrot()
    ours, theirs = pty.openpty()
    # Raw: else the terminal would echo and translate.
    tty.setraw(theirs)
    with closing(ours, theirs):
        words = stage.home.attach("parrot", form=form)
        process = subprocess.Popen(words, env=stage.home.env, stdin=theirs, stdout=theirs)
        os.write(ours, INPUT)
        check(read_lines(ours, 2))
        process.terminate()
        process.wait(10)


@FORMS
def test_sockets_as_node_gives_them(stage: Stage, form: Any) -> None:
    stage.parrot()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = stage.home.attach("parrot", form=form)
        process = subprocess.Popen(words, env=stage.home.env, stdin=theirs, stdout=theirs)
        theirs.close()
        ours.sendall(INPUT)
        check(read_lines(ours.fileno(), 2))
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(10) == 0


def test_a_client_that_closes_its_end_of_stdout_ends_the_session(stage: Stage) -> None:
    stage.parrot()
    words = stage.home.attach("parrot")
    process = subprocess.Popen(
        words, env=stage.home.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(INPUT)
    process.stdin.flush()
    read_lines(process.stdout.fileno(), 2)
    process.stdout.close()
    process.stdin.write(b'{"jsonrpc":"2.0","id":3,"method":"test/pid"}\n')
    process.stdin.flush()
    assert process.wait(10) == 0
    process.stdin.close()


def test_what_others_share_stays_blocking(stage: Stage) -> None:
    """O_NONBLOCK sits on the open file description, which the client's other children may share."""
    stage.parrot()
    (in_read, in_write), (out_read, out_write), (_, err_write) = pipes = [
        os.pipe() for _ in range(3)
    ]
    with closing(*(fd for pair in pipes for fd in pair)):
        words = stage.home.attach("parrot")
        process = subprocess.Popen(
            words, env=stage.home.env, stdin=in_read, stdout=out_write, stderr=err_write
        )
        os.write(in_write, INPUT)
        check(read_lines(out_read, 2))
        assert os.get_blocking(err_write)
        os.close(in_write)
        assert process.wait(10) == 0
        assert os.get_blocking(in_read)
        assert os.get_blocking(out_write)


def read_lines(fd: int, count: int, within_s: float = 10) -> bytes:
    """So many lines from a descriptor."""
    data = b""
    while data.count(b"\n") < count:
        readable, _, _ = select.select([fd], [], [], within_s)
        assert readable, f"only {data!r} within {within_s} s"
        data += os.read(fd, 65536)
    return data


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[None]:
    """Close descriptors at the end, closed ones too."""
    try:
        yield
    finally:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
