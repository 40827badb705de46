"""`mcpctl daemon`: run it, and let the login session's service manager run it."""

import argparse
import os
import signal

from mcpctl import output, service, shapes
from mcpctl.client import Client
from mcpctl.commands.common import Commands, command, json_flag, verbs
from mcpctl.daemon_process import program, running_client, wait_gone, wait_successor
from mcpctl.errors import CtlError, NotRunning
from mcpctl.service import Service

STOP_BOUND_S = 45.0
"""A drain takes 10 s unless configured otherwise, the end of the children a few more."""

TAKE_OVER_TRIES = 3


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    group = verbs(command(commands, "daemon", None, "run the daemon, or have it run as a service"))
    for name, run, text in (
        ("install", install, "make the daemon a service that starts when a client needs it"),
        ("uninstall", uninstall, "remove the service"),
        ("start", start, "start the daemon"),
        ("stop", stop, "let the daemon finish its calls, and end it and its sessions"),
        ("restart", restart, "start the daemon anew; sessions go on"),
        ("run", run_here, "run the daemon in the foreground, for service managers of other kinds"),
    ):
        command(group, name, run, text)
    command(commands, "restart", restart, "start the daemon anew; sessions go on")
    json_flag(command(group, "status", status, "show whether and how the daemon runs"))


def install(_: argparse.Namespace) -> int:
    """Install the service, and let it take over from a daemon that a client started."""
    found = service.manager()
    if found is None:
        raise CtlError(
            "unreachable",
            "cannot install a service: no systemd user manager answers here; nothing is lost: "
            "clients start the daemon themselves, 'mcpctl daemon start' starts it now",
        )
    paths = found.write()
    _take_over(found)
    for path in paths:
        print(f"wrote {path}")
    print(f"{found.name} starts the daemon when a client needs it")
    return 0


def uninstall(_: argparse.Namespace) -> int:
    """Remove the service; clients start the daemon themselves from then on."""
    found = service.manager()
    if found is None or not found.installed():
        output.note("there is no service to remove")
        return 0
    for path in found.uninstall():
        print(f"removed {path}")
    return 0


def start(_: argparse.Namespace) -> int:
    """Start the daemon: as a service where it is installed, else as a client would."""
    found = _installed()
    if found:
        found.start()
    info = running_client().status()["daemon"]
    print(f"the daemon runs, process {info['pid']}")
    return 0


def stop(_: argparse.Namespace) -> int:
    """End the daemon and its sessions; calls in flight are finished within its bound."""
    found = _installed()
    # Where the manager listens for a daemon that does not run, to ask would start it.
    asleep = found is not None and found.listening() and not found.running()
    ended = not asleep and _shut_down()
    if found and _holds(found):
        found.stop()
    if ended or found:
        print("the daemon has ended")
    else:
        output.note("the daemon was not running")
    return 0


def restart(_: argparse.Namespace) -> int:
    """Start the daemon anew; sessions go on."""
    found = _installed()
    if found:
        stranger = _stranger(found)
        found.restart()
        _dismiss(stranger)
        info: shapes.DaemonInfo | None = running_client().status()["daemon"]
    else:
        info = _hand_over()
    if info is None:
        raise CtlError("timeout", f"no other daemon answers within {STOP_BOUND_S:.0f} s")
    print(f"the daemon runs, process {info['pid']}")
    return 0


def run_here(_: argparse.Namespace) -> int:
    """Become the daemon."""
    argv = program()
    os.execv(argv[0], argv)  # noqa: S606  (our own program)


def status(args: argparse.Namespace) -> int:
    """Print whether the daemon runs and who starts it. Asking does not start it."""
    found = service.manager()
    info = _info(found)
    if args.json:
        output.as_json(
            {
                "running": info is not None,
                "manager": found.name if found else None,
                "installed": bool(found and found.installed()),
                "listening": bool(found and found.listening()),
                "daemon": info,
            }
        )
    else:
        print(_running_line(info))
        print(_service_line(found))
    return 0 if info else NotRunning("").exit_code


def _take_over(found: Service) -> None:
    """Have the manager hold the sockets; a daemon that a client started hands its sessions over to the service."""
    for _ in range(TAKE_OVER_TRIES):
        stranger = _stranger(found)
        found.enable()
        _dismiss(stranger)
        if Client().status()["daemon"]["activation"] == found.name:
            return
        found.stop()
    raise CtlError("conflict", "clients start a daemon faster than the service; run install again")


def _holds(found: Service) -> bool:
    return found.listening() or found.running()


def _stranger(found: Service) -> int | None:
    """The process of a daemon that a client started. Behind the manager's own sockets, to ask would start another."""
    if _holds(found):
        return None
    try:
        return Client().status()["daemon"]["pid"]
    except NotRunning:
        return None


def _dismiss(stranger: int | None) -> None:
    """Have it hand its sessions over. It cannot be asked: what leads to its sockets leads to the manager's now."""
    if stranger is not None:
        try:
            os.kill(stranger, signal.SIGTERM)
        except ProcessLookupError:
            pass


def _hand_over() -> shapes.DaemonInfo | None:
    """Have the daemon, if there is one, leave its sessions to the next: which one that is."""
    client = Client()
    try:
        pid = client.status()["daemon"]["pid"]
        client.handover()
    except NotRunning:
        pid = 0
    return wait_successor(pid, STOP_BOUND_S)


def _installed() -> Service | None:
    found = service.manager()
    return found if found and found.installed() else None


def _shut_down() -> bool:
    """End the daemon that answers; False when there is none."""
    client = Client()
    try:
        found = client.status()
        client.shutdown()
    except NotRunning:
        return False
    if found["sessions"]:
        output.note(f"waiting for {len(found['sessions'])} sessions to finish their calls")
    pid = found["daemon"]["pid"]
    if not wait_gone(pid, STOP_BOUND_S):
        raise CtlError(
            "timeout", f"the daemon, process {pid}, still runs after {STOP_BOUND_S:.0f} s"
        )
    return True


def _info(found: Service | None) -> shapes.DaemonInfo | None:
    if found and found.listening() and not found.running():
        return None  # to connect would start it
    try:
        return Client().status()["daemon"]
    except NotRunning:
        return None


def _running_line(info: shapes.DaemonInfo | None) -> str:
    if info is None:
        return "the daemon is not running"
    up = output.ago(info["started_at"])
    by = "a client" if info["activation"] == "self" else info["activation"]
    return f"the daemon runs: version {info['version']}, process {info['pid']}, up {up}, by {by}"


def _service_line(found: Service | None) -> str:
    if found is None:
        return "no service manager answers here; clients start the daemon themselves"
    if not found.installed():
        return f"no service is installed; 'mcpctl daemon install' makes one for {found.name}"
    state = "listens" if found.listening() else "does not listen; 'mcpctl daemon start'"
    return f"the service is installed, and {found.name} {state}"
