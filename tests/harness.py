"""A throw-away home for one daemon, and the programs as they are installed.

Nothing here imports the programs under test or names a file of the source tree: the same tests run
against an editable install and against an installed wheel.
"""

import contextlib
import dataclasses
import http.client
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import pytest
import tomli_w
import trio

Form = Literal["script", "entry"]

COMMAND_TIMEOUT_S = 30.0
"""The longest a command of ours may take before a test fails."""
STOP_TIMEOUT_S = 15.0
"""SIGTERM drains for at most 10 s by default; a little more is a failure."""
POLL_S = 0.01
FIXTURES = Path(__file__).parent / "fixtures"


SERVE_BOUND_S = 60.0
"""A server that is started while fifty clients keep both cores busy takes more than ten seconds to import its SDK."""


def program(name: str) -> str:
    """The path of a console script beside the running interpreter, else on PATH."""
    own = Path(sysconfig.get_path("scripts")) / name  # an absolute `name` stays as it is
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no program called {name} in {own.parent} or PATH")
    return found


def entry_file() -> str:
    """`mcpctl/entry.py` of the installed package: what is written into a client's configuration."""
    spec = importlib.util.find_spec("mcpctl")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("mcpctl is not installed in this environment")
    return str(Path(spec.origin).with_name("entry.py"))


def unavailable(what: str, reason: str) -> NoReturn:
    """Skip the running test, or fail it when `MCPCTL_REQUIRE` (a comma list) names `what`."""
    if what in os.environ.get("MCPCTL_REQUIRE", "").split(","):
        pytest.fail(f"MCPCTL_REQUIRE names {what}, but {reason}")
    pytest.skip(reason)


def wait_until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Block until `condition()` is true; `AssertionError` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(POLL_S)


