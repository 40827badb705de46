"""A stand-in for the daemon: its control API, and its attach socket with a scripted MCP server.

Real sockets, real descriptor passing; only what is behind them is invented.
"""

import array
import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mcpctl import cli, wire

FIGURES = {"calls": 3, "errors": 1, "in_flight": 0, "p50_ms": 1.5, "p99_ms": None}


@pytest.fixture(autouse=True)
def places(monkeypatch):
    """A throw-away home with a short path: a unix socket's may have about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="ctl"))
    monkeypatch.setenv("HOME", str(folder))
    for name in ("config", "state", "runtime"):
        (folder / name).mkdir(mode=0o700)
        monkeypatch.setenv(f"MCPCTL_{name.upper()}_DIR", str(folder / name))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "MCPCTL_BEARER_TOKEN", "MCPCTL_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(capsys):
    """Run a command in this process: `run("list", "--json")` -> exit code, stdout, stderr."""

    def run(*argv):
        try:
            code = cli.main(list(argv))
        except SystemExit as exc:  # argparse
            code = exc.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def daemon(places):
    """A daemon that knows no server; see `FakeDaemon`."""
    fake = FakeDaemon()
    fake.start()
    yield fake
    fake.close()


@pytest.fixture
def became(monkeypatch):
    """What we became by `execve`: its `argv` and `env`; every program is found, and the exit code is 0."""
    called = {}

    def execve(path, argv, env):
        called.update(argv=argv, env=env)
        raise SystemExit(0)

    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(os, "execve", execve)
    return called


class FakeDaemon:
    """What it was told is in `secrets` and `requests`; what it answers is set by the test."""

    def __init__(self):
        self.secrets = {}
        self.requests = []
        self.sessions = []
        self.tunnels = []
        self.probe = {}
        self.machines = {}
        self.cost = []
        self.config_errors = []
        self.refuse_file = None
        self.version = wire.VERSION
        self.activation = "self"
        self.pid = 999_999_999
        self.events = []
        self.mcp = None
        self.greetings = []
        self.last_words = "0 \n"
        self._threads = []

    def start(self):
        self.api = _Api(self, wire.control_socket())
        self._spawn(self.api.serve_forever, 0.01)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(wire.attach_socket())
        self.listener.listen(16)
        self._spawn(self._serve_attach)

    def close(self):
        self.close_api()
        if self.listener is None:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def close_api(self):
        if self.api is None:
            return
        self.api.shutdown()
        self.api.server_close()
        os.unlink(wire.control_socket())
        self.api = None

    def status(self):
        return {
            "daemon": {
                "version": self.version,
                "pid": self.pid,
                "python": "3.11.7",
                "started_at": time.time() - 3700,
                "activation": self.activation,
                "attach_socket": wire.attach_socket(),
                "control_socket": wire.control_socket(),
                "config_dir": wire.config_dir(),
                "state_dir": wire.state_dir(),
                "log_file": wire.state_dir() + "/mcpctld.log",
            },
            "servers": [self.server(path.stem) for path in self.files()],
            "sessions": self.sessions,
            "config_errors": self.config_errors,
        }

    def files(self):
        return sorted(Path(wire.config_dir(), "servers").glob("*.toml"))

    def server(self, name):
        return {
            "name": name,
            "kind": "http",
            "url": "http://127.0.0.1:1/mcp",
            "command": None,
            "transport": "auto",
            "detected": "streamable-http",
            "instance": None,
            "file": f"{wire.config_dir()}/servers/{name}.toml",
            "secrets": ["basic", "token"],
            "missing_secrets": [] if name == "whole" else ["token"],
            "sessions": 0,
            "sharing": 3 if name == "shared" else 0,
            "figures": FIGURES,
            "last_error": None,
            **({"machine": self.machines[name]} if name in self.machines else {}),
        }

    def reload(self):
        names = [path.stem for path in self.files()]
        errors = list(self.config_errors)
        if self.refuse_file in names:
            names.remove(self.refuse_file)
            file = f"{wire.config_dir()}/servers/{self.refuse_file}.toml"
            errors.append({"file": file, "message": "url is not to its taste"})
        return {"servers": names, "config_errors": errors}

    def _spawn(self, function, *args):
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def _serve_attach(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self._spawn(self._session, connection)

    def _session(self, connection):
        with connection:
            connection.settimeout(10)
            fds = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * fds.itemsize))
            if not data:
                return
            fds.frombytes(ancillary[0][2])
            self.greetings.append(wire.decode_hello(data[wire.HELLO_HEADER :]))
            with open(fds[0], "rb") as requests, open(fds[1], "wb") as answers:
                os.close(fds[2])
                self._serve_mcp(requests, answers)
                with contextlib.suppress(ConnectionError):  # the client has left
                    connection.sendall(self.last_words.encode())

    def _serve_mcp(self, requests, answers):
        for line in requests:
            for answer in self.mcp(json.loads(line)):
                if answer is None:
                    return
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                try:
                    answers.write(data + b"\n")
                    answers.flush()
                except BrokenPipeError:
                    return


class _Api(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, daemon, path):
        self.daemon = daemon
        super().__init__(path, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def _serve(self):
        daemon = self.server.daemon
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        daemon.requests.append((self.command, self.path, body))
        assert self.headers[wire.CLIENT_VERSION_HEADER] == wire.VERSION
        if self.path == "/v1/events":
            self._events(daemon)
        else:
            self._answer(*self._route(daemon, body))

    def _route(self, daemon, body):
        for method, pattern, answer in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, self.path)):
                return answer(daemon, body, *match.groups())
        return _error("not-found", f"there is no route {self.path}")

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header(wire.VERSION_HEADER, self.server.daemon.version)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(
            data
        )  # and the connection stays open: the client must not wait for its end

    def _events(self, daemon):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in daemon.events:
            self.wfile.write(
                f"event: {event['type']}\ndata: {json.dumps(event)}\n\n: hm\n\n".encode()
            )
        self.close_connection = True


def _error(kind, message):
    return wire.KINDS[kind][0], {"error": {"kind": kind, "message": message}}


def _server(daemon, _, name):
    if name in [path.stem for path in daemon.files()]:
        return 200, daemon.server(name)
    return _error("not-found", f"there is no server {name!r}")


def _set_secret(daemon, body, server, key):
    daemon.secrets[server, key] = body["value"]
    return 200, {}


def _delete_secrets(daemon, _, server, key=None):
    for pair in list(daemon.secrets):
        if pair[0] == server and key in (None, pair[1]):
            del daemon.secrets[pair]
    return 200, {}


def _shutdown(daemon, _):
    threading.Thread(target=daemon.close_api).start()
    return 200, {"status": "draining"}


def _wake(daemon, _, name):
    if name not in daemon.machines:
        return 400, {"error": {"kind": "bad-request", "message": f"{name} has no machine"}}
    return 200, {"server": name, "seconds": 2.25, "machine": daemon.machines[name]}


def _hand_over(daemon, _):
    daemon.pid -= 1  # the next one answers from now on
    return 200, {"status": "draining"}


ROUTES = (
    ("GET", "/v1/health", lambda daemon, _: (200, {"status": "ok"})),
    ("GET", "/v1/status", lambda daemon, _: (200, daemon.status())),
    ("GET", "/v1/servers", lambda daemon, _: (200, {"servers": daemon.status()["servers"]})),
    ("GET", "/v1/servers/([^/]*)", _server),
    ("POST", "/v1/servers/([^/]*)/wake", _wake),
    ("GET", "/v1/cost", lambda daemon, _: (200, {"servers": daemon.cost})),
    ("POST", "/v1/reload", lambda daemon, _: (200, daemon.reload())),
    ("GET", "/v1/sessions", lambda daemon, _: (200, {"sessions": daemon.sessions})),
    ("DELETE", "/v1/sessions/([^/]*)", lambda daemon, _, session: (200, {})),
    ("GET", "/v1/tunnels", lambda daemon, _: (200, {"tunnels": daemon.tunnels})),
    ("DELETE", "/v1/tunnels/([^/]*)/peer", lambda daemon, _, tunnel: (200, {})),
    ("POST", "/v1/tunnels/([^/]*)/probe", lambda daemon, _, tunnel: (200, daemon.probe)),
    ("PUT", "/v1/secrets/([^/]*)/([^/]*)", _set_secret),
    ("DELETE", "/v1/secrets/([^/]*)/([^/]*)", _delete_secrets),
    ("DELETE", "/v1/secrets/([^/]*)", _delete_secrets),
    ("POST", "/v1/handover", _hand_over),
    ("POST", "/v1/shutdown", _shutdown),
    ("GET", "/metrics", lambda daemon, _: (200, b"mcpctl_up 1\n")),
)
