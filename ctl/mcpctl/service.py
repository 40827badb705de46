"""The daemon as a service of the login session: systemd's user manager, or launchd.

Both hold the sockets themselves and start the daemon with the first connection. Two classes do
what `Service` says; `manager()` picks the one that is here.
"""

import os
import subprocess
import sys
from typing import Protocol

from mcpctl import units, wire
from mcpctl.daemon_process import program
from mcpctl.errors import CtlError

PROBE_BOUND_S = 10.0
RUN_BOUND_S = 60.0
"""Stopping waits for a drain (TimeoutStopSec=40)."""


class Service(Protocol):
    """What a service manager does for the daemon. Every method but the three questions may fail."""

    name: str

    def installed(self) -> bool:
        """Whether our files are in their place."""

    def listening(self) -> bool:
        """Whether the manager holds our sockets, so that a connection starts the daemon."""

    def running(self) -> bool:
        """Whether the manager runs the daemon right now."""

    def write(self) -> list[str]:
        """Put our files in their place; answers their paths."""

    def enable(self) -> None:
        """Hold the sockets, now and from every login on."""

    def uninstall(self) -> list[str]:
        """Stop everything and delete our files; answers their paths."""

    def start(self) -> None:
        """Hold the sockets and run the daemon."""

    def stop(self) -> None:
        """End the daemon after its drain and give the sockets up until the next login."""

    def restart(self) -> None:
        """Run the daemon anew; the sockets stay, so that no client is turned away."""


def manager() -> Service | None:
    """The service manager of this login session; None where there is none, as in containers."""
    if sys.platform == "darwin":
        return _Launchd()
    if _probe(["systemctl", "--user", "show", "--property=Version"]) is not None:
        return _Systemd()
    return None


class _Systemd:
    """`systemctl --user`."""

    name = "systemd"

    def __init__(self) -> None:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._folder = f"{base}/systemd/user"

    def installed(self) -> bool:
        return all(map(os.path.exists, self._paths()))

    def listening(self) -> bool:
        return self._is_active(*units.SYSTEMD_SOCKETS)

    def running(self) -> bool:
        return self._is_active("mcpctld.service")

    def write(self) -> list[str]:
        for name, text in units.systemd_units(program()).items():
            _write(f"{self._folder}/{name}", text)
        self._run("daemon-reload")
        return self._paths()

    def enable(self) -> None:
        self._run("enable", "--now", *units.SYSTEMD_SOCKETS)
        self._run("try-restart", "mcpctld.service")  # when an older one of ours runs

    def uninstall(self) -> list[str]:
        self._run("disable", "--now", *units.SYSTEMD_SOCKETS)
        self._run("stop", "mcpctld.service")
        removed = _delete(self._paths())
        self._run("daemon-reload")
        return removed

    def start(self) -> None:
        self._run("start", *units.SYSTEMD_SOCKETS, "mcpctld.service")

    def stop(self) -> None:
        # In one call: a socket left behind would start the daemon again at once.
        self._run("stop", *units.SYSTEMD_SOCKETS, "mcpctld.service")

    def restart(self) -> None:
        self._run("start", *units.SYSTEMD_SOCKETS)
        self._run("restart", "mcpctld.service")

    def _paths(self) -> list[str]:
        return [f"{self._folder}/{name}" for name in units.SYSTEMD_UNITS]

    def _is_active(self, *names: str) -> bool:
        return _probe(["systemctl", "--user", "--quiet", "is-active", *names]) is not None

    def _run(self, *words: str) -> None:
        _run(["systemctl", "--user", *words])


class _Launchd:
    """`launchctl` in the domain of the graphical login."""

    name = "launchd"

    def __init__(self) -> None:
        self._path = os.path.expanduser(f"~/Library/LaunchAgents/{units.LAUNCHD_LABEL}.plist")
        self._domain = f"gui/{os.getuid()}"
        self._target = f"{self._domain}/{units.LAUNCHD_LABEL}"

    def installed(self) -> bool:
        return os.path.exists(self._path)

    def listening(self) -> bool:
        return _probe(["launchctl", "print", self._target]) is not None

    def running(self) -> bool:
        return b"state = running" in (_probe(["launchctl", "print", self._target]) or b"")

    def write(self) -> list[str]:
        for folder in (wire.runtime_dir(), wire.state_dir()):  # launchd makes no folders
            os.makedirs(folder, mode=0o700, exist_ok=True)
        _write(self._path, units.launchd_agent(program()))
        return [self._path]

    def enable(self) -> None:
        self._unload()
        _run(["launchctl", "bootstrap", self._domain, self._path])

    def uninstall(self) -> list[str]:
        self._unload()
        return _delete([self._path])

    def start(self) -> None:
        if not self.listening():
            _run(["launchctl", "bootstrap", self._domain, self._path])
        _run(["launchctl", "kickstart", self._target])

    def stop(self) -> None:
        self._unload()

    def restart(self) -> None:
        if (
            self.running()
        ):  # it hands its sessions over, and they start it again; `kickstart -k` would kill it
            _run(["launchctl", "kill", "SIGTERM", self._target])
        else:
            self.start()

    def _unload(self) -> None:
        if self.listening():
            _run(["launchctl", "bootout", self._target])


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as exc:
        raise CtlError("denied", f"cannot write {path}: {exc.strerror}") from exc


def _delete(paths: list[str]) -> list[str]:
    removed = []
    for path in paths:
        try:
            os.unlink(path)
            removed.append(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise CtlError("denied", f"cannot delete {path}: {exc.strerror}") from exc
    return removed


def _run(argv: list[str]) -> None:
    line = " ".join(argv)
    try:
        done = _call(argv, RUN_BOUND_S)
    except subprocess.TimeoutExpired as exc:
        raise CtlError("timeout", f"'{line}' did not end within {RUN_BOUND_S:.0f} s") from exc
    except OSError as exc:
        raise CtlError("unreachable", f"cannot run '{line}': {exc.strerror}") from exc
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise CtlError("unreachable", f"'{line}' failed: {said}")


def _probe(argv: list[str]) -> bytes | None:
    """What a question answers; None when it fails, which is an answer too."""
    try:
        done = _call(argv, PROBE_BOUND_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _call(argv: list[str], bound_s: float) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(  # noqa: S603  (constant words and our own paths, no shell)
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=bound_s, check=False
    )
