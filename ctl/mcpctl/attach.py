"""`mcpctl attach`: hand our descriptors to the daemon, then only wait.

The daemon itself reads the client's requests from our stdin and writes answers to our stdout; not one byte passes
through here (SCM_RIGHTS, as tmux and OpenSSH's mux do). What waits is a shell of 0.15 MiB in our place.

This is the fast path: `os`, `sys`, `errno`, `_socket` and `mcpctl.wire`, nothing else. What is needed seldom
(starting a daemon, copying for a terminal, reading flags) is imported where it is needed.
"""

import _socket
import errno
import os
import sys

from mcpctl import wire

SHELL = "/bin/sh"
CONTROL_FD = 9  # dash redirects single digits only
CHECKPOINT_FD = 8
HAND_OVER_TRIES = 3

# The daemon's one line is `<exit code> <text>`. End of file without it means that the daemon is gone: become
# ourselves again, and look for the next one. The words are arguments, so nothing needs quoting.
WAIT = f"""\
read -r code text <&{CONTROL_FD} || exec "$@"
[ -n "$text" ] && printf '%s\\n' "$text" >&2
exit "$code"
"""


class AttachError(Exception):
    """What the user is told; `kind` is a key of `wire.KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(argv: list[str]) -> int:
    """Run `attach` or `proxy`: `argv` begins with that word. Returns the exit code, or becomes the waiting shell."""
    try:
        if argv[1:2] == ["--resume"]:
            from mcpctl.resuming import resume

            return resume(argv[2:])
        return attach(read_fields(argv))
    except AttachError as exc:
        sys.stderr.write(f"mcpctl: {exc}\n")
        return wire.exit_code(exc.kind)
    except KeyboardInterrupt:
        return 130


def read_fields(argv: list[str]) -> list[tuple[str, str]]:
    """The greeting's fields from the command line."""
    if len(argv) == 2 and argv[0] == "attach" and not argv[1].startswith("-"):
        return [("server", argv[1])]
    from mcpctl.attach_flags import parse

    return parse(argv)


def attach(fields: list[tuple[str, str]]) -> int:
    """Hand over descriptors 0, 1 and 2 and wait for the end of the session."""
    fields += [("cwd", _cwd()), ("ppid", str(os.getppid())), ("version", wire.VERSION)]
    if not (_can_pass(0) and _can_pass(1)) or _same_file(1, 2):
        from mcpctl.copying import attach_by_copying

        return attach_by_copying(fields)
    fields.append(("blocking", f"{os.get_blocking(0):d}{os.get_blocking(1):d}"))
    make_checkpoint(fields)
    control = hand_over(fields, [0, 1, stderr(), CHECKPOINT_FD])
    wait_as_shell(control, fields[0][1], [])
    return wire.exit_code("internal")  # not reached: exec replaced us


