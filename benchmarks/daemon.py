"""A daemon of ours, alone in folders of its own, ready and with its control API loaded."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import processes

SOCKETS = "MCPCTL_RUNTIME_DIR"

READY_S = 30.0
STATUS_S = 30.0
STOP_S = 5.0
SAID = 3000
"""How much of a program's output is worth repeating."""


class CannotStart(Exception):
    """A daemon of ours did not come up; the message holds the end of what it said."""


class Died(Exception):
    """A daemon of ours ended by itself; the message holds the end of what it said."""


class Daemon:
    """`mcpctld` from one virtual environment, in the foreground as a child of the benchmark.

    `home` must be short: a Unix socket's path has room for about 100 bytes.
    """

    def __init__(self, venv: Path, home: Path, servers: Mapping[str, str]) -> None:
        self._venv = venv
        self._home = home
        self.environment = {
            "HOME": str(home),
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "MCPCTL_CONFIG_DIR": str(home / "c"),
            "MCPCTL_STATE_DIR": str(home / "s"),
            SOCKETS: str(home / "r"),
        }
        self._write_servers(servers)
        self.pid = self._start()
        try:
            self._wait_ready()
            self._load_control_api()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raises `Died` when it runs no more; a stub would start another, unmeasured one."""
        if not processes.is_running(self.pid):
            raise Died(f"the daemon died:\n{self._said()}")

    def stop(self) -> None:
        """End it, by force if need be, and any that a stub has started in its place."""
        processes.end(self.pid, patience_s=STOP_S)
        for stray in processes.with_variable(SOCKETS, self.environment[SOCKETS]):
            os.kill(stray, signal.SIGKILL)

    def _write_servers(self, servers: Mapping[str, str]) -> None:
        folder = self._home / "c" / "servers"
        folder.mkdir(parents=True, mode=0o700)
        for name, contents in servers.items():
            file = folder / f"{name}.toml"
            file.write_text(contents)
            file.chmod(0o600)

    def _start(self) -> int:
        with Path(os.devnull).open() as nothing, self._log.open("wb") as log:
            stdio = (nothing.fileno(), log.fileno(), log.fileno())
            return processes.start([f"{self._venv}/bin/mcpctld"], self.environment, stdio)

    @property
    def _log(self) -> Path:
        return self._home / "daemon.log"

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-SAID:]

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not _accepts(self._home / "r" / "attach.sock"):
            if time.monotonic() > deadline or not processes.is_running(self.pid):
                raise CannotStart(f"the daemon does not listen:\n{self._said()}")
            time.sleep(processes.POLL_S)

    def _load_control_api(self) -> None:
        """One `mcpctl status`: a daemon that has never been asked would look smaller than it is."""
        try:
            done = subprocess.run(
                [f"{self._venv}/bin/mcpctl", "status", "--json"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=STATUS_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise CannotStart(f"`mcpctl status` took longer than {STATUS_S:g} s") from exc
        if done.returncode:
            raise CannotStart(f"`mcpctl status` failed:\n{done.stderr.decode()[-SAID:]}")


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
