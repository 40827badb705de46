"""A bridge between a modern client and a legacy server, both played by the test in plain Python values."""

import itertools
import json
from typing import Any

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.modern_to_legacy.bridge import ModernToLegacy

P = "io.modelcontextprotocol/"
EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
SERVER: dict[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
}
INFO = {"name": "a server", "version": "1"}
NAMED = {"tools/call": {"name": "x"}, "prompts/get": {"name": "x"}, "resources/read": {"uri": "x:"}}

Json = dict[str, Any]


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def message(**members: object) -> Message | Batch:
    return parse(text({"jsonrpc": "2.0", **members}))


def one(**members: object) -> Message:
    parsed = message(**members)
    assert isinstance(parsed, Message)
    return parsed


def request(
    id: object,
    method: str,
    capabilities: object = EVERYTHING,
    meta: Json | None = None,
    **params: object,
) -> Message:
    """One with the envelope of 2026-07-28."""
    envelope: Json = {
        f"{P}protocolVersion": "2026-07-28",
        f"{P}clientCapabilities": capabilities,
        f"{P}clientInfo": {"name": "a client", "version": "2"},
    }
    return one(id=id, method=method, params={"_meta": {**envelope, **(meta or {})}, **params})


class Stage:
    """What goes in is said by methods; what comes out stands in lists, newest last, until taken."""

    def __init__(
        self, *, opened: bool = True, server: Json | None = None, late_s: float = 0.0
    ) -> None:
        tokens = itertools.count(1)
        self.bridge = ModernToLegacy(lambda: f"handle-{next(tokens)}", late_s)
        self.now = 100.0
        self.events: list[Event] = []
        self._ids = itertools.count(1000)
        if opened:
            self.open(SERVER if server is None else server)

    def open(self, capabilities: Json, declared: Json = EVERYTHING) -> None:
        self.send(request(0, "server/discover", declared))
        self.answer(self.asked("initialize"), initialize_result(capabilities))
        assert self.take_server() == {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.take_client()["result"]["supportedVersions"] == ["2026-07-28"]
        assert not self.events

    # ------------------------------------------------------------ in

    def send(self, sent: Message | Batch) -> None:
        self.bridge.receive_client(sent, self.now)
        self._drain()

    def call(self, id: object = 1, method: str = "tools/call", **more: Any) -> str:
        """A request that the server gets; its id there."""
        self.send(request(id, method, **{**NAMED.get(method, {}), **more}))
        return self.asked(method)["id"]

    def receive(self, **members: object) -> None:
        """The server says something."""
        self.bridge.receive_server(message(**members), self.now)
        self._drain()

    def answer(self, asked: Json | str, result: object) -> None:
        """The server answers."""
        self.receive(id=asked if isinstance(asked, str) else asked["id"], result=result)

    def refuse(self, asked: Json | str, code: int, data: object = None) -> None:
        error = {"code": code, "message": "no", **({} if data is None else {"data": data})}
        self.receive(id=asked if isinstance(asked, str) else asked["id"], error=error)

    def fail(self, asked: Json | str, error: McpctlError) -> None:
        id = asked if isinstance(asked, str) else asked["id"]
        self.bridge.receive_failure(text(id), error, self.now)
        self._drain()

    def ask(
        self, method: str = "elicitation/create", id: object = None, **params: object
    ) -> object:
        """The server asks the client; the id."""
        id = next(self._ids) if id is None else id
        self.receive(id=id, method=method, params=params)
        return id

    def cancel(self, id: object) -> None:
        self.send(message(method="notifications/cancelled", params={"requestId": id}))

    def forget(self, id: object) -> None:
        self.bridge.forget(text(id), self.now)
        self._drain()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and call the bridge when it wants to be."""
        end = self.now + seconds
        while self.bridge.deadline <= end:
            self.now = max(self.now, self.bridge.deadline)
            self.bridge.receive_time(self.now)
        self.now = end
        self._drain()

    def close(self) -> None:
        self.bridge.close()
        self._drain()

    def _drain(self) -> None:
        while (event := self.bridge.next_event()) is not None:
            self.events.append(event)

    # ------------------------------------------------------------ out

    def take(self, kind: type[Event]) -> Any:
        """The oldest event, which is of this kind."""
        event = self.events.pop(0)
        assert isinstance(event, kind), event
        return event

    def take_client(self) -> Json:
        """The oldest event, a message for the client."""
        return _said(self.take(ToClient).message)

    def take_server(self) -> Json:
        """The oldest event, a message for the server."""
        return _said(self.take(ToServer).message)

    def asked(self, method: str) -> Json:
        """The oldest event, a request to the server."""
        said = self.take_server()
        assert said["method"] == method
        assert isinstance(said["id"], str)
        return said

    def take_cancellation(self, id: str) -> None:
        """The oldest events: a request to the server is given up."""
        assert self.take_server() == {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": id},
        }
        assert self.take(GiveUp).id == text(id)

    def take_failure(self, id: object) -> McpctlError:
        fail = self.take(Fail)
        assert json.loads(fail.id) == id
        return fail.error

    def result(self, id: object) -> Json:
        """The oldest event, a result for the client."""
        said = self.take_client()
        assert said["id"] == id
        return said["result"]

    def error(self, id: object) -> Json:
        """The oldest event, an error for the client."""
        said = self.take_client()
        assert said["id"] == id
        return said["error"]

    def questions(self, id: object) -> tuple[Json, str]:
        """The oldest event: a request is answered with questions, by key, and a handle."""
        result = self.result(id)
        assert result["resultType"] == "input_required"
        return result["inputRequests"], result["requestState"]


def initialize_result(capabilities: Json, **more: object) -> Json:
    return {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "serverInfo": INFO,
        **more,
    }


def _said(said: Message | Batch) -> Json:
    """What it says; checked to be what would be parsed from its bytes."""
    assert isinstance(said, Message)
    parsed = parse(said.raw)
    assert isinstance(parsed, Message)
    assert (parsed.kind, parsed.id, parsed.method) == (said.kind, said.id, said.method)
    assert (parsed.params, parsed.result, parsed.error) == (said.params, said.result, said.error)
    value: Json = json.loads(said.raw)
    return value
