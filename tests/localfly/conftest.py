"""A local Fly as a process of its own, with an HTTP client."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import all_processes, wait_until

BOUND_S = 60.0
SLEEPER = {"image": "debian", "init": {"exec": ["/bin/sh", "-c", "echo here; exec sleep 600"]}}


class Fly:
    """One that runs in `folder`; `requests` go to its API."""

    def __init__(self, folder: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.flags = flags
        self.env = env or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Fly":
        argv = [sys.executable, "-P", "-m", "mcpctld.localfly", "--state", str(self.folder)]
        self.folder.mkdir(exist_ok=True)
        with open(self.folder.with_suffix(".err"), "ab") as err:
            self.process = subprocess.Popen(
                [*argv, *self.flags], stderr=err, env=os.environ | self.env
            )
        wait_until(self._serves, f"a local Fly\n{self.said()}", BOUND_S)
        self.place = json.loads((self.folder / "localfly.json").read_text())
        self.http = httpx.Client(
            base_url=self.place["api"],
            headers={"Authorization": f"Bearer {self.place['token']}"},
            timeout=BOUND_S,
            trust_env=False,
        )
        return self

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        with contextlib.suppress(OSError, ValueError):
            place = json.loads((self.folder / "localfly.json").read_text())
            return place["pid"] == self.process.pid
        return False

    def said(self) -> str:
        return self.folder.with_suffix(".err").read_text()[-4000:]

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.http.close()
            self.process.send_signal(how)
            self.process.wait(BOUND_S)
            self.process = None

    # ------------------------------------------------------------ requests

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        if body is not None:
            more["json"] = body
        return self.http.request(method, path, **more)

    def do(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.ask(method, path, body, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def app(self, name: str) -> str:
        self.do("POST", "/v1/apps", {"name": name, "org_slug": "personal"})
        return f"/v1/apps/{name}"

    def machine(
        self, app: str, config: dict[str, Any] = SLEEPER, until: str = "started", **more: Any
    ) -> str:
        """A new machine that has got so far: its path."""
        made = self.do("POST", f"{app}/machines", {"config": config, **more})
        path = f"{app}/machines/{made['id']}"
        if not more.get("skip_launch"):
            self.wait(path, until)
        return path

    def wait(self, machine: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + BOUND_S
        while True:
            answer = self.ask("GET", f"{machine}/wait", params={"state": state})
            if answer.status_code != 408 or time.monotonic() > deadline:
                assert answer.is_success, f"{answer.text}\n{self.logs(machine)}"
                return answer.json()

    def state(self, machine: str) -> str:
        return self.do("GET", machine)["state"]

    def start_machine(self, machine: str) -> None:
        """As a client has to: once more while it is refused."""
        wait_until(lambda: self.ask("POST", f"{machine}/start").is_success, "a start")
        self.wait(machine, "started")

    def logs(self, machine: str) -> list[str]:
        app = machine.split("/")[3]
        page = self.do("GET", f"/api/v1/apps/{app}/logs")
        return [line["attributes"]["message"] for line in page["data"]]

    def faults(self, *faults: dict[str, Any]) -> None:
        self.do("PUT", "/_localfly/faults", list(faults))

    def processes(self) -> list[int]:
        """Those that are started by it: they carry the folder in their environment."""
        found = all_processes(str(self.folder).encode())
        own = self.process.pid if self.process else 0
        return [process.pid for process in found if process.pid not in (own, os.getpid())]


StartFly = Callable[..., Fly]


@pytest.fixture
def start_fly(tmp_path: Path) -> Iterator[StartFly]:
    """Starts one in the test's own folder, any number of times one after another."""
    started: list[Fly] = []

    def start(*flags: str, env: dict[str, str] | None = None) -> Fly:
        fly = Fly(tmp_path / "fly", *(flags or ("--port", "0")), env=env).start()
        started.append(fly)
        return fly

    yield start
    for fly in started:
        fly.end()
    if started:
        wait_until(lambda: not started[0].processes(), "the end of all machines", BOUND_S)


@pytest.fixture(scope="module")
def fly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fly]:
    """One for all tests of a module; each makes apps of its own."""
    running = Fly(tmp_path_factory.mktemp("localfly") / "fly", "--port", "0").start()
    yield running
    running.end()
    wait_until(lambda: not running.processes(), "the end of all machines", BOUND_S)
