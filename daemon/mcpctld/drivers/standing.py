"""The place where stubs and commands find the daemon: a lock, and two listening sockets. One daemon stands there.

Who leaves it lets the next one in at once, and may go on with what it has begun.
"""

import os
import socket
import time
from typing import Self

from mcpctl import shapes, wire
from mcpctld.drivers import activation, unix
from mcpctld.errors import Conflict

LOCK_BOUND_S = 15.0
"""How long a daemon that is about to leave is waited for; less than a stub waits for the one that it starts."""
POLL_S = 0.01


class Standing:
    """The lock and the sockets, ours or those that a service manager made for us."""

    def __init__(self) -> None:
        """Take the place. Raises `McpctlError` when it is taken, or cannot be."""
        self._given, self.manager = _activated_sockets()
        unix.private_folder(wire.runtime_dir())
        self._lock = _lock()
        self.listeners = {name: self._listen(name) for name in activation.NAMES}
        self._made = {name: _identity(_path(name)) for name in self.listeners}

    def _listen(self, name: str) -> socket.socket:
        if name not in self._given:
            return unix.listen(_path(name))
        listener = socket.socket(fileno=self._given[name])
        listener.setblocking(False)
        return listener

    def leave(self) -> None:
        """Let the next daemon in: our sockets are removed, and the lock is free. What was accepted stays."""
        for name, made in self._made.items():
            # A service manager may have put its own socket there meanwhile.
            if name not in self._given and made is not None and _identity(_path(name)) == made:
                _remove(_path(name))
        self._made = {}
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners.values():
            listener.close()
        self.leave()


def _lock() -> int:
    """The lock; waits while a daemon holds it that does not listen any more."""
    deadline = time.monotonic() + LOCK_BOUND_S
    while True:
        try:
            return unix.lock_file(f"{wire.runtime_dir()}/mcpctld.lock")
        except Conflict:
            if time.monotonic() > deadline or unix.is_live(wire.attach_socket()):
                raise
        time.sleep(POLL_S)


def _activated_sockets() -> tuple[dict[str, int], shapes.Activation]:
    """The sockets that a service manager made for us, and which one it was."""
    if given := activation.listen_fds(os.environ, os.getpid()):
        return given, "systemd"
    if given := activation.launchd_sockets():
        return given, "launchd"
    return {}, "self"


def _path(name: str) -> str:
    return wire.attach_socket() if name == "attach" else wire.control_socket()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