async def until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """The same for trio. For states of other processes that offer nothing to wait on."""
    with trio.move_on_after(within_s):
        while not condition():  # noqa: ASYNC110 -- another process has no event
            await trio.sleep(POLL_S)
        return
    raise AssertionError(f"not within {within_s} s: {what}")


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A command that has run."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The answer of a command with `--json`."""
        return json.loads(self.out)


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A live process found in /proc."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    @property
    def is_daemon(self) -> bool:
        """Whether this is `mcpctld`, however it was started."""
        return any(os.path.basename(word) == "mcpctld" for word in self.argv)


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """An HTTP server that the test started."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def base(self) -> str:
        """Its address without a path."""
        return f"http://127.0.0.1:{self.port}"


class Home:
    """One user's home with its own configuration, state and sockets; use it as a context manager.

    At the end the daemon is stopped, and a process that still carries this home in its environment
    is killed and fails the test.
    """

    def __init__(self) -> None:
        # The path of a unix socket has room for about 100 bytes: stay near the root.
        base = "/tmp" if os.access("/tmp", os.W_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="mc-", dir=base)).resolve()
        self.config_dir = self._folder("c")
        self.state_dir = self._folder("s")
        self.runtime_dir = self._folder("r")
        self.log_file = self.state_dir / "mcpctld.log"
        self.env = self._environment()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.served: list[subprocess.Popen[bytes]] = []
        self.polite: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __fspath__(self) -> str:
        return str(self.path)

    # ------------------------------------------------------------ what to run

    def attach(
        self,
        name: str | None = None,
        *more: str,
        url: str | None = None,
        form: Form = "script",
    ) -> list[str]:
        """The command line an MCP client is given: for a configured server, or ad hoc for a URL."""
        target = ["--url", url] if url is not None else []
        words = [*target, *more] if name is None else [*more, name]
        if form == "entry":
            return [sys.executable, "-I", "-S", entry_file(), *words]
        return [program("mcpctl"), "attach", *words]

    def mcpctl(self, *args: str, stdin: str = "", within_s: float = COMMAND_TIMEOUT_S) -> Finished:
        """Run a command to its end. Blocks: in a trio test use `ask`."""
        argv = [program("mcpctl"), *args]
        done = subprocess.run(
            argv, env=self.env, cwd=self.path, input=stdin, text=True, capture_output=True,
            timeout=within_s, check=False,
        )  # fmt: skip
        return Finished(tuple(argv), done.returncode, done.stdout, done.stderr)

    async def ask(
        self, *args: str, stdin: str = "", within_s: float = COMMAND_TIMEOUT_S
    ) -> Finished:
        """`mcpctl` for trio tests: the event loop, and what the test serves on it, stays alive."""
        return await trio.to_thread.run_sync(
            lambda: self.mcpctl(*args, stdin=stdin, within_s=within_s)
        )

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to the control API: status and decoded JSON. Blocks."""
        connection = http.client.HTTPConnection("localhost", timeout=COMMAND_TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(COMMAND_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.runtime_dir / "control.sock"))
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None

    # ------------------------------------------------------------ configuration

    def add(self, name: str, **spec: Any) -> Path:
        """Write `servers/NAME.toml` and let a running daemon know; the fields are the file's own.

        A command may begin with a bare program name; it runs with this home's environment.
        """
        if "command" in spec:
            first, *rest = spec["command"]
            first = first if os.path.isabs(first) else program(first)
            spec = {"env": self.child_env(), **spec, "command": [first, *rest]}
        file = self.config_dir / "servers" / f"{name}.toml"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        # As an editor does it: a running daemon must never see half a file.
        fresh = file.with_suffix(".new")
        fresh.write_text(tomli_w.dumps(spec))
        fresh.chmod(0o600)
        fresh.rename(file)
        if (self.runtime_dir / "control.sock").exists():
            assert self.api("POST", "/v1/reload")[0] == 200, self.transcript()
        return file

    def settings(self, **values: Any) -> None:
        """Write `config.toml`; before the daemon starts."""
        file = self.config_dir / "config.toml"
        file.write_text(tomli_w.dumps(values))
        file.chmod(0o600)

    def child_env(self) -> dict[str, str]:
        """What a local server gets by default: nothing of the test run."""
        return {key: self.env[key] for key in ("PATH", "HOME", "LANG")}

    # ------------------------------------------------------------ the daemon

    def start_daemon(self) -> int:
        """Start `mcpctld` as a child of the test, wait until it is ready; its pid."""
        with open(self.path / "daemon.out", "ab") as out:
            self.daemon = subprocess.Popen(
                [program("mcpctld")], env=self.env, cwd=self.path,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        wait_until(self._started, f"daemon.started in the log\n{self.transcript()}")
        return self.daemon.pid

    def stop_daemon(self) -> int | None:
        """End every daemon of this home and its sessions, wait for that; the exit code if it is our child."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.api(
                "POST", "/v1/shutdown"
            )  # SIGTERM would have clients that are still there start another one
        for process in self.daemons():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        code = self.wait_daemon() if self.daemon is not None else None
        wait_until(lambda: not self.daemons(), "the daemon's end after SIGTERM", STOP_TIMEOUT_S)
        return code

    def wait_daemon(self) -> int:
        """Wait for the end of a daemon that is our child: its exit code."""
        assert self.daemon is not None
        code = self.daemon.wait(STOP_TIMEOUT_S)
        self.daemon = None
        return code

    def _started(self) -> bool:
        assert self.daemon is not None
        if (code := self.daemon.poll()) is not None:
            raise AssertionError(f"mcpctld ended at once with {code}\n{self.transcript()}")
        wanted = ("daemon.started", self.daemon.pid)
        return any((line.get("event"), line.get("pid")) == wanted for line in self.log())

    # ------------------------------------------------------------ servers of the test's own

    def serve(self, *argv: str, env: dict[str, str] | None = None, polite: bool = False) -> Served:
        """Start a server that chooses its own TCP port; killed when the home closes, `polite` ones only if need be."""
        with open(self.path / "served.out", "ab") as out:
            process = subprocess.Popen(
                argv, env=self.env | (env or {}), cwd=self.path,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.served.append(process)
        if polite:
            self.polite.append(process)
        ports: list[int] = []

        def listening() -> bool:
            assert process.poll() is None, f"{argv} ended at once\n{self.transcript()}"
            ports.extend(listening_ports(process.pid))
            return bool(ports)

        wait_until(listening, f"a listening {argv}", SERVE_BOUND_S)
        return Served(process, ports[0])

    # ------------------------------------------------------------ what is going on

    def log(self) -> list[dict[str, Any]]:
        """The daemon's log so far: one mapping a line (`ts`, `level`, `event`, more)."""
        if not self.log_file.exists():
            return []
        # Whole lines only: the daemon may be writing the next one.
        *lines, _ = self.log_file.read_text().split("\n")
        return [json.loads(line) for line in lines]

    def transcript(self) -> str:
        """What the daemon said, for a failed test: its log's end and its standard error."""
        parts = []
        for file in (self.log_file, self.path / "daemon.out", self.path / "served.out"):
            if file.exists():
                tail = file.read_text(errors="replace").splitlines()[-60:]
                parts += [f"--- {file.name}", *tail]
        return "\n".join(parts)

    def processes(self) -> list[Process]:
        """Live processes, zombies excepted, with this home in their environment (Linux).

        Servers started by `serve` are the test's own and not among them.
        """
        own = {os.getpid(), *(process.pid for process in self.served)}
        return [found for found in all_processes(str(self.path).encode()) if found.pid not in own]

    def daemons(self) -> list[Process]:
        """Those of them that are `mcpctld`."""
        return [process for process in self.processes() if process.is_daemon]

    def close(self) -> None:
        """Stop what runs, remove the home; `AssertionError` if anything had to be killed."""
        trouble = []
        try:
            self.stop_daemon()
            self._end_served()
            wait_until(lambda: not self.processes(), "the end of all processes", 5.0)
        except (AssertionError, subprocess.TimeoutExpired) as exc:
            trouble = [str(exc), *map(repr, self.processes()), self.transcript()]
            self._end_served()
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if self.daemon is not None:
            self.daemon.wait(STOP_TIMEOUT_S)
        shutil.rmtree(self.path, ignore_errors=True)
        if trouble:
            raise AssertionError("left behind by the test:\n" + "\n".join(trouble))

    # ------------------------------------------------------------ inside

    def _end_served(self) -> None:
        for process in self.polite:
            process.terminate()
        for process in self.polite:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
        for process in self.served:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700)
        return folder

    def _environment(self) -> dict[str, str]:
        """A small environment: nothing of the developer's own configuration reaches a test."""
        kept = ("TZ", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        path = (sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath))
        return {key: os.environ[key] for key in kept if key in os.environ} | {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "MCPCTL_CONFIG_DIR": str(self.config_dir),
            "MCPCTL_STATE_DIR": str(self.state_dir),
            "MCPCTL_RUNTIME_DIR": str(self.runtime_dir),
            "MCPCTL_SECRETS": "file",
        }


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which a process listens: no need to guess a free one beforehand (Linux)."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(fd))
    ports = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            # 0A is TCP_LISTEN.
            if state == "0A" and f"socket:[{inode}]" in inodes:
                ports.append(int(local.rpartition(":")[2], 16))
    return ports


def steady_port() -> int:
    """A free TCP port for a server that goes and comes back there.

    None of those that the system gives out by itself (Linux): while the server is away a connection of somebody
    else's could get it, even one that was meant for the server (a simultaneous open with itself, RFC 9293 §3.5).
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(lowest // 2, lowest), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError(f"no free port below {lowest}")


def all_processes(marker: bytes) -> Iterator[Process]:
    """Live processes with these bytes in their environment."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            # A process may end between any two of these reads.
            with contextlib.suppress(OSError, ProcessLookupError):
                if found := _process(int(entry), marker):
                    yield found


def _process(pid: int, marker: bytes) -> Process | None:
    if marker not in Path(f"/proc/{pid}/environ").read_bytes():
        return None
    # `pid (name) state parent ...`; the name may hold spaces and brackets.
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return None if state in "ZX" else Process(pid, int(parent), tuple(argv))
