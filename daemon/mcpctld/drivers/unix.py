"""Our Unix sockets: made safely, accepted from our own user only, with the descriptors that come along."""

import fcntl
import os
import socket
import stat
import struct
import sys

import trio

from mcpctl import wire
from mcpctld.errors import Conflict, Denied, PeerError, UserError

BACKLOG = 1024
SUN_PATH = 108 if sys.platform == "linux" else 104
"""The size of `sun_path` in <sys/un.h>, which takes the path and a NUL."""
MAX_FDS = 8
"""A greeting brings four; a few more are taken to be able to say so."""


def private_folder(path: str) -> None:
    """Make sure that `path` is a folder only we can enter; 0700 when we make it. Raises `Denied` or `UserError`."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.stat(path)
    except OSError as exc:
        raise UserError(f"cannot make the folder {path}: {exc.strerror}") from exc
    if found.st_uid != os.geteuid():
        raise Denied(
            f"the folder {path} belongs to user {found.st_uid}, not to us; set MCPCTL_RUNTIME_DIR to another"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Denied(f"other users can enter the folder {path}; run: chmod 700 {path}")


def lock_file(path: str) -> int:
    """Take the lock that makes us the only daemon, held until the descriptor closes.

    Raises `Conflict` when another daemon holds it, `UserError` when it cannot be taken at all.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise UserError(f"cannot open the lock file {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        error = _not_locked(path, fd, exc)
        os.close(fd)
        raise error from exc
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def _not_locked(path: str, fd: int, exc: OSError) -> Conflict | UserError:
    if not isinstance(exc, BlockingIOError):
        return UserError(
            f"cannot lock {path}: {exc.strerror}; set MCPCTL_RUNTIME_DIR to a folder on a local disk"
        )
    holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
    return Conflict(
        f"a daemon is running already (process {holder}); stop it with: mcpctl daemon stop"
    )


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, mode 0600. A dead one there is replaced; a live one is a `Conflict`.

    To be called with the lock held: between the look and the replacement nobody else may come.
    """
    if len(os.fsencode(path)) >= SUN_PATH:
        raise UserError(
            f"cannot listen on {path}: the path is longer than {SUN_PATH - 1} bytes; "
            "set MCPCTL_RUNTIME_DIR to a shorter one"
        )
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise UserError(f"cannot listen on {path}: {exc.strerror or exc}") from exc
    finally:
        os.umask(umask)
    sock.setblocking(False)
    return sock


def _clear(path: str) -> None:
    """Remove what a daemon that died left at `path`, and nothing else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UserError(f"{path} exists and is not a socket; move it away")
    if not is_live(path):
        os.unlink(path)
    else:
        raise Conflict(f"another program listens on {path}; stop it first")


def is_live(path: str) -> bool:
    """Whether somebody listens. Only a refusal says that nobody does: a full backlog, say, is a sign of life."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            pass
    return True


def peer_uid(sock: socket.socket | trio.socket.SocketType) -> int:
    """The user at the other end of a connected Unix socket."""
    if sys.platform == "linux":  # struct ucred {pid, uid, gid}
        uid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    else:  # macOS, <sys/un.h>: LOCAL_PEERCRED on level SOL_LOCAL gives struct xucred {version, uid, …}
        uid = struct.unpack_from("2I", sock.getsockopt(0, 1, 76))[1]
    return int(uid)


def peer_pid(sock: socket.socket | trio.socket.SocketType) -> int:
    """The process at the other end, as it was when it connected."""
    if sys.platform == "linux":
        pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    else:  # macOS: LOCAL_PEERPID
        pid = struct.unpack("i", sock.getsockopt(0, 2, 4))[0]
    return int(pid)


def check_peer(sock: socket.socket | trio.socket.SocketType) -> None:
    """Refuse other users; root too, for it has no sessions here. Raises `Denied`."""
    if (uid := peer_uid(sock)) != os.geteuid():
        raise Denied(f"refused a connection of user {uid}")


async def receive_greeting(sock: trio.socket.SocketType) -> tuple[list[tuple[str, str]], list[int]]:
    """The greeting of an attach stub and the descriptors that came with it, which the caller then owns.

    Raises `PeerError` when it is not a greeting. However it fails, cancelled too, no descriptor stays open.
    """
    fds: list[int] = []
    try:
        header = await _receive_exactly(sock, wire.HELLO_HEADER, fds)
        body = await _receive_exactly(sock, wire.hello_length(header), fds)
        return wire.decode_hello(body), fds
    except BaseException as exc:
        for fd in fds:
            os.close(fd)
        if isinstance(exc, ValueError | OSError):
            raise PeerError(f"not an attach greeting: {exc}") from exc
        raise


async def _receive_exactly(sock: trio.socket.SocketType, count: int, fds: list[int]) -> bytes:
    data = b""
    while len(data) < count:
        more, ancillary, flags, _address = await sock.recvmsg(
            count - len(data),
            socket.CMSG_SPACE(4 * MAX_FDS),
            getattr(socket, "MSG_CMSG_CLOEXEC", 0),
        )
        for level, kind, numbers in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds += _take(numbers)
        if flags & socket.MSG_CTRUNC or len(fds) > MAX_FDS:
            raise ValueError("too many descriptors came with it")
        if not more:
            raise ValueError("it ended too soon")
        data += more
    return data  # noqa: ASYNC910  (`count` is 0 only for an empty body, after a header was awaited)


def _take(numbers: bytes) -> list[int]:
    usable = len(numbers) - len(numbers) % 4
    fds = [int.from_bytes(numbers[at : at + 4], sys.byteorder) for at in range(0, usable, 4)]
    for fd in fds:
        os.set_inheritable(fd, False)  # macOS has no MSG_CMSG_CLOEXEC
    return fds
