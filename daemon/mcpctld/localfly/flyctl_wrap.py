"""What `flyctl mcp wrap` is to those that reach it: a POST into a process's stdin, one GET for its stdout.

    python -P -m mcpctld.localfly.flyctl_wrap [--port N] -- COMMAND ...

The second GET is answered 409. What the process says while nobody listens is lost; it is not started again when it
ends. No sessions, no paths. Who may come in is in `FLY_MCP_BEARER_TOKEN`, `FLY_MCP_USER` and `FLY_MCP_PASSWORD`.
"""

import argparse
import base64
import hmac
import http.server
import os
import queue
import subprocess
import sys
import threading
from http import HTTPStatus
from typing import IO

BUSY = b"Another client is already connected\n"
LISTENER_CHECK_S = 1.0
READ = 64 * 1024
_Line = bytes | None


class Process:
    """The program, and who listens to it."""

    def __init__(self, command: list[str]) -> None:
        self.popen = subprocess.Popen(  # noqa: S603  (what the machine's command names)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_child_environment()
        )
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._listener: queue.SimpleQueue[_Line] | None = None
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        for line in _stream(self.popen.stdout):
            with self._lock:
                if self._listener is not None:
                    self._listener.put(line)
        with self._lock:
            if self._listener is not None:
                self._listener.put(None)

    def listen(self) -> "queue.SimpleQueue[_Line] | None":
        """A place at its stdout; None when it is taken."""
        with self._lock:
            if self._listener is not None:
                return None
            self._listener = queue.SimpleQueue()
            return self._listener

    def leave(self) -> None:
        """The place is free."""
        with self._lock:
            self._listener = None

    def write(self, data: bytes) -> None:
        """Into its stdin."""
        stdin = _stream(self.popen.stdin)
        with self._writing:
            stdin.write(data)
            stdin.flush()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # we asked for a pipe
    return stream


class Server(http.server.ThreadingHTTPServer):
    """Serves one process."""

    daemon_threads = True

    def __init__(self, port: int, process: Process, accepted: frozenset[str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.process = process
        self.accepted = accepted


class Handler(http.server.BaseHTTPRequestHandler):
    """GET, POST, and nothing else."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _admitted(self) -> bool:
        given = self.headers.get("Authorization", "")
        accepted = self.server.accepted
        if not accepted or any(
            hmac.compare_digest(given.encode(), each.encode()) for each in accepted
        ):
            return True
        self._answer(HTTPStatus.UNAUTHORIZED, b"Unauthorized\n")
        return False

    def do_GET(self) -> None:  # noqa: D102
        if not self._admitted():
            return
        if "text/html" in self.headers.get("Accept", ""):
            self._answer(HTTPStatus.OK, b"MCP Server\n")
            return
        lines = self.server.process.listen()
        if lines is None:
            self._answer(HTTPStatus.CONFLICT, BUSY)
            return
        try:
            self._pour(lines)
        except OSError:  # the client has left
            pass
        finally:
            self.server.process.leave()

    def _pour(self, lines: "queue.SimpleQueue[_Line]") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            try:
                line = lines.get(timeout=LISTENER_CHECK_S)
            except queue.Empty:
                if self._left():
                    return
                continue
            if line is None:
                self.wfile.write(b"0\r\n\r\n")
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _left(self) -> bool:
        self.connection.setblocking(False)
        try:
            read: bytes = self.connection.recv(1)
            return not read
        except BlockingIOError:
            return False
        finally:
            self.connection.setblocking(True)

    def do_POST(self) -> None:  # noqa: D102
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._admitted():
            return
        try:
            self.server.process.write(body if body.endswith(b"\n") else body + b"\n")
        except OSError:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"Error writing to the program\n")
            return
        self._answer(HTTPStatus.ACCEPTED, b"")

    def _other(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Method not allowed\n")

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _other  # noqa: N815

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, D102
        pass


def _accepted() -> frozenset[str]:
    token, user = os.environ.get("FLY_MCP_BEARER_TOKEN"), os.environ.get("FLY_MCP_USER")
    password = os.environ.get("FLY_MCP_PASSWORD", "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return frozenset([f"Bearer {token}"] * bool(token) + [f"Basic {basic}"] * bool(user))


def _child_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("FLY_MCP_")}


def main() -> None:
    """The program: ends with its process's end no more than the original does, but with SIGINT."""
    parser = argparse.ArgumentParser(prog="flyctl mcp wrap", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8080")))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    command = given.command[given.command[:1] == ["--"] :]
    if not command:
        parser.error("no command")
    try:
        process = Process(command)
    except OSError as exc:
        sys.exit(f"cannot start {command[0]}: {exc.strerror}")
    try:
        Server(given.port, process, _accepted()).serve_forever()
    except KeyboardInterrupt:
        process.popen.terminate()


if __name__ == "__main__":
    main()
