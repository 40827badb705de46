"""A conversation through the bridge: what either side says, and what the other then hears."""

import json
from typing import Any

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer, WrongEra
from mcpctld.protocols.mcp.legacy_to_modern.bridge import LegacyToModern

P = "io.modelcontextprotocol/"
CLIENT_INFO = {"name": "editor", "version": "1"}
DISCOVERY = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
    },
    "instructions": "be kind",
    "ttlMs": 1000,
    "cacheScope": "public",
    "_meta": {P + "serverInfo": {"name": "server", "version": "2"}},
}
QUIET = {**DISCOVERY, "capabilities": {"tools": {}}}
"""A server without anything to listen for."""


def message(value: object) -> Message | Batch:
    return parse(value if isinstance(value, bytes) else json.dumps(value).encode())


class Talk:
    """`client` and `server` say something; `heard` is what came of it."""

    def __init__(self, bridge: LegacyToModern | None = None) -> None:
        self.bridge = bridge or LegacyToModern()
        self.now = 0.0
        self.heard: list[Event] = []

    # ------------------------------------------------------------ saying

    def client(self, value: object = None, **members: Any) -> None:
        self.bridge.receive_client(message(members if value is None else value), self.now)
        self._listen()

    def server(self, value: object = None, **members: Any) -> None:
        self.bridge.receive_server(message(members if value is None else value), self.now)
        self._listen()

    def failure(self, id: object, error: McpctlError) -> None:
        self.bridge.receive_failure(json.dumps(id).encode(), error, self.now)
        self._listen()

    def forget(self, id: object) -> None:
        self.bridge.forget(json.dumps(id).encode(), self.now)
        self._listen()

    def wait(self, seconds: float) -> None:
        """Let time pass, and do what is due on the way."""
        end = self.now + seconds
        while (due := self.bridge.deadline) <= end:
            self.now = max(self.now, due)
            self.bridge.receive_time(self.now)
            self._listen()
        self.now = end

    def _listen(self) -> None:
        while (event := self.bridge.next_event()) is not None:
            self.heard.append(event)

    # ------------------------------------------------------------ hearing

    def take(self) -> list[tuple[str, Any]]:
        """All that was heard since: who heard it, or what else it is, and the value."""
        heard, self.heard = self.heard, []
        return [_plain(event) for event in heard]

    def to_client(self) -> Any:
        """The only thing that was heard: a message to the client."""
        return self._only("client")

    def to_server(self) -> Any:
        """The only thing that was heard: a message to the server."""
        return self._only("server")

    def failed(self) -> tuple[Any, McpctlError]:
        """The only thing that was heard: an error of ours."""
        [event] = self.heard
        self.heard = []
        assert isinstance(event, Fail)
        return json.loads(event.id), event.error

    def _only(self, side: str) -> Any:
        heard = self.take()
        assert [who for who, _ in heard] == [side], heard
        return heard[0][1]

    # ------------------------------------------------------------ common scenes

    def initialize(
        self,
        discovery: dict[str, Any] = QUIET,
        *,
        version: str = "2025-11-25",
        capabilities: dict[str, Any] | None = None,
    ) -> Any:
        """The handshake; what the client gets as result."""
        params = {
            "protocolVersion": version,
            "capabilities": capabilities or {},
            "clientInfo": CLIENT_INFO,
        }
        self.client(id=0, method="initialize", params=params)
        asked = self.to_server()
        assert asked["method"] == "server/discover"
        self.server(id=asked["id"], result=discovery)
        answer = self.to_client()
        assert answer["id"] == 0
        return answer["result"]

    def ask(self, id: object, method: str, **params: Any) -> Any:
        """A request of the client's; what the server gets."""
        self.client(id=id, method=method, params=params)
        return self.to_server()

    def call(self, id: object = 1, **params: Any) -> Any:
        """The same, of a tool."""
        return self.ask(id, "tools/call", **{"name": "t", **params})

    def input_required(self, asked: Any, requests: Any = None, **members: Any) -> list[Any]:
        """The server wants input; what the client is asked."""
        result = {"resultType": "input_required", **members}
        if requests is not None:
            result["inputRequests"] = requests
        self.server(id=asked["id"], result=result)
        return [value for who, value in self.take() if who == "client"]


def _plain(event: Event) -> tuple[str, Any]:
    match event:
        case ToClient(message=heard):
            return "client", json.loads(heard.raw)
        case ToServer(message=heard):
            return "server", json.loads(heard.raw)
        case Fail(id=id, error=error):
            return "fail", (json.loads(id), str(error))
        case GiveUp(id=id):
            return "give up", json.loads(id)
        case WrongEra(reason=reason):
            return "wrong era", reason
