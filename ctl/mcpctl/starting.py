"""Start the daemon from a stub: one winner, however many stubs start at once."""

import _socket
import errno
import fcntl
import os
import sys
import time

from mcpctl import attach, wire

START_BOUND_S = 20.0
POLL_S = 0.005

# A daemon outlives the client that happened to start it: what it gets is what a login session would give it.
# Nothing here chooses a program; the environment of a server's process is recorded in its own file.
KEPT = (
    "HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR",
    "DBUS_SESSION_BUS_ADDRESS", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip
KEPT_PREFIXES = ("LC_", "XDG_", "MCPCTL_")
NOT_KEPT = ("MCPCTL_BEARER_TOKEN", "MCPCTL_PASSWORD")


def start_daemon() -> _socket.socket:
    """Start `mcpctld` unless another stub just did, and connect to it. Raises `attach.AttachError`."""
    folder = wire.runtime_dir()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(f"{folder}/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise attach.AttachError(
            "not-running", f"cannot use the socket folder {folder}: {exc.strerror}"
        ) from exc
    try:
        # Whoever holds the lock is starting a daemon and gives up after START_BOUND_S; if it dies, the lock is free.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _connected() or _start(folder)
    finally:
        os.close(lock)


def _start(folder: str) -> _socket.socket:
    errors = f"{folder}/start.err"
    pid = _spawn(errors)
    deadline = time.monotonic() + START_BOUND_S
    while time.monotonic() < deadline:
        if sock := _connected():
            return sock
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            raise attach.AttachError(
                "not-running", f"the daemon did not start: {_last_words(errors)}"
            )
        time.sleep(POLL_S)
    raise attach.AttachError(
        "not-running",
        f"the daemon did not answer within {START_BOUND_S:.0f} s; see mcpctl logs --daemon",
    )


def _spawn(errors: str) -> int:
    """Start the daemon in a session of its own: no terminal, no signals of the client's process group."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    argv = [sys.executable, "-P", "-m", "mcpctld", "--started-by-stub"]
    return os.posix_spawn(
        sys.executable, argv, clean_environment(), file_actions=actions, setsid=True
    )


def clean_environment() -> dict[str, str]:
    """The variables that a daemon started by a stub gets."""
    return {
        key: value
        for key, value in os.environ.items()
        if (key in KEPT or key.startswith(KEPT_PREFIXES)) and key not in NOT_KEPT
    }


def _connected() -> _socket.socket | None:
    try:
        return attach.connect()
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
            return None
        raise attach.AttachError(
            "not-running", f"cannot connect to {wire.attach_socket()}: {exc.strerror or exc}"
        ) from exc


def _last_words(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip() or "it said nothing; see mcpctl logs --daemon"
    except OSError:
        return "it said nothing; see mcpctl logs --daemon"
