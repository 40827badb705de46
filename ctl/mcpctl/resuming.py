"""The stub comes again: its daemon has gone without a word, and the session is to go on in the next one.

What it needs it still holds: the client's descriptors 0, 1 and 2, and the checkpoint, which begins with the greeting.
"""

import _socket
import os
import select
import sys
import time

from mcpctl import attach, wire

WITHIN_S = 120.0
MOST = 10
"""So many times within `WITHIN_S`, and there is something wrong that another time will not cure.

The pauses before them come to half a minute; the rest is for a machine on which a daemon takes seconds to start.
"""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class ClientGoneError(Exception):
    """Nobody is there any more who could use the session."""


def resume(times: list[str]) -> int:
    """Hand everything to the next daemon, and wait again. `times`: when that was done before, monotonic seconds."""
    try:
        os.close(attach.CONTROL_FD)
        os.set_inheritable(attach.CHECKPOINT_FD, False)
        fields = read_greeting(attach.CHECKPOINT_FD)
    except (OSError, ValueError) as exc:
        raise attach.AttachError("bad-request", f"there is no session to resume: {exc}") from exc
    restore_blocking(fields)
    tries = Tries([float(at) for at in times])
    try:
        control = tries.hand_over(
            [*fields, ("resume", "1")], [0, 1, attach.stderr(), attach.CHECKPOINT_FD], 1
        )
    except ClientGoneError:
        return 0
    attach.wait_as_shell(control, fields[0][1], tries.times)
    return wire.exit_code("internal")  # not reached


def read_greeting(checkpoint: int) -> list[tuple[str, str]]:
    """The fields of the first greeting. Raises `ValueError` or `OSError`."""
    length = wire.hello_length(os.pread(checkpoint, wire.HELLO_HEADER, 0))
    fields = wire.decode_hello(os.pread(checkpoint, length, wire.HELLO_HEADER))
    return [
        ("version", wire.VERSION) if key == "version" else (key, value) for key, value in fields
    ]


def restore_blocking(fields: list[tuple[str, str]]) -> None:
    """Set stdin and stdout back to what they were before a daemon that was killed made them non-blocking."""
    for fd, blocking in enumerate(dict(fields).get("blocking", "")):
        try:
            os.set_blocking(fd, blocking == "1")
        except OSError:
            pass


class Tries:
    """When the session was handed to another daemon, the last few times."""

    def __init__(self, times: list[float]) -> None:
        self._times = times

    @property
    def times(self) -> list[str]:
        """For the command line of the next time."""
        return [f"{at:.2f}" for at in self._times]

    def hand_over(
        self, fields: list[tuple[str, str]], fds: list[int], stdout: int
    ) -> _socket.socket:
        """Greet the next daemon, after a pause if this happens often. Returns the control connection.

        Raises `AttachError` when it is no use any more, `ClientGoneError` when nobody reads `stdout`.
        """
        while True:
            self._count()
            _wait(stdout, pause(len(self._times) - 1))
            try:
                return attach.hand_over(fields, fds)
            except attach.AttachError as exc:
                if exc.kind != "not-running" or len(self._times) >= MOST:
                    raise

    def _count(self) -> None:
        now = time.monotonic()
        self._times = [at for at in self._times if now - at < WITHIN_S]
        if len(self._times) >= MOST:
            raise attach.AttachError(
                "not-running", "the daemon went away again and again; see mcpctl logs --daemon"
            )
        self._times.append(now)


def pause(before: int) -> float:
    """Seconds to wait after so many times lately: growing, and never the same for two stubs."""
    if before == 0:
        return 0.0
    chance = 0.5 + int.from_bytes(os.urandom(2), sys.byteorder) / 65535
    return min(FIRST_PAUSE_S * 2.0 ** (before - 1) * chance, LONGEST_PAUSE_S)


def _wait(stdout: int, seconds: float) -> None:
    """Wait, but not for a client that is gone. Raises `ClientGoneError`."""
    poll = select.poll()
    poll.register(stdout, 0)
    if any(
        event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0)
    ):
        raise ClientGoneError
    if seconds and poll.poll(seconds * 1000):
        raise ClientGoneError


def temporary_file() -> int:
    """A file without a name, where there is no memory that can be passed on: macOS."""
    path = f"{os.environ.get('TMPDIR') or '/tmp'}/mcpctl.{os.getpid()}.{os.urandom(8).hex()}"  # noqa: S108
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    except OSError as exc:
        raise attach.AttachError("denied", f"cannot make a file: {exc}") from exc
    return fd
