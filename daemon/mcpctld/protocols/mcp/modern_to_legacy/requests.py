"""What a request of 2026-07-28 says beside its business.

MCP 2026-07-28, base protocol, "_meta"; Multi Round-Trip Requests; Logging, "Log Levels".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mcpctld.protocols.jsonrpc import Message
from mcpctld.protocols.mcp.eras import UNSUPPORTED_VERSION
from mcpctld.protocols.mcp.headers import NAMED_BY
from mcpctld.protocols.mcp.methods import MODERN, PREFIX
from mcpctld.protocols.mcp.objects import (
    close_object,
    open_object,
    open_text,
    read_object,
    read_part,
)

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, the most verbose first."""
GONE = frozenset({
    "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
    "tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
})  # fmt: skip
"""Requests that legacy servers know and 2026-07-28 does not, or with another meaning and only as an extension."""

TOKEN_STARTS = tuple(b"%c" % byte for byte in b'"-0123456789')
"""Of the JSON text of a progress token, a string or a number."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is answered with an error at once."""

    code: int
    text: str
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request of the client. Values are JSON text, but for those with other types."""

    id: bytes
    method: str
    params: dict[str, bytes]
    """Without `_meta` and what belongs to multi round-trips."""
    meta: dict[str, bytes]
    """`_meta` without MCP's reserved keys."""
    capabilities: dict[str, bytes]
    info: bytes
    """`clientInfo`; empty when it says none."""
    level: int | None
    """The least severe log messages that it wants, as an index of `LEVELS`; None for no messages."""
    state: str | None
    """`requestState`: it goes on with an exchange that was answered with questions."""
    responses: dict[str, bytes]
    """`inputResponses`."""

    @property
    def token(self) -> bytes:
        """Of its progress; empty when it wants none."""
        return self.meta.get("progressToken", b"")

    @property
    def target(self) -> str | None:
        """The tool, prompt or resource that it is about."""
        return open_text(self.params.get(NAMED_BY.get(self.method, ""), b""))

    def params_for_server(self, token: bytes) -> bytes:
        """The parameters with another progress token, if it has one; empty when nothing is left of them."""
        meta = {**self.meta, "progressToken": token} if self.token else self.meta
        members = {**self.params, "_meta": close_object(meta)} if meta else self.params
        return close_object(members) if members else b""


def read_request(message: Message) -> Request | Refusal:
    """Read a client's request, and check what 2026-07-28 demands of each."""
    if message.method == "initialize":
        return _wrong_version(_text(open_object(message.params), "protocolVersion"))
    if message.method in GONE:
        return Refusal(METHOD_NOT_FOUND, f"{message.method} is not part of MCP {MODERN}")
    params = read_object(read_part(message, "params") or b"{}")
    if params is None:
        return Refusal(INVALID_PARAMS, "the parameters are not an object that can be read")
    return _read_envelope(message, params, open_object(params.pop("_meta", b"")))


def _read_envelope(
    message: Message, params: dict[str, bytes], meta: dict[str, bytes]
) -> Request | Refusal:
    if not meta.get("progressToken", b"0").startswith(TOKEN_STARTS):
        del meta["progressToken"]
    reserved = {name: meta.pop(name) for name in tuple(meta) if name.startswith(PREFIX)}
    version = _text(reserved, f"{PREFIX}protocolVersion")
    capabilities = read_object(reserved.get(f"{PREFIX}clientCapabilities", b"null"))
    if version is None:
        return Refusal(INVALID_PARAMS, f"_meta lacks {PREFIX}protocolVersion, a string")
    if version != MODERN:
        return _wrong_version(version)
    if capabilities is None:
        return Refusal(INVALID_PARAMS, f"_meta lacks {PREFIX}clientCapabilities, an object")
    request = Request(
        id=message.id,
        method=message.method,
        responses=open_object(params.pop("inputResponses", b"null")),
        state=_text(params, "requestState"),
        params=params,
        meta=meta,
        capabilities=capabilities,
        info=reserved.get(f"{PREFIX}clientInfo", b""),
        level=None,
    )
    return _with_level(request, reserved.get(f"{PREFIX}logLevel", b""))


def _with_level(request: Request, level: bytes) -> Request | Refusal:
    if not level or level == b"null":
        return request
    index = level_of(level)
    if index is None:
        return Refusal(INVALID_PARAMS, f"{PREFIX}logLevel is none of {', '.join(LEVELS)}")
    return replace(request, level=index)


def _wrong_version(requested: str | None) -> Refusal:
    data: dict[str, object] = {"supported": [MODERN], "requested": requested or ""}
    return Refusal(UNSUPPORTED_VERSION, f"the revision is not {MODERN}", data)


def _text(members: dict[str, bytes], name: str) -> str | None:
    """Take a member out; None when there is none, or it is no string."""
    value = members.pop(name, None)
    return open_text(value) if value is not None else None


def level_of(text: bytes) -> int | None:
    """The index of a log level (JSON text) in `LEVELS`."""
    name = open_text(text)
    return LEVELS.index(name) if name in LEVELS else None


def has(capabilities: Mapping[str, bytes], name: str) -> bool:
    """Whether a capability is declared: it is an object, maybe an empty one."""
    return name in capabilities and read_object(capabilities[name]) is not None
