"""`python -P -m mcpctld.launch` against a local Fly, with an inspector between the two."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fixtures.fly.inspecting import Inspector, Reply, Seen, forward
from harness import all_processes, wait_until

BOUND_S = 90.0
WISH = {
    "image": "debian",
    "command": "sh -c 'exec python3 -m http.server $PORT'",
    "transport": "http",
    "port": 8080,
    "server": "time",
    "at": "local",
}
"""Something that is up at once, and answers `initialize` somehow."""
WRAPPED = {"command": "uvx mcp-server-time", "server": "time", "at": "local"}
"""A real server behind our wrap."""

Event = dict[str, Any]
Change = Callable[[int, Seen], Reply | None]
"""What becomes of the changing request of a number, counted from 0; None: it is forwarded."""


class LocalFly:
    """One as a process of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        argv = [sys.executable, "-P", "-m", "mcpctld.localfly", "--state", str(folder)]
        with open(folder.with_suffix(".err"), "wb") as err:
            self.process = subprocess.Popen([*argv, "--port", "0", "--edge-port", "0"], stderr=err)
        wait_until(self._serves, "a local Fly", BOUND_S)
        self.place: dict[str, Any] = json.loads((folder / "localfly.json").read_text())

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.folder.with_suffix(".err").read_text()
        with contextlib.suppress(OSError, ValueError):
            place = json.loads((self.folder / "localfly.json").read_text())
            return place["pid"] == self.process.pid
        return False

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        headers = {
            "authorization": f"Bearer {self.place['token']}",
            "content-type": "application/json",
        }
        raw = b"" if body is None else json.dumps(body).encode()
        reply = forward(self.place["api"], Seen(method, path, headers, raw))
        return json.loads(reply.body) if reply.body.strip() else None

    def apps(self) -> list[str]:
        return sorted(app["name"] for app in self.ask("/v1/apps?org_slug=personal")["apps"])

    def machines(self, app: str) -> list[dict[str, Any]]:
        return [m for m in self.ask(f"/v1/apps/{app}/machines") if m["state"] != "destroyed"]

    def addresses(self, app: str) -> list[str]:
        return [row["ip"] for row in self.ask(f"/v1/apps/{app}/ip_assignments")["ips"]]

    def faults(self, *faults: dict[str, Any]) -> None:
        self.ask("/_localfly/faults", "PUT", list(faults))

    def processes(self) -> list[int]:
        """Those of its machines: they carry the folder in their environment."""
        own = (self.process.pid, os.getpid())
        return [p.pid for p in all_processes(str(self.folder).encode()) if p.pid not in own]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(BOUND_S)
        wait_until(lambda: not self.processes(), "the end of all machines", BOUND_S)


class Program:
    """The program of one user, whose Fly is behind an inspector."""

    def __init__(self, folder: Path, fly: LocalFly, change: Change | None = None) -> None:
        self.state = folder / "state"
        self.fly = fly
        self.inspector = Inspector(self._answer)
        self.change: Change = change or (lambda _number, _seen: None)
        self.running: subprocess.Popen[bytes] | None = None
        self._write_place()

    def _write_place(self) -> None:
        place = {**self.fly.place, "api": self.inspector.url}
        file = self.state / "localfly" / "localfly.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(place))

    def _answer(self, seen: Seen) -> Reply:
        if seen.changes:
            reply = self.change(len(self.inspector.changing) - 1, seen)
            if reply is not None:
                return reply
        return forward(self.fly.place["api"], seen)

    def start(self, operation: str, request: Any) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-P", "-m", "mcpctld.launch", operation],
            env={**os.environ, "MCPCTL_STATE_DIR": str(self.state), "MCPCTL_SECRETS": "file"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.running.stdin is not None
        self.running.stdin.write(json.dumps(request).encode())
        self.running.stdin.close()
        self.running.stdin = None

    def finish(self) -> list[Event]:
        assert self.running is not None
        out, err = self.running.communicate(timeout=BOUND_S)
        assert err == b"", err.decode()
        return [json.loads(line) for line in out.splitlines()]

    def run(self, operation: str, request: Any) -> list[Event]:
        """All its events; the last is `result` or `error`, unless it was killed."""
        self.start(operation, request)
        return self.finish()

    def launch(self, wish: dict[str, Any] | None = None, **more: Any) -> Event:
        return self.run("launch", {"wish": {**(wish or WISH), **more}})[-1]

    def do(self, operation: str, **request: Any) -> Event:
        return self.run(operation, {"server": "time", "at": "local", **request})[-1]

    def kill(self) -> None:
        assert self.running is not None
        self.running.kill()
        self.running.wait(BOUND_S)

    # ------------------------------------------------------------ what is left

    def record(self) -> dict[str, Any] | None:
        file = self.state / "launch" / "time.json"
        return json.loads(file.read_text()) if file.exists() else None

    def token(self) -> str | None:
        file = self.state / "secrets.json"
        secrets = json.loads(file.read_text()) if file.exists() else {}
        return secrets.get("time", {}).get("bearer-token")


@contextlib.contextmanager
def program(folder: Path, fly: LocalFly, change: Change | None = None) -> Iterator[Program]:
    made = Program(folder, fly, change)
    with made.inspector:
        yield made


def assert_nothing_is_left(made: Program) -> None:
    assert made.fly.apps() == []
    assert made.record() is None
    assert made.token() is None
    wait_until(lambda: not made.fly.processes(), "the end of all machines", BOUND_S)
