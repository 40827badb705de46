"""The session with the legacy server: one for each bridge, opened by the first request that needs it.

MCP 2025-11-25, Lifecycle. That a server loses it and it is made anew is the business of the layer below.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.jsonrpc import Kind, id_key, read_error
from mcpctld.protocols.mcp.bridge import WrongEra
from mcpctld.protocols.mcp.methods import LEGACY, MODERN, PREFIX
from mcpctld.protocols.mcp.modern_to_legacy.requests import Request, has
from mcpctld.protocols.mcp.modern_to_legacy.results import finish
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ClientSide, Emit, ServerSide
from mcpctld.protocols.mcp.objects import (
    close_object,
    close_text,
    open_object,
    open_text,
    read_part,
)

UNKNOWN_CLIENT = b'{"name":"unknown","version":"0"}'
"""`clientInfo` is optional in 2026-07-28, and was not before."""
TASKS = f"{PREFIX}tasks"
OFFERED = ("completions", "experimental", "logging", "prompts", "resources", "tools")
"""Capabilities of servers that both eras have; `tasks` is not among them."""
DECLARED = ("elicitation", "experimental", "sampling")
"""Capabilities of clients that both eras have in the same form."""

Go = Callable[[float], None]
"""Takes the time."""


@dataclass(frozen=True, slots=True)
class LegacyServer:
    """What its answer to `initialize` says; values are JSON text."""

    capabilities: dict[str, bytes] = field(default_factory=dict)
    info: bytes = b""
    """`serverInfo`; empty when it is not one."""
    instructions: bytes = b""

    def offers(self, feature: str, option: str = "") -> bool:
        """Whether it has a capability, and an option of it."""
        if not option:
            return has(self.capabilities, feature)
        return open_object(self.capabilities.get(feature, b"")).get(option) == b"true"


class Session:
    """Not open, being opened, or open; what needs it waits in order."""

    def __init__(self, client: ClientSide, server_side: ServerSide, emit: Emit) -> None:
        self._client = client
        self._server_side = server_side
        self._emit = emit
        self._waiting: dict[Hashable, tuple[bytes, Go]] = {}
        self.opening = False
        self.refused = False
        """The server is not of the era that the bridge is for."""
        self.server: LegacyServer | None = None
        self.declared: dict[str, bytes] = {}
        """The client's capabilities as the server knows them."""

    @property
    def server_info(self) -> bytes:
        """`serverInfo` as JSON text; empty when not known."""
        return self.server.info if self.server is not None else b""

    def open_for(self, request: Request, go: Go, now: float) -> None:
        """Do something for the request once the session is open; it fails when that cannot be."""
        if self.server is not None:
            go(now)
            return
        self.wait(request.id, go)
        if not self.opening:
            self._open(request)

    def wait(self, id: bytes, go: Go) -> None:
        """Do something for request `id` once it is open; somebody is opening it."""
        self._waiting[id_key(id)] = (id, go)

    def drop(self, id: bytes) -> None:
        """The client does not wait for the request any more."""
        self._waiting.pop(id_key(id), None)

    def _open(self, request: Request) -> None:
        self.opening = True
        self.declared = capabilities_for_server(request.capabilities)
        params = {
            "protocolVersion": close_text(LEGACY[-1]),
            "capabilities": close_object(self.declared),
            "clientInfo": request.info if _is_implementation(request.info) else UNKNOWN_CLIENT,
        }
        id = self._server_side.new_id()
        self._server_side.ask(id, "initialize", close_object(params), self._answered)

    def _answered(self, answer: Answer, now: float) -> None:
        self.opening = False
        if isinstance(answer, McpctlError):
            self._fail(answer)
        elif answer.kind is Kind.ERROR:
            self.refused = True
            code, text = read_error(answer)
            self._emit(WrongEra(f"the server answered initialize with error {code}: {text}"))
        elif (server := read_server(read_part(answer, "result"))) is None:
            self._fail(PeerError("the server answered initialize with something else than MCP has"))
        else:
            self._begin(server, now)

    def _begin(self, server: LegacyServer, now: float) -> None:
        self.server = server
        self._client.proven = True
        self._server_side.tell("notifications/initialized")
        waiting, self._waiting = self._waiting, {}
        for _, go in waiting.values():
            go(now)

    def _fail(self, error: McpctlError) -> None:
        """The next request tries again."""
        waiting, self._waiting = self._waiting, {}
        for id, _ in waiting.values():
            self._client.fail(id, error)


def capabilities_for_server(capabilities: dict[str, bytes]) -> dict[str, bytes]:
    """A modern client's capabilities as a legacy server is told them, for the whole session."""
    mapped = {name: capabilities[name] for name in DECLARED if has(capabilities, name)}
    if has(capabilities, "roots"):
        mapped["roots"] = b"{}"  # without listChanged: 2026-07-28 has no such notification
    extensions = open_object(capabilities.get("extensions", b""))
    extensions.pop(TASKS, None)
    if extensions:
        mapped["extensions"] = close_object(extensions)
    return mapped


def read_server(result: bytes) -> LegacyServer | None:
    """Read a result of `initialize`; None when it is none."""
    members = open_object(result)
    if open_text(members.get("protocolVersion", b"")) is None:
        return None
    info, instructions = members.get("serverInfo", b""), members.get("instructions", b"")
    return LegacyServer(
        capabilities=open_object(members.get("capabilities", b"")),
        info=info if _is_implementation(info) else b"",
        instructions=instructions if open_text(instructions) else b"",
    )


def discover_result(server: LegacyServer) -> bytes:
    """The result of `server/discover` (MCP 2026-07-28, Discovery) for a legacy server."""
    capabilities = {name: server.capabilities[name] for name in OFFERED if server.offers(name)}
    extensions = open_object(server.capabilities.get("extensions", b""))
    extensions.pop(TASKS, None)
    if extensions:
        capabilities["extensions"] = close_object(extensions)
    members = {
        "supportedVersions": b"[%b]" % close_text(MODERN),
        "capabilities": close_object(capabilities),
    }
    if server.instructions:
        members["instructions"] = server.instructions
    return finish("server/discover", members, server.info)


def _is_implementation(info: bytes) -> bool:
    members = open_object(info)
    return all(open_text(members.get(name, b"")) is not None for name in ("name", "version"))