def make_checkpoint(fields: list[tuple[str, str]]) -> None:
    """Have a file for the daemon to note in what the next one must know, as descriptor `CHECKPOINT_FD`.

    It is memory, begins with the greeting, and lives as long as we hold it. Of the same number, so that it is found
    again; before anything else is opened, which might get that number.
    """
    try:
        fd = os.memfd_create("mcpctl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # not Linux
        from mcpctl.resuming import temporary_file

        fd = temporary_file()
    os.write(fd, wire.encode_hello(fields))
    if fd != CHECKPOINT_FD:
        os.dup2(fd, CHECKPOINT_FD, inheritable=False)  # not for a daemon that we start
        os.close(fd)


def hand_over(fields: list[tuple[str, str]], fds: list[int]) -> _socket.socket:
    """Send the greeting with `fds` (stdin, stdout, stderr, checkpoint); the answer is the control connection.

    On it one line `<exit code> <text>` arrives when the session ends. Raises `AttachError`.
    """
    greeting = wire.encode_hello(fields)
    error = None
    for _ in range(HAND_OVER_TRIES):
        control = ensure_daemon()
        _check_daemon(control)
        try:
            _send(control, greeting, fds)
            return control
        except OSError as exc:  # it has just begun to stop: another one runs, or can be started
            control.close()
            error = exc
    raise AttachError("not-running", f"the daemon hung up during the greeting: {error}") from error


def _send(control: _socket.socket, greeting: bytes, fds: list[int]) -> None:
    numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    sent = control.sendmsg([greeting], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    while sent < len(greeting):
        sent += control.send(greeting[sent:])


def ensure_daemon() -> _socket.socket:
    """A connection to `attach.sock`; a daemon is started if none runs. Raises `AttachError`."""
    _check_folder()
    try:
        return connect()
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            raise AttachError(
                "not-running", f"cannot connect to {wire.attach_socket()}: {exc.strerror or exc}"
            ) from exc
    from mcpctl.starting import start_daemon

    return start_daemon()


def connect() -> _socket.socket:
    """A connection to a running daemon. Raises `OSError`."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(wire.attach_socket())
    except OSError:
        sock.close()
        raise
    return sock


def wait_as_shell(control: _socket.socket, name: str, resumed: list[str]) -> None:
    """Become a shell that waits for the daemon's last line and exits with its code, or comes back to `resume`.

    The shell keeps descriptors 0, 1 and 2 open, so the client sees its end of file when the session is over, and
    a signal to us still ends the session: the daemon sees the control connection close. `resumed` is for `resume`.
    """
    os.dup2(control.fileno(), CONTROL_FD)
    os.set_inheritable(CHECKPOINT_FD, True)
    ourselves = __file__.rpartition("/")[0] + "/entry.py"
    again = [sys.executable, "-I", "-S", ourselves, "--resume", *resumed]
    title = f"mcpctl attach {name}"
    os.execv(SHELL, [title, "-c", WAIT, title, *again])  # noqa: S606  (a constant program)


def _check_folder() -> None:
    """Refuse a socket folder in which somebody else could answer for the daemon."""
    folder = wire.runtime_dir()
    try:
        found = os.stat(folder)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise AttachError(
            "denied", f"cannot use the socket folder {folder}: {exc.strerror}"
        ) from exc
    if found.st_uid != os.geteuid():
        raise AttachError(
            "denied",
            f"the socket folder {folder} belongs to user {found.st_uid}, not to you; "
            "run as that user or set MCPCTL_RUNTIME_DIR to a folder of your own",
        )
    if found.st_mode & 0o077:
        raise AttachError(
            "denied", f"other users can enter the socket folder {folder}; run: chmod 700 {folder}"
        )


def _check_daemon(control: _socket.socket) -> None:
    """Hand our descriptors to a daemon of our own user, and to nobody else who may have put a socket there."""
    if sys.platform == "linux":  # struct ucred {pid, uid, gid}
        credentials = control.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    else:  # <sys/un.h>: LOCAL_PEERCRED of SOL_LOCAL gives struct xucred {version, uid, …}
        credentials = control.getsockopt(0, 1, 76)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    # The manager of a systemd user session makes our sockets as us, launchd's as root.
    if uid not in (os.geteuid(), 0):
        raise AttachError(
            "denied",
            f"{wire.attach_socket()} is served by user {uid}, not by you; remove that socket",
        )


def _can_pass(fd: int) -> bool:
    """Whether the daemon can wait on this descriptor: pipes and sockets, not terminals, files or /dev/null."""
    try:
        return os.fstat(fd).st_mode & 0o170000 in (0o010000, 0o140000)  # S_IFIFO, S_IFSOCK
    except OSError:
        return False


def _same_file(one: int, other: int) -> bool:
    # The daemon makes our stdout non-blocking, which sits on the open file description: were stderr the same
    # one (`2>&1`), others who write to it would be hit too.
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def stderr() -> int:
    """Our stderr, or something in its place."""
    try:
        os.fstat(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
    return 2


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
