"""Attach by copying, for descriptors that the daemon cannot wait on: a terminal, a file, /dev/null.

The daemon gets pipes and never knows the difference; this process moves the bytes. It keeps the daemon's ends of the
pipes too, and hands them to the next daemon when this one goes away.
"""

import _socket
import os
import select
import sys

from mcpctl import attach, resuming, wire

CHUNK = 65536


def attach_by_copying(fields: list[tuple[str, str]]) -> int:
    """Attach through two pipes and copy until the daemon says that the session is over; returns its exit code."""
    fields = [*fields, ("copied", "1")]
    attach.make_checkpoint(fields)
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    fds = [requests_out, answers_in, attach.stderr(), attach.CHECKPOINT_FD]
    copier = _Copier(requests_in, answers_out, attach.hand_over(fields, fds))
    tries = resuming.Tries([])
    try:
        while (line := copier.run()) is None:
            copier.control = tries.hand_over([*fields, ("resume", "1")], fds, 1)
    except resuming.ClientGoneError:
        return 0
    return _finish(line)


class _Copier:
    """Moves bytes between our descriptors and the pipes.

    Only one chunk of requests is held, and never waited for alone: a daemon that takes no more requests until its
    answers are read would otherwise wait for us while we wait for it.
    """

    def __init__(self, requests_in: int, answers_out: int, control: _socket.socket) -> None:
        self.control = control
        self._requests_in = requests_in
        self._answers_out = answers_out
        self._pending: bytes | None = b""  # None: stdin has ended
        self._line = b""
        os.set_blocking(requests_in, False)
        os.set_blocking(answers_out, False)

    def run(self) -> bytes | None:
        """Copy until the daemon has said its last line, which is returned; None when it went away without."""
        self._line = b""
        while True:
            poll = self._poll()
            for fd, _ in poll.poll():
                if fd == self._answers_out:
                    self._copy_answers()
                elif fd == self._requests_in:
                    self._send()
                elif fd == 0:
                    self._read()
                elif (ended := self._listen()) is not None:
                    while self._copy_answers():
                        pass
                    return ended or None

    def _poll(self) -> "select.poll":
        """Wait for stdin when nothing is held, for room in the pipe when something is."""
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self._answers_out, select.POLLIN)
        if self._pending:
            poll.register(self._requests_in, select.POLLOUT)
        elif self._pending is not None:
            poll.register(0, select.POLLIN)
        return poll

    def _listen(self) -> bytes | None:
        """The daemon's last line, `b""` when it is gone without one, None while there is more to come."""
        try:
            data = self.control.recv(4096)
        except OSError:
            data = b""
        self._line += data
        if self._line.endswith(b"\n"):
            return self._line
        if data:
            return None
        self.control.close()
        return b""

    def _copy_answers(self) -> bool:
        """Copy what is there; False when that is nothing. Raises `ClientGoneError`."""
        try:
            data = os.read(self._answers_out, CHUNK)
        except BlockingIOError:
            return False
        if not _write(1, data):
            raise resuming.ClientGoneError
        return True

    def _read(self) -> None:
        try:
            self._pending = os.read(0, CHUNK) or None
        except OSError:  # stdin was closed before we began, or the terminal went away
            self._pending = None
        if self._pending is None:
            os.close(self._requests_in)
            self._requests_in = -1  # the number may be given to something else

    def _send(self) -> None:
        assert self._pending
        try:
            self._pending = self._pending[os.write(self._requests_in, self._pending) :]
        except BlockingIOError:
            pass


def _write(fd: int, data: bytes) -> bool:
    """Write all of `data`; False when nobody reads any more."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        return False
    return True


def _finish(line: bytes) -> int:
    """The daemon's last line: its text goes to stderr, its code is ours."""
    code, _, text = line.decode("utf-8", "replace").strip().partition(" ")
    if text:
        sys.stderr.write(f"{text}\n")
    return int(code) if code.isdigit() else wire.exit_code("internal")
