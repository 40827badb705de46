"""A small MCP client for `mcpctl tools` and `mcpctl call`: blocking, one request at a time.

Speaks revision 2025-11-25, and 2026-07-28 with a server that refuses `initialize`.
Requests of the server are refused: nobody sits here to answer them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from mcpctl import wire
from mcpctl.errors import CtlError
from mcpctl.mcp_link import Fields, Link

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
CLIENT_INFO = {"name": "mcpctl", "version": wire.VERSION}

# What a server of 2026-07-28 may answer to `initialize`: no such method, or its own codes for a
# request without its headers, capabilities or version. `server/discover` has to confirm it.
MODERN_EVIDENCE = (-32601, -32602, -32020, -32021, -32022)

Listener = Callable[[str, dict[str, Any]], None]
"""Called with each notification's method and parameters."""


class RpcError(CtlError):
    """A JSON-RPC error: of the server, or of the daemon, which then names its kind in `data`."""

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        self.code = error.get("code")
        text = str(error.get("message", "no message"))
        data = error.get("data")
        named = data.get("kind") if isinstance(data, dict) else None
        self.of_daemon = named in wire.KINDS
        if named in wire.KINDS:
            super().__init__(named, text.removeprefix("mcpctl: "))
        else:
            super().__init__(
                _KINDS.get(cast(int, self.code), "peer"), f"{method}: {text} ({self.code})"
            )


_KINDS = {-32601: "not-found", -32602: "bad-request"}


class Session:
    """An initialized session with a server; `request` and what is built on it."""

    def __init__(self, link: Link, timeout_s: float, listener: Listener) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._listener = listener
        self._last_id = 0
        self._modern = False
        self.about: dict[str, Any] = self._begin()
        """What the server said of itself: the result of `initialize`, or of `server/discover`."""

    @property
    def revision(self) -> str:
        """The revision of MCP that is spoken."""
        return MODERN if self._modern else str(self.about.get("protocolVersion"))

    def tools(self) -> list[dict[str, Any]]:
        """Every tool of the server, all pages."""
        return self.listed("tools/list", "tools")

    def listed(self, method: str, key: str) -> list[dict[str, Any]]:
        """All pages of what `method` lists as `key`."""
        items: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        while True:
            result = self.request(method, params)
            page = result.get(key)
            if not isinstance(page, list):
                raise CtlError("peer", f"the server's answer to {method} has no list of {key}")
            items += [item for item in page if isinstance(item, dict)]
            cursor = result.get("nextCursor")
            if cursor is None or cursor == params.get("cursor"):
                return items
            params = {"cursor": cursor}

    def prompt(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of `prompts/get`; arguments of prompts are strings."""
        return self._final(f"prompt {name}", "prompts/get", {"name": name, "arguments": arguments})

    def read(self, uri: str) -> dict[str, Any]:
        """The result of `resources/read`."""
        return self._final(f"resource {uri}", "resources/read", {"uri": uri})

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of calling a tool, its `isError` not looked at."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "call"}}
        return self._final(f"tool {tool}", "tools/call", params)

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its result, `timeout_s` at most. Raises `RpcError`."""
        self._last_id += 1
        self._link.deadline = time.monotonic() + self._timeout_s
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        if self._modern:
            message["params"] = {**params, "_meta": {**params.get("_meta", {}), **_envelope()}}
        self._link.send(message)
        try:
            answer = self._answer(self._last_id)
        except CtlError as exc:
            if exc.kind == "timeout":
                self._cancel(self._last_id)
            raise
        if "error" in answer:
            error = answer["error"]
            raise RpcError(method, error if isinstance(error, dict) else {})
        result = answer.get("result")
        if not isinstance(result, dict):
            raise CtlError("peer", f"the server's answer to {method} has neither result nor error")
        return result

    def _final(self, what: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        result = self.request(method, params)
        if result.get("resultType") == "input_required":
            raise CtlError("peer", f"{what} asks for input, which mcpctl cannot give")
        return result

    def _begin(self) -> dict[str, Any]:
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT_INFO}
        try:
            about = self.request("initialize", params)
        except RpcError as exc:
            if exc.code not in MODERN_EVIDENCE:
                raise
            return self._begin_modern(exc)
        self._notify("notifications/initialized")
        return about

    def _begin_modern(self, refusal: RpcError) -> dict[str, Any]:
        self._modern = True
        try:
            return self.request("server/discover", {})
        except RpcError:
            raise refusal from None  # it is not a modern server either: its first answer counts

    def _answer(self, wanted: int) -> dict[str, Any]:
        while True:
            message = self._link.receive()
            if "method" not in message:
                if message.get("id") == wanted:
                    return message
                # An error without id is about something that the server could not read.
                if message.get("id") is None and isinstance(message.get("error"), dict):
                    raise RpcError("the server", message["error"])
            elif "id" in message:
                self._refuse(message)
            elif isinstance(message["method"], str):
                params = message.get("params")
                self._listener(message["method"], params if isinstance(params, dict) else {})

    def _refuse(self, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "ping":
            answer["result"] = {}
        else:
            text = f"mcpctl call does not answer {message['method']}"
            answer["error"] = {"code": -32601, "message": text}
        self._link.send(answer)

    def _notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        self._link.send(message)

    def _cancel(self, request_id: int) -> None:
        self._link.deadline = time.monotonic() + 1.0
        with contextlib.suppress(CtlError):
            params = {"requestId": request_id, "reason": "the caller waits no longer"}
            self._notify("notifications/cancelled", params)


@contextlib.contextmanager
def session(fields: Fields, timeout_s: float, listener: Listener) -> Iterator[Session]:
    """A session with the server that `fields` name (`server` or `url`), ended with the block."""
    with Link(fields) as link:
        yield Session(link, timeout_s, listener)


def _envelope() -> dict[str, Any]:
    """What every request of 2026-07-28 carries, as it has no session to remember it."""
    return {
        PREFIX + "protocolVersion": MODERN,
        PREFIX + "clientCapabilities": {},
        PREFIX + "clientInfo": CLIENT_INFO,
        PREFIX + "logLevel": "info",
    }
