"""Listening sockets that the service manager made for us: systemd's environment, launchd's call.

systemd: sd_listen_fds(3), descriptors from 3 on, described by three variables. launchd:
`launch_activate_socket(3)` in libSystem, one call for each name of the `Sockets` dictionary.
Both answer names to descriptors; no name at all means that nobody passed us anything.
"""

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable, MutableMapping

from mcpctld.errors import McpctlError, UserError

NAMES = ("attach", "control")
"""The sockets that the daemon serves, as the units name them."""

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

Activate = Callable[[str], tuple[int, list[int]]]
"""The call of launchd: a name to an errno (0 is success) and the descriptors behind it."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def listen_fds(environ: MutableMapping[str, str], pid: int) -> dict[str, int]:
    """The sockets that systemd passed to process `pid`, by name; empty when it passed none.

    The variables are removed from `environ`, so that no child takes them for its own, and the
    descriptors are closed on exec. Raises `UserError` on descriptors that are not ours to serve.
    """
    told = {name: environ.pop(name, "") for name in _VARIABLES}
    if told["LISTEN_PID"] != str(pid):  # meant for a parent of ours, or not set at all
        return {}
    count = _count(told["LISTEN_FDS"])
    fds = range(FIRST_FD, FIRST_FD + count)
    for fd in fds:
        _close_on_exec(fd)
    names = told["LISTEN_FDNAMES"].split(":") if told["LISTEN_FDNAMES"] else []
    if len(names) != count:
        raise _refused(f"{count} sockets came with {len(names)} names in LISTEN_FDNAMES")
    return _named(zip(names, fds, strict=True))


def launchd_sockets(
    names: Iterable[str] = NAMES, activate: Activate | None = None
) -> dict[str, int]:
    """The sockets that launchd holds for this job, by name; empty when launchd did not start us.

    Raises `UserError` when the property list does not name one of them.
    """
    if activate is None and sys.platform == "darwin":
        activate = _launch_activate_socket
    if activate is None:
        return {}
    found: list[tuple[str, int]] = []
    for name in names:
        code, fds = activate(name)
        if code == errno.ESRCH:  # this process is not managed by launchd
            return {}
        if code:
            raise _refused(f"launchd answers {os.strerror(code)!r} for socket {name!r}")
        found += [(name, fd) for fd in fds]
    for _, fd in found:
        _close_on_exec(fd)
    return _named(found)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _refused(f"LISTEN_FDS is {text!r}, not a number")
    return int(text)


def _close_on_exec(fd: int) -> None:
    try:
        os.set_inheritable(fd, False)
    except OSError as exc:
        raise _refused(f"descriptor {fd} is not open") from exc


def _named(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, fd in pairs:
        if name not in NAMES:
            raise _refused(f"there is no use for a socket named {name!r}")
        if name in found:
            raise _refused(f"there are two sockets named {name!r}")
        _check_listener(name, fd)
        found[name] = fd
    return found


def _check_listener(name: str, fd: int) -> None:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        raise _refused(f"descriptor {fd} ({name!r}) is not a socket") from exc
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listens:
            raise _refused(f"descriptor {fd} ({name!r}) is not a listening unix stream socket")
    finally:
        sock.detach()  # the number belongs to the caller


def _refused(why: str) -> McpctlError:
    return UserError(
        f"cannot use the sockets of the service manager: {why}; "
        "install the service again with 'mcpctl daemon install'"
    )


def _launch_activate_socket(name: str) -> tuple[int, list[int]]:
    # int launch_activate_socket(const char *name, int **fds, size_t *cnt); the caller frees fds.
    import ctypes

    system = ctypes.CDLL(None)
    fds = ctypes.POINTER(ctypes.c_int)()
    count = ctypes.c_size_t()
    code = system.launch_activate_socket(name.encode(), ctypes.byref(fds), ctypes.byref(count))
    if code:
        return code, []
    found = [fds[index] for index in range(count.value)]
    system.free(fds)
    return 0, found
