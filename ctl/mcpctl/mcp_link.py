"""Newline-delimited JSON with the daemon, through two pipes whose far ends it was handed.

The same way that every MCP client goes, `attach` included.
"""

import contextlib
import json
import os
import select
import time
from typing import TYPE_CHECKING, Any, Self

from mcpctl import attach, wire
from mcpctl.daemon_process import translated, working_folder
from mcpctl.errors import CtlError, SessionEnded

if TYPE_CHECKING:
    from _socket import socket

END_BOUND_S = 5.0
"""How long the daemon's last words may take once the answers have ended."""

CHUNK = 65536
Fields = list[tuple[str, str]]
"""What the greeting says: `server` or `url`, and what belongs to that."""


class Link:
    """One attached session as messages; every wait is bounded by `deadline`.

    Use it as a context manager. `deadline` is in the time of `time.monotonic`.
    """

    def __init__(self, fields: Fields) -> None:
        requests_out, self._requests = os.pipe()
        self._answers, answers_in = os.pipe()
        passed = (requests_out, answers_in)
        try:
            with translated():
                everything = [*fields, ("cwd", working_folder()), ("ppid", str(os.getpid()))]
                everything.append(("version", wire.VERSION))
                self._control: socket = attach.hand_over(everything, [*passed, 2])
        except CtlError:
            self._close_pipes()
            raise
        finally:
            for fd in passed:
                os.close(fd)
        os.set_blocking(self._requests, False)
        self._buffer = bytearray()
        self._searched = 0
        self.deadline = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_pipes()
        self._control.close()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            self._wait(self._requests, select.POLLOUT)
            try:
                data = data[os.write(self._requests, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as exc:
                raise self._ended() from exc

    def receive(self) -> dict[str, Any]:
        """Read one message; what is not a JSON object is a `peer` error."""
        while (line := self._next_line()) is None:
            self._wait(self._answers, select.POLLIN)
            data = os.read(self._answers, CHUNK)
            if not data:
                raise self._ended()
            self._buffer += data
        try:
            message = json.loads(line)
        except ValueError as exc:
            raise CtlError("peer", f"the server's line is not JSON: {line[:80]!r}") from exc
        if not isinstance(message, dict):
            raise CtlError("peer", f"the server's line is not a JSON object: {line[:80]!r}")
        return message

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _wait(self, fd: int, event: int) -> None:
        poll = select.poll()
        poll.register(fd, event)
        left = self.deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise CtlError(
                "timeout", "the server did not answer in time; --timeout gives it longer"
            )

    def _ended(self) -> CtlError:
        """The daemon's last line, which says why the session is over."""
        self._control.settimeout(END_BOUND_S)
        line = b""
        try:
            while not line.endswith(b"\n") and (data := self._control.recv(4096)):
                line += data
        except OSError:
            pass
        code, _, text = line.decode("utf-8", "replace").strip().partition(" ")
        if not code.isdigit():
            return CtlError("not-running", "the daemon went away")
        return SessionEnded(int(code), text.removeprefix("mcpctl: "))

    def _close_pipes(self) -> None:
        for fd in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(fd)
