"""The control API as Python: one method for each route, typed answers, typed errors.

HTTP/1.1 over `control.sock` with the standard library. Every call has a connection of its own,
reads its answer by Content-Length and closes its side, so that nothing is ever waited for in vain.
"""

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

from mcpctl import shapes, wire
from mcpctl.errors import ApiError, NotRunning

TIMEOUT_S = 30.0
"""For one call; the daemon answers from memory, except for a keyring that asks the user."""

WAKE_TIMEOUT_S = 150.0
"""The daemon waits two minutes for a machine."""

EVENTS_TIMEOUT_S = 45.0
"""Between two lines of the event stream: the daemon writes a comment every 15 s."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """The daemon at `path`.

    Every method raises `NotRunning` when there is none and `ApiError` when it refuses.
    """

    def __init__(self, path: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path or wire.control_socket()
        self._timeout_s = timeout_s
        self._warned = False

    def health(self) -> shapes.Health:
        """GET /v1/health (stable)."""
        return cast(shapes.Health, self._call("GET", "/v1/health"))

    def status(self) -> shapes.Status:
        """GET /v1/status (stable)."""
        return cast(shapes.Status, self._call("GET", "/v1/status"))

    def servers(self) -> shapes.ServerList:
        """GET /v1/servers (stable)."""
        return cast(shapes.ServerList, self._call("GET", "/v1/servers"))

    def server(self, name: str) -> shapes.ServerInfo:
        """GET /v1/servers/{name} (stable)."""
        return cast(shapes.ServerInfo, self._call("GET", f"/v1/servers/{_part(name)}"))

    def wake(self, name: str) -> shapes.Woken:
        """POST /v1/servers/{name}/wake: the answer comes when the machine is awake (stable)."""
        path = f"/v1/servers/{_part(name)}/wake"
        return cast(shapes.Woken, self._call("POST", path, timeout_s=WAKE_TIMEOUT_S))

    def cost(self) -> shapes.Cost:
        """GET /v1/cost (stable)."""
        return cast(shapes.Cost, self._call("GET", "/v1/cost"))

    def reload(self) -> shapes.Reloaded:
        """POST /v1/reload (stable)."""
        return cast(shapes.Reloaded, self._call("POST", "/v1/reload"))

    def sessions(self) -> shapes.SessionList:
        """GET /v1/sessions (stable)."""
        return cast(shapes.SessionList, self._call("GET", "/v1/sessions"))

    def end_session(self, session: str) -> None:
        """DELETE /v1/sessions/{id} (stable)."""
        self._call("DELETE", f"/v1/sessions/{_part(session)}")

    def tunnels(self) -> shapes.TunnelList:
        """GET /v1/tunnels (stable)."""
        return cast(shapes.TunnelList, self._call("GET", "/v1/tunnels"))

    def probe_tunnel(self, name: str) -> shapes.TunnelProbe:
        """POST /v1/tunnels/{name}/probe (stable)."""
        return cast(shapes.TunnelProbe, self._call("POST", f"/v1/tunnels/{_part(name)}/probe"))

    def clients(self) -> shapes.ClientFiles:
        """GET /v1/clients (stable)."""
        return cast(shapes.ClientFiles, self._call("GET", "/v1/clients"))

    def forget_tunnel(self, name: str) -> None:
        """DELETE /v1/tunnels/{name}/peer (stable)."""
        self._call("DELETE", f"/v1/tunnels/{_part(name)}/peer")

    def set_secret(self, server: str, key: str, value: str) -> None:
        """PUT /v1/secrets/{server}/{key} (stable)."""
        body = shapes.SecretValue(value=value)
        self._call("PUT", f"/v1/secrets/{_part(server)}/{_part(key)}", body)

    def delete_secret(self, server: str, key: str) -> None:
        """DELETE /v1/secrets/{server}/{key} (stable)."""
        self._call("DELETE", f"/v1/secrets/{_part(server)}/{_part(key)}")

    def delete_secrets(self, server: str) -> None:
        """DELETE /v1/secrets/{server}: all that it has (stable)."""
        self._call("DELETE", f"/v1/secrets/{_part(server)}")

    def handover(self) -> None:
        """POST /v1/handover: the answer comes when it has begun (stable)."""
        self._call("POST", "/v1/handover")

    def shutdown(self) -> None:
        """POST /v1/shutdown: the answer comes when draining has begun (stable)."""
        self._call("POST", "/v1/shutdown")

    def openapi(self) -> dict[str, Any]:
        """GET /v1/openapi.json (stable)."""
        return cast(dict[str, Any], self._call("GET", "/v1/openapi.json"))

    def metrics(self) -> str:
        """GET /metrics: the text that Prometheus scrapes (stable)."""
        with self._opened("GET", "/metrics") as answer:
            return answer.read().decode("utf-8", "replace")

    def events(self) -> Iterator[shapes.Event]:
        """GET /v1/events: events as they happen, until the daemon drains (stable)."""
        with self._opened("GET", "/v1/events", timeout_s=EVENTS_TIMEOUT_S) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    yield cast(shapes.Event, _decode(line[5:]))

    def _call(
        self, method: str, path: str, body: object = None, timeout_s: float | None = None
    ) -> object:
        with self._opened(method, path, body, timeout_s) as answer:
            return _decode(answer.read() or b"{}")

    @contextlib.contextmanager
    def _opened(
        self, method: str, path: str, body: object = None, timeout_s: float | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self._path, timeout_s or self._timeout_s)
        try:
            self._send(connection, method, path, body)
            answer = connection.getresponse()
            self._compare(answer.headers.get(wire.VERSION_HEADER))
            if answer.status >= 400:
                raise _refusal(answer.status, answer.read())
            yield answer
        except TimeoutError as exc:
            raise ApiError("timeout", f"the daemon did not answer {method} {path} in time") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise ApiError("peer", f"the daemon hung up on {method} {path}: {exc!r}") from exc
        finally:
            connection.close()

    def _send(self, connection: _Connection, method: str, path: str, body: object) -> None:
        try:
            connection.connect()
        except OSError as exc:
            raise NotRunning(self._path, exc.strerror or str(exc)) from exc
        headers = {wire.CLIENT_VERSION_HEADER: wire.VERSION, "Connection": "close"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection.request(method, path, data, headers)

    def _compare(self, version: str | None) -> None:
        if version in (None, wire.VERSION) or self._warned:
            return
        self._warned = True
        sys.stderr.write(
            f"mcpctl: the daemon is version {version}, this is {wire.VERSION}; "
            "run 'mcpctl daemon restart'\n"
        )


def _part(text: str) -> str:
    return quote(text, safe="")


def _decode(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError as exc:
        raise ApiError("peer", f"the daemon's answer is not JSON: {data[:80]!r}") from exc


def _refusal(status: int, data: bytes) -> ApiError:
    # Without our envelope the answer comes from something that is not our daemon.
    try:
        error = json.loads(data)["error"]
        return ApiError(str(error["kind"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return ApiError("peer", f"the daemon answered status {status}: {data[:200]!r}")
