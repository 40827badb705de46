"""An MCP server over Streamable HTTP that does as little as it can: it must never be the
bottleneck.

One process, one thread, epoll, no framework. It speaks the session flavour of the transport (MCP
2025-11-25, basic/transports): `initialize` hands out an `Mcp-Session-Id`, notifications are
answered 202, a GET opens a stream on which nothing ever comes (or is refused), DELETE is answered
200. Its one tool echoes its text.

`/mcp` answers with JSON and `/sse` with an event stream, so one server serves both measurements.

What it leaves out, because no client under test needs it: checks of any kind, chunked requests,
pipelining limits, timeouts. It prints its port as one line and ends when its stdin does, so that it
cannot outlive the benchmark however that ends.

    python -m benchmarks.echo_server [--get stream|405] [--port PORT]
"""

import argparse
import json
import os
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

RECEIVE_BYTES = 1 << 20
LISTEN_BACKLOG = 1024

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST, DELETE\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
DELETED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SILENT_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)

TEXT_KEY = b'"text":'
LATEST = "2025-11-25"
KNOWN_REVISIONS = {"2024-11-05", "2025-03-26", "2025-06-18", LATEST}

TOOLS = [
    {
        "name": "echo",
        "description": "Answers with its text.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    }
]


class Connection:
    """One client connection: bytes are cut into requests, answers wait for the socket."""

    __slots__ = ("_head_end", "_inbox", "_outbox", "_wanted", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._inbox = bytearray()
        self._outbox = b""
        self._wanted = 0
        self._head_end = -1

    def receive(self) -> bool:
        """Take what has come; False at the end of the connection."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._inbox += data
        return bool(data)

    def next_request(self) -> tuple[bytes, bytes] | None:
        """The next whole request as (head, body), or None."""
        if self._head_end < 0:
            self._head_end = self._inbox.find(b"\r\n\r\n")
            if self._head_end < 0:
                return None
            self._wanted = self._head_end + 4 + content_length(bytes(self._inbox[: self._head_end]))
        if len(self._inbox) < self._wanted:
            return None
        head = bytes(self._inbox[: self._head_end])
        body = bytes(self._inbox[self._head_end + 4 : self._wanted])
        del self._inbox[: self._wanted]
        self._head_end = -1
        return head, body

    def send(self, data: bytes) -> bool:
        """Send, keeping what the socket does not take; False when the client is gone."""
        waiting = self._outbox + data if self._outbox else data
        try:
            sent = self.socket.send(waiting)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        self._outbox = waiting[sent:]
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether part of an answer still waits for the socket."""
        return bool(self._outbox)


def content_length(head: bytes) -> int:
    """The length of a request's body; 0 when the head names none."""
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    start += len(b"\r\ncontent-length:")
    end = lowered.find(b"\r\n", start)
    return int(lowered[start:] if end < 0 else lowered[start:end])


def split_text(body: bytes) -> tuple[Any, bytes]:
    """The message with its text cut out, and the text.

    The benchmark's texts hold no quote and no backslash. Finding the quotes takes a fiftieth of the
    time that decoding a megabyte and encoding it again would take.
    """
    key = body.find(TEXT_KEY)
    if key < 0:
        return json.loads(body), b""
    start = body.index(b'"', key + len(TEXT_KEY)) + 1
    end = body.index(b'"', start)
    return json.loads(body[:start] + body[end:]), body[start:end]


def initialize_result(message: Any) -> bytes:
    """What `initialize` answers: the revision asked for, or the newest known here."""
    asked = message["params"].get("protocolVersion")
    return json.dumps(
        {
            "protocolVersion": asked if asked in KNOWN_REVISIONS else LATEST,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1"},
        }
    ).encode()


def result_of(message: Any, text: bytes) -> bytes | None:
    """The `result` of a request as JSON; None for a method that this server does not have."""
    match message["method"]:
        case "tools/call":
            return b'{"content":[{"type":"text","text":"' + text + b'"}],"isError":false}'
        case "initialize":
            return initialize_result(message)
        case "tools/list":
            return json.dumps({"tools": TOOLS}).encode()
        case "ping":
            return b"{}"
        case _:
            return None


def envelope(message: Any, text: bytes) -> bytes:
    """The whole JSON-RPC answer to a request."""
    ident = json.dumps(message["id"]).encode()
    result = result_of(message, text)
    if result is None:
        error = b'{"code":-32601,"message":"Method not found"}'
        return b'{"jsonrpc":"2.0","id":' + ident + b',"error":' + error + b"}"
    return b'{"jsonrpc":"2.0","id":' + ident + b',"result":' + result + b"}"


def as_json(body: bytes, extra: bytes) -> bytes:
    """An answer with a JSON body."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
        % (extra, len(body), body)
    )


def as_events(body: bytes, extra: bytes) -> bytes:
    """An answer as an event stream of one event, chunked as the official SDKs' servers do."""
    event = b"event: message\ndata: " + body + b"\n\n"
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        b"%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (extra, len(event), event)
    )


FORMATS: dict[bytes, Callable[[bytes, bytes], bytes]] = {b"/mcp": as_json, b"/sse": as_events}


def answer_post(path: bytes, body: bytes) -> bytes:
    """The answer to a POST: 202 for what is not a request, else a result."""
    message, text = split_text(body)
    if "id" not in message or "method" not in message:
        return ACCEPTED
    extra = b""
    if message["method"] == "initialize":
        extra = b"Mcp-Session-Id: %b\r\n" % os.urandom(16).hex().encode()
    return FORMATS[path](envelope(message, text), extra)


class Server:
    """The loop: one epoll, every connection non-blocking."""

    def __init__(self, listener: socket.socket, *, refuse_get: bool) -> None:
        self._listener = listener
        self._get_answer = NOT_ALLOWED if refuse_get else SILENT_STREAM
        self._connections: dict[int, Connection] = {}
        self._epoll = select.epoll()

    def run_until(self, stop_fd: int) -> None:
        """Serve until `stop_fd` becomes readable."""
        listening = self._listener.fileno()
        self._epoll.register(listening, select.EPOLLIN)
        self._epoll.register(stop_fd, select.EPOLLIN)
        while True:
            for fd, events in self._epoll.poll():
                if fd == stop_fd:
                    return
                if fd == listening:
                    self._accept()
                else:
                    self._serve(fd, self._connections[fd], events)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            return
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = Connection(accepted)
        self._epoll.register(accepted.fileno(), select.EPOLLIN)

    def _serve(self, fd: int, connection: Connection, events: int) -> None:
        alive = True
        was_blocked = connection.is_blocked
        if events & select.EPOLLOUT:
            alive = connection.send(b"")
        if alive and events & ~select.EPOLLOUT:
            alive = connection.receive() and self._answer(connection)
        if not alive:
            self._drop(fd)
        elif connection.is_blocked != was_blocked:
            wanted = select.EPOLLIN | (select.EPOLLOUT if connection.is_blocked else 0)
            self._epoll.modify(fd, wanted)

    def _answer(self, connection: Connection) -> bool:
        while request := connection.next_request():
            head, body = request
            if not connection.send(self._answer_to(head, body)):
                return False
        return True

    def _answer_to(self, head: bytes, body: bytes) -> bytes:
        method, path, _ = head.split(b" ", 2)
        if path not in FORMATS:  # where an OAuth client looks for metadata: there is none
            return NOT_FOUND
        if method == b"POST":
            return answer_post(path, body)
        return self._get_answer if method == b"GET" else DELETED

    def _drop(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._connections.pop(fd).socket.close()


def main() -> None:
    """Listen on a loopback port, print it, serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--get", choices=["stream", "405"], default="stream")
    parser.add_argument("--port", type=int, default=0, help="a free one unless given")
    options = parser.parse_args()
    refuse_get = options.get == "405"
    with socket.create_server(("127.0.0.1", options.port), backlog=LISTEN_BACKLOG) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        Server(listener, refuse_get=refuse_get).run_until(sys.stdin.fileno())


if __name__ == "__main__":
    main()
