"""The daemon as a process: start one, find its program, wait until it is gone."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from mcpctl import attach, shapes, wire
from mcpctl.client import Client
from mcpctl.errors import CtlError, NotRunning

CONTROL_BOUND_S = 10.0
"""A daemon opens `attach.sock` first and loads the control API when it is first asked for."""

POLL_S = 0.02


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of `attach` into ours, and keep our working folder: it may change that."""
    here = working_folder()
    try:
        yield
    except attach.AttachError as exc:
        raise CtlError(exc.kind, str(exc)) from exc
    finally:
        with contextlib.suppress(OSError):
            os.chdir(here or "/")


def working_folder() -> str:
    """Where we are; empty when that was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def running_client() -> Client:
    """A client of the daemon, which is started if none runs."""
    client = Client()
    if answers():
        return client
    with translated():
        attach.ensure_daemon().close()
    deadline = time.monotonic() + CONTROL_BOUND_S
    while not answers():
        if time.monotonic() > deadline:
            raise NotRunning(wire.control_socket(), "but attach.sock answers")
        time.sleep(POLL_S)
    return client


def program() -> list[str]:
    """The command that runs the daemon of this installation, its program as an absolute path."""
    script = os.path.join(os.path.dirname(sys.executable), "mcpctld")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-P", "-m", "mcpctld"]


def wait_successor(pid: int, bound_s: float) -> shapes.DaemonInfo | None:
    """Wait until another daemon than process `pid` answers, which is started if none runs; None if none did."""
    deadline = time.monotonic() + bound_s
    while time.monotonic() < deadline:
        try:
            info = running_client().status()["daemon"]
        except NotRunning:  # that one was just about to go
            continue
        if info["pid"] != pid:
            return info
        time.sleep(POLL_S)
    return None


def wait_gone(pid: int, bound_s: float) -> bool:
    """Wait until process `pid` has ended; another daemon may have been started meanwhile."""
    deadline = time.monotonic() + bound_s
    while time.monotonic() < deadline:
        if not _alive(pid):
            return True
        time.sleep(POLL_S)
    return False


def answers() -> bool:
    """Whether a daemon answers on the control socket right now."""
    try:
        return bool(Client(timeout_s=5.0).health())
    except NotRunning:
        return False
    except CtlError:
        return True  # it is there, if not well


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    # In a container nobody may reap it; it has ended all the same.
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def log_file() -> str:
    """Where the daemon writes its log."""
    return f"{wire.state_dir()}/mcpctld.log"
