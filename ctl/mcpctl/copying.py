"""Attach by copying, for descriptors that the daemon cannot wait on: a terminal, a file, /dev/null.

The daemon gets pipes and never knows the difference; this process moves the bytes.
"""

import _socket
import os
import select
import sys

from mcpctl import attach, wire

CHUNK = 65536


def attach_by_copying(fields: list[tuple[str, str]]) -> int:
    """Attach through two pipes and copy until the daemon says that the session is over; returns its exit code."""
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    stderr = attach._stderr()
    control = attach.hand_over([*fields, ("copied", "1")], [requests_out, answers_in, stderr])
    os.close(requests_out)
    os.close(answers_in)
    _copy(control, requests_in, answers_out)
    return _finish(control)


def _copy(control: _socket.socket, requests_in: int, answers_out: int) -> None:
    """Move bytes until the answers end, which they do when the daemon closes the session.

    Only one chunk of requests is held, and never waited for alone: a daemon that takes no more requests until its
    answers are read would otherwise wait for us while we wait for it.
    """
    os.set_blocking(requests_in, False)
    poll = select.poll()
    poll.register(answers_out, select.POLLIN)
    pending: bytes | None = b""  # None: stdin has ended
    while True:
        pending = _arm(poll, requests_in, pending)
        for fd, _ in poll.poll():
            if fd == answers_out:
                data = os.read(answers_out, CHUNK)
                if not data or not _write(1, data):
                    return
            elif fd == requests_in and pending:
                pending = _send(requests_in, pending)
            elif fd == 0 and pending == b"":
                pending = _read(requests_in)


def _arm(poll: "select.poll", requests_in: int, pending: bytes | None) -> bytes | None:
    """Wait for stdin when nothing is held, for room in the pipe when something is."""
    for fd in (0, requests_in):
        try:
            poll.unregister(fd)
        except (KeyError, ValueError, OSError):
            pass
    if pending:
        poll.register(requests_in, select.POLLOUT)
    elif pending is not None:
        poll.register(0, select.POLLIN)
    return pending


def _read(requests_in: int) -> bytes | None:
    try:
        data = os.read(0, CHUNK)
    except OSError:  # stdin was closed before we began, or the terminal went away
        data = b""
    if not data:
        os.close(requests_in)
        return None
    return data


def _send(requests_in: int, data: bytes) -> bytes | None:
    try:
        return data[os.write(requests_in, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # the daemon reads no more; its answers tell the rest
        os.close(requests_in)
        return None


def _write(fd: int, data: bytes) -> bool:
    """Write all of `data`; False when nobody reads any more."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        return False
    return True


def _finish(control: _socket.socket) -> int:
    """The daemon's last line: its text goes to stderr, its code is ours."""
    control.settimeout(10.0)
    line = b""
    try:
        while not line.endswith(b"\n") and (data := control.recv(4096)):
            line += data
    except OSError:
        pass
    code, _, text = line.decode("utf-8", "replace").strip().partition(" ")
    if not code.isdigit():
        sys.stderr.write("mcpctl: the daemon went away\n")
        return wire.exit_code("not-running")
    if text:
        sys.stderr.write(f"{text}\n")
    return int(code)
